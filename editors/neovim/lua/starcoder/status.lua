-- The server's last word on itself.
local M = {}

---@type table<string, any>
M.current = {}

function M.set(status)
  M.current = status or {}
  vim.api.nvim_exec_autocmds('User', { pattern = 'StarcoderStatus', modeline = false })
  vim.cmd.redrawstatus()
end

local words = {
  starting = '…',
  busy = '…',
  error = 'failed',
  disabled = 'off',
}

---@return string
function M.line()
  local status = M.current
  if vim.tbl_isempty(status) then
    return ''
  end
  local word = words[status.state]
  if word then
    return 'StarCoder ' .. word
  end
  return 'StarCoder ' .. (status.demo and 'demo model' or vim.fs.basename(status.model or ''))
end

return M
