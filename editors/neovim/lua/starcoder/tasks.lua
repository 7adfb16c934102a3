-- Tasks on the code at the cursor. Edits are shown first and applied when the user accepts them.
local edits = require('starcoder.edits')
local scratch = require('starcoder.scratch')
local server = require('starcoder.server')

local M = {}

---@type { client: vim.lsp.Client, id: integer }?
local in_flight

local function position(client, row, column)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  if row then
    local line = vim.api.nvim_buf_get_lines(0, row - 1, row, false)[1] or ''
    local character =
      vim.lsp.util.character_offset(0, row - 1, math.min(column, #line), client.offset_encoding)
    return { line = row - 1, character = character }
  end
  return params.position
end

--- Return the range of the lines, or an empty range at the cursor without lines.
---@param client vim.lsp.Client
---@param lines? { first: integer, last: integer }
function M.range_of(client, lines)
  if lines then
    return { start = position(client, lines.first, 0), ['end'] = position(client, lines.last, math.huge) }
  end
  local cursor = position(client)
  return { start = cursor, ['end'] = cursor }
end

local function problems_in(first, last)
  local messages = {}
  for _, diagnostic in ipairs(vim.diagnostic.get(0)) do
    if diagnostic.lnum >= first and diagnostic.lnum <= last then
      table.insert(messages, diagnostic.message)
    end
  end
  return messages
end

local function float(title, lines)
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].filetype = 'diff'
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].bufhidden = 'wipe'
  local width = math.min(100, vim.o.columns - 4)
  local height = math.max(1, math.min(#lines, vim.o.lines - 6))
  local window = vim.api.nvim_open_win(buffer, true, {
    relative = 'editor',
    row = math.floor((vim.o.lines - height) / 2) - 1,
    col = math.floor((vim.o.columns - width) / 2),
    width = width,
    height = height,
    border = 'rounded',
    style = 'minimal',
    title = ' ' .. title .. ' ',
    title_pos = 'center',
    footer = ' Enter accepts, q discards ',
    footer_pos = 'center',
  })
  scratch.format_window(window)
  return buffer, window
end

--- Show a proposed edit: <CR> accepts it, q and <Esc> discard it.
---@param proposal { title: string, edit: table }
---@param encoding string
---@param document starcoder.Document
local function offer(proposal, encoding, document)
  local buffer, window = float(proposal.title, edits.diff(proposal.edit, encoding, document))
  local function close()
    if vim.api.nvim_win_is_valid(window) then
      vim.api.nvim_win_close(window, true)
    end
  end
  vim.keymap.set('n', '<CR>', function()
    close()
    local problem = edits.apply(proposal.edit, encoding, document)
    local level = problem and vim.log.levels.WARN or vim.log.levels.INFO
    vim.notify('starcoder: ' .. (problem or proposal.title), level)
  end, { buffer = buffer, nowait = true, desc = 'StarCoder: accept the edit' })
  scratch.map_close(buffer, { 'q', '<Esc>' }, close)
end

--- Show what a running task does now, on one line that is not kept in the history.
---@param stage string
local function show_stage(stage)
  local line = ('starcoder: %s …'):format(stage)
  vim.api.nvim_echo({ { vim.fn.strcharpart(line, 0, vim.v.echospace) } }, false, {})
end

---@param name 'tests'|'document'|'explain'|'review'|'translate'|'fix'|'edit'
---@param options? { instruction?: string, lines?: { first: integer, last: integer } }
function M.run(name, options)
  options = options or {}
  local client = server.client(0)
  if not client then
    return
  end
  local range = M.range_of(client, options.lines)
  local document = { uri = vim.uri_from_bufnr(0), buffer = vim.api.nvim_get_current_buf() }
  local token, stop_listening = server.listen(function(value)
    if value.stage then
      show_stage(value.stage)
    end
  end)
  local params = {
    task = name,
    uri = document.uri,
    range = range,
    instruction = options.instruction or '',
    problems = name == 'fix' and problems_in(range.start.line, range['end'].line) or nil,
    partialResultToken = token,
  }
  vim.notify(('starcoder: %s …'):format(name))
  local _, id = server.request('starcoder/task', params, function(proposal)
    in_flight = nil
    stop_listening()
    scratch.in_normal_mode(function()
      if proposal.edit and proposal.edit ~= vim.NIL then
        offer(proposal, client.offset_encoding, document)
      else
        scratch.show(proposal.title, vim.split(proposal.note, '\n', { plain = true }))
      end
    end)
  end, function()
    in_flight = nil
    stop_listening()
  end)
  in_flight = id and { client = client, id = id } or nil
end

--- Cancel the running task.
function M.stop()
  if in_flight then
    server.cancel(in_flight.client, in_flight.id)
    in_flight = nil
  end
end

--- Insert a commit message for the staged changes at the cursor.
function M.commit_message(instruction)
  local buffer, row = vim.api.nvim_get_current_buf(), vim.api.nvim_win_get_cursor(0)[1]
  local uri = vim.uri_from_fname(vim.fn.getcwd())
  server.request('starcoder/commitMessage', { uri = uri, instruction = instruction or '' }, function(result)
    local lines = vim.split(result.message, '\n', { plain = true })
    vim.api.nvim_buf_set_lines(buffer, row - 1, row - 1, false, lines)
  end)
end

return M
