-- The chat's windows: the conversation as markdown on the right, and an input window below it.
local M = {}

--- Buffers of the transcript and the input, the window of the transcript, and the window of the file.
---@type { transcript?: integer, input?: integer, window?: integer, file_window?: integer }
local state = {}

---@class starcoder.ChatKey
---@field [1] 'both'|'transcript'|'input'
---@field [2] string|string[] modes
---@field [3] string
---@field [4] fun()
---@field [5] string

local function is_open()
  return state.window and vim.api.nvim_win_is_valid(state.window)
end

local function has_transcript()
  return state.transcript and vim.api.nvim_buf_is_valid(state.transcript)
end

local function scroll()
  if is_open() then
    local last = vim.api.nvim_buf_line_count(state.transcript)
    vim.api.nvim_win_set_cursor(state.window, { last, 0 })
  end
end

--- Change the transcript, which is otherwise read-only.
---@param change fun(buffer: integer)
local function write(change)
  if has_transcript() then
    vim.bo[state.transcript].modifiable = true
    change(state.transcript)
    vim.bo[state.transcript].modifiable = false
    scroll()
  end
end

---@param lines string[]
function M.add(lines)
  write(function(buffer)
    vim.api.nvim_buf_set_lines(buffer, -1, -1, false, lines)
  end)
end

--- Append a chunk of an answer to the last line.
---@param text string
function M.append(text)
  write(function(buffer)
    local last = vim.api.nvim_buf_line_count(buffer) - 1
    local column = #vim.api.nvim_buf_get_lines(buffer, last, last + 1, false)[1]
    local lines = vim.split(text, '\n', { plain = true })
    vim.api.nvim_buf_set_text(buffer, last, column, last, column, lines)
  end)
end

function M.clear()
  write(function(buffer)
    vim.api.nvim_buf_set_lines(buffer, 0, -1, false, {})
  end)
end

---@return string[]
function M.lines()
  return vim.api.nvim_buf_get_lines(state.transcript, 0, -1, false)
end

local function scratch(name)
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_name(buffer, name)
  vim.bo[buffer].bufhidden = 'hide'
  vim.bo[buffer].swapfile = false
  require('starcoder.markdown').set(buffer)
  return buffer
end

---@param keys starcoder.ChatKey[]
local function make_buffers(keys)
  if has_transcript() then
    return
  end
  state.transcript = scratch('starcoder://chat')
  vim.bo[state.transcript].modifiable = false
  state.input = scratch('starcoder://chat-input')
  for _, key in ipairs(keys) do
    local target, modes, lhs, action, description = unpack(key)
    local buffers = target == 'both' and { state.transcript, state.input } or { state[target] }
    for _, buffer in ipairs(buffers) do
      vim.keymap.set(modes, lhs, action, { buffer = buffer, desc = 'StarCoder chat: ' .. description })
    end
  end
end

--- Focus the input window and enter insert mode.
function M.focus_input()
  local window = state.input and vim.fn.bufwinid(state.input) or -1
  if window ~= -1 then
    vim.api.nvim_set_current_win(window)
    vim.cmd.startinsert()
  end
end

--- Open the windows to the right of the current file.
---@param keys starcoder.ChatKey[]
function M.open(keys)
  if is_open() then
    return
  end
  make_buffers(keys)
  state.file_window = vim.api.nvim_get_current_win()
  vim.cmd(('botright %dvsplit'):format(require('starcoder.config').current.chat_width))
  state.window = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(state.window, state.transcript)
  vim.wo[state.window].wrap = true
  vim.wo[state.window].linebreak = true
  vim.wo[state.window].number = false
  vim.wo[state.window].conceallevel = 2
  vim.cmd('belowright 5split')
  local input_window = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(input_window, state.input)
  vim.wo[input_window].winfixheight = true
  vim.wo[input_window].number = false
  vim.wo[input_window].winbar = 'Ctrl-S sends, S stops, N new, H history, q closes'
end

--- Open the windows without moving the focus.
---@param keys starcoder.ChatKey[]
function M.open_quietly(keys)
  local current = vim.api.nvim_get_current_win()
  M.open(keys)
  vim.api.nvim_set_current_win(current)
end

function M.close()
  for _, buffer in ipairs({ state.input, state.transcript }) do
    local window = vim.fn.bufwinid(buffer)
    if window ~= -1 then
      vim.api.nvim_win_close(window, true)
    end
  end
end

--- Return the text of the input window and clear it.
---@return string
function M.take_input()
  local text = table.concat(vim.api.nvim_buf_get_lines(state.input, 0, -1, false), '\n')
  vim.api.nvim_buf_set_lines(state.input, 0, -1, false, {})
  return text
end

--- Return the window from which the chat was opened, nil if it was closed.
---@return integer?
function M.file_window()
  return state.file_window and vim.api.nvim_win_is_valid(state.file_window) and state.file_window or nil
end

return M
