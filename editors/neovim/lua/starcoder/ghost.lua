-- Ghost text: Neovim's own from 0.12 on, extmarks of this plugin before, with the same keys.
local parts = require('starcoder.parts')
local server = require('starcoder.server')

local M = {}

---@class starcoder.Suggestion
---@field text string the text after the cursor that is not typed yet
---@field num_replaced? integer number of bytes right of the cursor that it replaces
---@field command? table the command that reports its acceptance to the server
---@field client_id integer

local function backend()
  return require(vim.lsp.inline_completion and 'starcoder.builtin' or 'starcoder.extmarks')
end

function M.enable()
  backend().enable()
end

---@return boolean
function M.is_visible()
  return backend().is_visible()
end

--- Report to the server that a part of a suggestion was accepted.
local function report(suggestion, part)
  local command = suggestion.command
  local client = command and vim.lsp.get_client_by_id(suggestion.client_id)
  if not client then
    return
  end
  local arguments = { (command.arguments or {})[1], part }
  local params = { command = command.command, arguments = arguments }
  server.send(client, 'workspace/executeCommand', params, function() end)
end

local function insert(text)
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_set_text(0, row - 1, column, row - 1, column, lines)
  local last = #lines == 1 and column + #lines[1] or #lines[#lines]
  vim.api.nvim_win_set_cursor(0, { row + #lines - 1, last })
end

--- Accept the visible suggestion or its first word or line. Returns false if nothing is visible.
---@param part? 'word'|'line'
---@return boolean
function M.accept(part)
  if not part then
    return backend().accept()
  end
  return backend().take(function(suggestion)
    local text = parts[part](suggestion.text)
    if text == suggestion.text then
      part = nil
    end
    insert(text)
    report(suggestion, part or 'all')
    backend().refresh()
  end)
end

---@param count integer how many candidates to advance; negative for backwards
function M.select(count)
  backend().select(count)
end

function M.dismiss()
  backend().dismiss()
end

return M
