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

--- What there is to know: the model, the last suggestion, and why the last key got none.
---@return string[]
function M.details()
  local status = M.current
  if vim.tbl_isempty(status) then
    return { 'the server has not said anything yet' }
  end
  local lines = {}
  if status.model ~= '' then
    table.insert(lines, ('%s on %s'):format(status.model, status.device))
  end
  if status.message ~= '' then
    table.insert(lines, status.message)
  end
  if status.lastAt > 0 then
    local when = os.date('%H:%M:%S', math.floor(status.lastAt))
    table.insert(lines, ('last suggestion: %s, within %.0f ms'):format(when, status.lastMs))
  end
  if status.tokensPerSecond > 0 then
    table.insert(lines, ('speed: %.0f tokens/s'):format(status.tokensPerSecond))
  end
  if status.why ~= '' then
    local said = status.suggested and 'a suggestion (%s)' or 'no suggestion: %s'
    table.insert(lines, 'last key: ' .. said:format(status.why))
  end
  return lines
end

return M
