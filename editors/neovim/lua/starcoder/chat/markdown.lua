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

--- Return the lines of the code block around a line, nil if the line is not in a code block.
---@param lines string[]
---@param row integer 1-based
---@return string[]?
function M.code_at(lines, row)
  local start
  for number, line in ipairs(lines) do
    if line:match('^%s*```') then
      if start and row >= start and row <= number then
        return vim.list_slice(lines, start + 1, number - 1)
      end
      start = not start and number or nil
    end
  end
  return nil
end

return M
