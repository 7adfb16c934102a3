-- Converts a conversation to lines of markdown, and finds the code blocks in them.
local M = {}

local names = { user = '## You', assistant = '## StarCoder', system = '## System' }

M.endings = {
  stopped = '*(stopped)*',
  ['cut off'] = '*(cut off; C continues it)*',
  failed = '*(interrupted by an error; R answers again)*',
}

M.unanswered = '*(no answer yet; R answers)*'

---@param role string
function M.heading(role)
  return names[role] or ('## ' .. role)
end

--- Return the lines below an answer.
---@param turn { state: string }
---@param left_out? integer number of earlier messages that did not fit into the context window
---@return string[]
function M.tail(turn, left_out)
  local lines = { '' }
  if M.endings[turn.state] then
    vim.list_extend(lines, { M.endings[turn.state], '' })
  end
  if left_out and left_out > 0 then
    local note = '*(%d earlier messages did not fit and were left out)*'
    vim.list_extend(lines, { note:format(left_out), '' })
  end
  return lines
end

---@param turn { role: string, content: string, state?: string, attachments?: { label: string }[] }
---@return string[]
function M.turn(turn)
  local lines = { M.heading(turn.role), '' }
  for _, attachment in ipairs(turn.attachments or {}) do
    table.insert(lines, ('*%s*'):format(attachment.label))
  end
  vim.list_extend(lines, vim.split(turn.content, '\n', { plain = true }))
  return vim.list_extend(lines, M.tail({ state = turn.state or 'whole' }))
end

---@class starcoder.CodeBlock
---@field first integer line of the opening fence, 1-based
---@field last integer line of the closing fence, or the last line without one
---@field lines string[]

--- Return the fenced code blocks of lines of markdown, as the server numbers them: a closing fence has
--- the character of the opening one and is at least as long.
---@param lines string[]
---@return starcoder.CodeBlock[]
function M.blocks(lines)
  local blocks = {}
  local fence, indent, first
  for number, line in ipairs(lines) do
    local spaces, marks, rest = line:match('^(%s*)([`~]+)(.*)$')
    local is_fence = marks and #marks >= 3 and marks == marks:sub(1, 1):rep(#marks)
    if not first and is_fence and not rest:find('`', 1, true) then
      fence, indent, first = marks, #spaces, number
    elseif first and is_fence and vim.trim(rest) == '' then
      local is_same = marks:sub(1, 1) == fence:sub(1, 1) and #marks >= #fence
      if is_same and #spaces <= indent + 3 then
        local content = vim.list_slice(lines, first + 1, number - 1)
        table.insert(blocks, { first = first, last = number, lines = content })
        first = nil
      end
    end
  end
  if first then
    table.insert(blocks, { first = first, last = #lines, lines = vim.list_slice(lines, first + 1) })
  end
  return blocks
end

--- Return the code block around a line, nil if the line is not in a code block.
---@param lines string[]
---@param row integer 1-based
---@return starcoder.CodeBlock?
function M.block_at(lines, row)
  for _, block in ipairs(M.blocks(lines)) do
    if row >= block.first and row <= block.last then
      return block
    end
  end
  return nil
end

--- Return text as lines of a code block whose fence no line of the text closes.
---@param text string
---@return string[]
function M.fenced(text)
  local longest = 2
  for fence in text:gmatch('`+') do
    longest = math.max(longest, #fence)
  end
  local fence = ('`'):rep(longest + 1)
  local lines = { fence .. 'text' }
  vim.list_extend(lines, vim.split(text, '\n', { plain = true }))
  return vim.list_extend(lines, { fence })
end

return M
