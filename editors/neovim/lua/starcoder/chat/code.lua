-- The code blocks of the conversation.
local markdown = require('starcoder.chat.markdown')
local window = require('starcoder.chat.window')

local M = {}

local function code_under_cursor()
  local block = markdown.block_at(window.lines(), vim.api.nvim_win_get_cursor(0)[1])
  return block and block.lines
end

--- Yank the code block under the cursor.
function M.yank()
  local lines = code_under_cursor()
  if lines then
    vim.fn.setreg('"', lines, 'l')
    vim.notify(('starcoder: yanked %d lines'):format(#lines))
  end
end

--- Put the code block under the cursor below the cursor of the file.
function M.put()
  local lines, file_window = code_under_cursor(), window.file_window()
  if not lines or not file_window then
    return
  end
  local buffer = vim.api.nvim_win_get_buf(file_window)
  if not vim.bo[buffer].modifiable then
    vim.notify('starcoder: this buffer cannot be changed', vim.log.levels.WARN)
    return
  end
  local row = vim.api.nvim_win_get_cursor(file_window)[1]
  vim.api.nvim_buf_set_lines(buffer, row, row, false, lines)
end

return M
