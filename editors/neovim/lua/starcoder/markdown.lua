-- Markdown highlighting for the plugin's own buffers.
local M = {}

--- Set a buffer's filetype to markdown. Without the markdown parser, only its syntax is set.
---@param buffer integer
function M.set(buffer)
  local is_set = pcall(function()
    vim.bo[buffer].filetype = 'markdown'
  end)
  if not is_set then
    vim.bo[buffer].syntax = 'markdown'
  end
end

return M
