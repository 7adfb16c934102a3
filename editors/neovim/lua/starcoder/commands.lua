-- :Starcoder and its subcommands.
local M = {}

local function range_of(call)
  return call.range > 0 and { first = call.line1, last = call.line2 } or nil
end

local function task(name)
  return function(call, rest)
    require('starcoder.tasks').run(name, { instruction = rest, lines = range_of(call) })
  end
end

--- Return a subcommand whose task needs an instruction. Without one, `ask` gets it from the user.
local function instructed(name, ask)
  return function(call, rest)
    local function run(instruction)
      if instruction and instruction ~= '' then
        task(name)(call, instruction)
      end
    end
    if rest == '' then
      ask(run)
    else
      run(rest)
    end
  end
end

--- Languages of :Starcoder translate that are offered; any other can be written.
M.languages = {
  'Bash',
  'C',
  'C#',
  'C++',
  'Go',
  'Java',
  'JavaScript',
  'Kotlin',
  'Lua',
  'PHP',
  'Python',
  'Ruby',
  'Rust',
  'SQL',
  'Swift',
  'TypeScript',
}

---@type table<string, fun(call: table, rest: string)>
M.subcommands = {
  chat = function(call, rest)
    local chat = require('starcoder.chat')
    if call.range > 0 then
      chat.attach(vim.api.nvim_get_current_buf(), call.line1, call.line2)
    end
    if rest == '' then
      chat.open()
    else
      chat.send(rest)
    end
  end,
  run = function()
    require('starcoder.chat').run()
  end,
  stop = function()
    require('starcoder.chat').stop()
    require('starcoder.tasks').stop()
  end,
  tests = task('tests'),
  document = task('document'),
  explain = task('explain'),
  review = task('review'),
  fix = task('fix'),
  edit = instructed('edit', function(run)
    vim.ui.input({ prompt = 'Change: ' }, run)
  end),
  translate = instructed('translate', function(run)
    vim.ui.select(M.languages, { prompt = 'Translate to: ' }, run)
  end),
  commit = function(_, rest)
    require('starcoder.tasks').commit_message(rest)
  end,
  ['forget-consent'] = function()
    local params = { command = 'starcoder.forgetConsent', arguments = {} }
    require('starcoder.server').request('workspace/executeCommand', params, function() end)
  end,
  status = function()
    local status = require('starcoder.status')
    local lines = { status.line() ~= '' and status.line() or 'StarCoder' }
    vim.notify(table.concat(vim.list_extend(lines, status.details()), '\n'))
  end,
  restart = function()
    require('starcoder.server').restart()
  end,
}

function M.run(call)
  local name = call.fargs[1] or 'chat'
  local subcommand = M.subcommands[name]
  if not subcommand then
    vim.notify(('starcoder: unknown command :Starcoder %s'):format(name), vim.log.levels.ERROR)
    return
  end
  subcommand(call, table.concat(vim.list_slice(call.fargs, 2), ' '))
end

function M.complete(lead, line)
  local words = vim.split(line, '%s+')
  local candidates = #words <= 2 and vim.tbl_keys(M.subcommands) or {}
  if #words == 3 and words[2] == 'translate' then
    candidates = M.languages
  end
  local matches = vim.tbl_filter(function(name)
    return vim.startswith(name:lower(), lead:lower())
  end, candidates)
  table.sort(matches)
  return matches
end

return M
