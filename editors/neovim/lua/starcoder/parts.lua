-- The first word and the first line of a suggestion.
local M = {}

--- Return a text up to the end of its first word, with leading whitespace.
---@param text string
---@return string
function M.word(text)
  local before, rest = text:match('^(%s*)(.*)$')
  -- Non-ASCII bytes are mostly letters. Treating all as letters also keeps each character whole.
  return before .. (rest:match('^[%w_\128-\255]+') or rest:match('^[^%w_%s\128-\255]+') or '')
end

--- Return a text up to the end of its first line that is not empty.
---@param text string
---@return string
function M.line(text)
  return text:match('^%s*[^\n]*') or text
end

return M
