-- Runs code blocks of answers. What comes out is written below the block, as text.
local markdown = require('starcoder.chat.markdown')
local server = require('starcoder.server')
local window = require('starcoder.chat.window')

local M = {}

local namespace = vim.api.nvim_create_namespace('starcoder.runs')
local fences = vim.api.nvim_create_namespace('starcoder.fences')
local STOPPED = '*(stopped)*'
local RUNNING = '*(running; :Starcoder stop ends it)*'

--- The requests that have no answer yet, by the extmark of their results.
---@type table<integer, { client: vim.lsp.Client, id: integer }>
local running = {}

local function warn(message)
  vim.notify('starcoder: ' .. message, vim.log.levels.WARN)
end

--- Write lines below a block, in place of an earlier result.
---@param mark integer the extmark around the result
---@param lines string[]
local function write(mark, lines)
  local buffer = window.transcript()
  local position = buffer and vim.api.nvim_buf_get_extmark_by_id(buffer, namespace, mark, { details = true })
  if position and position[1] then
    window.replace(position[1], position[3].end_row, lines)
    local options = { id = mark, end_row = position[1] + #lines, undo_restore = false }
    vim.api.nvim_buf_set_extmark(buffer, namespace, position[1], 0, options)
  end
end

--- Return the extmark of the result that begins in a row: that of an earlier run, or a new one.
---@param row integer
---@return integer
local function mark_at(row)
  local buffer = window.transcript()
  local earlier = vim.api.nvim_buf_get_extmarks(buffer, namespace, { row, 0 }, { row, 0 }, {})[1]
  if earlier then
    return earlier[1]
  end
  if row == vim.api.nvim_buf_line_count(buffer) then
    window.add({ '' })
  end
  window.replace(row, row, { RUNNING })
  return vim.api.nvim_buf_set_extmark(buffer, namespace, row, 0, { end_row = row + 1 })
end

--- Write figures to Neovim's folder of temporary files, which only the user can read and which is
--- removed at the end. Returns the paths.
---@param figures string[]
---@return string[]
local function save(figures)
  local paths = {}
  for _, figure in ipairs(figures) do
    local path = vim.fn.tempname() .. '.png'
    local file = assert(io.open(path, 'wb'))
    file:write(vim.base64.decode(figure))
    file:close()
    table.insert(paths, path)
  end
  return paths
end

---@param result { outcome: string, output: string, figures: string[], seconds: number }
---@return string[]
local function result_lines(result)
  local lines = { ('*(%s after %.1f s)*'):format(result.outcome, result.seconds) }
  if result.output ~= '' then
    vim.list_extend(lines, markdown.fenced(result.output))
  end
  for _, path in ipairs(save(result.figures)) do
    table.insert(lines, ('Figure: %s'):format(path))
  end
  return lines
end

--- Return where an answer has a code block; the last such answer counts.
---@param turns { id: string, role: string, content: string }[]
---@param code string[]
---@return string?, integer?
local function find(turns, code)
  for index = #turns, 1, -1 do
    local turn = turns[index]
    local lines = vim.split(turn.content, '\n', { plain = true })
    for number, block in ipairs(turn.role == 'assistant' and markdown.blocks(lines) or {}) do
      if vim.deep_equal(block.lines, code) then
        return turn.id, number - 1
      end
    end
  end
end

---@param params table
---@param row integer the row below the block
local function request(params, row)
  local mark = mark_at(row)
  if running[mark] then
    return
  end
  write(mark, { RUNNING })
  local is_answered = false
  local client, id = server.request('starcoder/chat/run', params, function(result)
    is_answered, running[mark] = true, nil
    write(mark, result_lines(result))
  end, function()
    is_answered, running[mark] = true, nil
    write(mark, { '*(not run)*' })
  end)
  if client and not is_answered then
    running[mark] = { client = client, id = id }
  end
end

--- Run the code block under the cursor, in the workspace folder of the file.
---@param conversation? string
function M.run(conversation)
  local buffer = window.transcript()
  if not conversation or vim.api.nvim_get_current_buf() ~= buffer then
    warn('move the cursor to a code block of an answer in the chat')
    return
  end
  local block = markdown.block_at(window.lines(), vim.api.nvim_win_get_cursor(0)[1])
  if not block then
    warn('there is no code block under the cursor')
    return
  end
  -- Results of other blocks can move the block meanwhile.
  local fence = vim.api.nvim_buf_set_extmark(buffer, fences, block.last - 1, 0, {})
  server.request('starcoder/chat/get', { conversation = conversation }, function(stored)
    local row = vim.api.nvim_buf_get_extmark_by_id(buffer, fences, fence, {})[1]
    local turn, number = find(stored.turns, block.lines)
    if not turn or not row then
      warn('this is not a code block of an answer')
      return
    end
    local text = table.concat(block.lines, '\n')
    local params = { conversation = conversation, turn = turn, block = number, text = text }
    local file_window = window.file_window()
    if file_window then
      params.uri = vim.uri_from_bufnr(vim.api.nvim_win_get_buf(file_window))
    end
    request(params, row + 1)
  end)
end

--- Forget where results are; call this when the conversation is shown again.
function M.forget()
  for _, marks in ipairs({ namespace, fences }) do
    vim.api.nvim_buf_clear_namespace(window.transcript() or 0, marks, 0, -1)
  end
end

--- Stop all code that is running.
function M.stop()
  for mark, sent in pairs(running) do
    server.cancel(sent.client, sent.id)
    running[mark] = nil -- Neovim does not call the handler of a cancelled request.
    write(mark, { STOPPED })
  end
end

--- Open the figure whose path is in the line under the cursor; in other lines move the cursor down.
function M.open_figure()
  local path = vim.api.nvim_get_current_line():match('^Figure: (.+)$')
  if path then
    vim.ui.open(path)
  else
    vim.cmd.normal({ vim.v.count1 .. '+', bang = true })
  end
end

return M
