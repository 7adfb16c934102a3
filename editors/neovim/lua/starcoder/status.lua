-- The last status that the server sent.
local M = {}

---@type table<string, any>
M.current = {}

function M.set(status)
  M.current = status or {}
  vim.api.nvim_exec_autocmds('User', { pattern = 'StarcoderStatus', modeline = false })
  vim.cmd.redrawstatus()
end

local state_texts = {
  starting = '…',
  error = 'failed',
  disabled = 'off',
}

---@return string
function M.line()
  local status = M.current
  if vim.tbl_isempty(status) then
    return ''
  end
  local text = state_texts[status.state]
  if text then
    return 'StarCoder ' .. text
  end
  return 'StarCoder ' .. (status.demo and 'demo model' or vim.fs.basename(status.model or ''))
end

---@param chat table<string, any> the engine of a model that serves chat alone
---@return string
local function chat_line(chat)
  local text = 'chat: ' .. chat.model
  if chat.state == 'ready' then
    local note = chat.message ~= '' and '. ' .. chat.message or ''
    return ('%s on %s%s'):format(text, chat.device, note)
  end
  if chat.state == 'stopped' then
    return text .. ', starts with the first question'
  end
  return ('%s: %s'):format(text, chat.message)
end

--- Return the models, the last suggestion, the speed, and the result of the last key.
---@return string[]
function M.details()
  local status = M.current
  if vim.tbl_isempty(status) then
    return { 'the server has not sent a status yet' }
  end
  local lines = {}
  if status.model ~= '' then
    table.insert(lines, ('%s on %s'):format(status.model, status.device))
  end
  if type(status.chat) == 'table' then
    table.insert(lines, chat_line(status.chat))
  end
  if status.message ~= '' then
    table.insert(lines, status.message)
  end
  if status.lastAt > 0 then
    local time = os.date('%H:%M:%S', math.floor(status.lastAt))
    table.insert(lines, ('last suggestion: %s, within %.0f ms'):format(time, status.lastMs))
  end
  if status.tokensPerSecond > 0 then
    table.insert(lines, ('speed: %.0f tokens/s'):format(status.tokensPerSecond))
  end
  if status.why ~= '' then
    local result = status.suggested and 'a suggestion (%s)' or 'no suggestion: %s'
    table.insert(lines, 'last key: ' .. result:format(status.why))
  end
  return lines
end

return M
