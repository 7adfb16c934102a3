-- Parts of a suggestion: its first word, its first line.
local M = {}

--- Return the beginning of a text up to the end of its first word, with what stands before it.
---@param text string
---@return string
function M.word(text)
  local before, rest = text:match('^(%s*)(.*)$')
  -- Bytes of a character beyond ASCII stay together: they are neither word nor space to a pattern.
  return before .. (rest:match('^[%w_]+') or rest:match('^[^%w_%s]+') or '')
end

--- Return the beginning of a text up to the end of its first line that says something.
---@param text string
---@return string
function M.line(text)
  return text:match('^%s*[^\n]*') or text
end

return M
