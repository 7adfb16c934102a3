-- Markdown in our own buffers.
local M = {}

--- Make a buffer markdown. A Neovim without its parser still shows the text.
---@param buffer integer
function M.set(buffer)
  local done = pcall(function()
    vim.bo[buffer].filetype = 'markdown'
  end)
  if not done then
    vim.bo[buffer].syntax = 'markdown'
  end
end

return M
