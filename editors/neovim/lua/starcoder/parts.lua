-- Parts of a suggestion: its first word, its first line.
local M = {}

--- Return the beginning of a text up to the end of its first word, with what stands before it.
---@param text string
---@return string
function M.word(text)
  local before, rest = text:match('^(%s*)(.*)$')
  -- Bytes beyond ASCII are letters more often than not, and a character's stay together.
  return before .. (rest:match('^[%w_\128-\255]+') or rest:match('^[^%w_%s\128-\255]+') or '')
end

--- Return the beginning of a text up to the end of its first line that says something.
---@param text string
---@return string
function M.line(text)
  return text:match('^%s*[^\n]*') or text
end

return M
