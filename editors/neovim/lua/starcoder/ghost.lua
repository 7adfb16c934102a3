-- Ghost text: Neovim's own from 0.12 on, ours before, with the same keys.
local parts = require('starcoder.parts')
local server = require('starcoder.server')

local M = {}

---@class starcoder.Shown
---@field text string what stands in grey, from the cursor on
---@field command? table
---@field client_id integer

local function own()
  return require(vim.lsp.inline_completion and 'starcoder.builtin' or 'starcoder.extmarks')
end

function M.enable()
  own().enable()
end

---@return boolean
function M.is_visible()
  return own().is_visible()
end

local function report(shown, part)
  local command = shown.command
  local client = command and vim.lsp.get_client_by_id(shown.client_id)
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

--- Take all of what is shown, its first `word` or `line`. False if nothing is shown.
---@param part? 'word'|'line'
---@return boolean
function M.accept(part)
  if not part then
    return own().accept()
  end
  return own().take(function(shown)
    local text = parts[part](shown.text)
    if text == shown.text then
      part = nil
    end
    insert(text)
    report(shown, part or 'all')
    own().refresh()
  end)
end

---@param by integer
function M.select(by)
  own().select(by)
end

function M.dismiss()
  own().dismiss()
end

return M
