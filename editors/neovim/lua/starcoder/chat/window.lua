-- The chat's windows: the conversation as markdown on the right, and an input window below it.
local M = {}

--- Buffers of the transcript and the input, their windows, and the window of the file.
---@type table<'transcript'|'input'|'window'|'input_window'|'file_window', integer?>
local state = {}

local MIN_WIDTH = 30

---@class starcoder.ChatKey
---@field [1] 'both'|'transcript'|'input'
---@field [2] string|string[] modes
---@field [3] string
---@field [4] fun()
---@field [5] string

--- Return whether a window is in the current tab page.
local function is_here(window)
  return window ~= nil
    and vim.api.nvim_win_is_valid(window)
    and vim.api.nvim_win_get_tabpage(window) == vim.api.nvim_get_current_tabpage()
end

local function is_open()
  return is_here(state.window) and is_here(state.input_window)
end

local function has_transcript()
  return state.transcript and vim.api.nvim_buf_is_valid(state.transcript)
end

--- Change the transcript, which is otherwise read-only. The window follows the end of the text unless
--- the user has moved away from it.
---@param change fun(buffer: integer)
local function write(change)
  if not has_transcript() then
    return
  end
  local window = is_here(state.window) and state.window
  local row = window and vim.api.nvim_win_get_cursor(window)[1]
  local is_at_end = row == vim.api.nvim_buf_line_count(state.transcript)
  vim.bo[state.transcript].modifiable = true
  change(state.transcript)
  vim.bo[state.transcript].modifiable = false
  if window and is_at_end then
    vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(state.transcript), 0 })
  end
end

---@param lines string[]
function M.add(lines)
  write(function(buffer)
    vim.api.nvim_buf_set_lines(buffer, -1, -1, false, lines)
  end)
end

--- Put lines in place of the lines from `first` up to, not including, `last` (0-based).
---@param first integer
---@param last integer
---@param lines string[]
function M.replace(first, last, lines)
  write(function(buffer)
    vim.api.nvim_buf_set_lines(buffer, first, last, false, lines)
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

--- Return the buffer of the conversation, nil if the chat has not been opened.
---@return integer?
function M.transcript()
  return has_transcript() and state.transcript or nil
end

---@return string[]
function M.lines()
  return vim.api.nvim_buf_get_lines(state.transcript, 0, -1, false)
end

---@param keys starcoder.ChatKey[]
local function make_buffers(keys)
  if has_transcript() and vim.api.nvim_buf_is_valid(state.input) then
    return
  end
  local scratch = require('starcoder.scratch')
  state.transcript = scratch.buffer('starcoder://chat')
  vim.bo[state.transcript].modifiable = false
  state.input = scratch.buffer('starcoder://chat-input')
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
  if is_here(state.input_window) then
    vim.api.nvim_set_current_win(state.input_window)
    vim.cmd.startinsert()
  end
end

--- Return the width for a screen: the option's columns, or its share if it is less than 1. The file
--- keeps at least half of the screen.
---@param columns integer
---@return integer
function M.width(columns)
  local width = require('starcoder.config').current.chat_width
  if width < 1 then
    width = math.max(MIN_WIDTH, math.floor(columns * width))
  end
  return math.max(1, math.min(width, math.floor(columns / 2)))
end

--- Show what goes with the next message above the input.
---@param labels string[]
function M.show_attachments(labels)
  if is_here(state.input_window) then
    local text = #labels > 0 and 'With ' .. table.concat(labels, ', ') or 'Ctrl-S sends, g? lists the keys'
    vim.wo[state.input_window].winbar = text:gsub('%%', '%%%%')
  end
end

local function remember_file_window()
  local current = vim.api.nvim_get_current_win()
  local buffer = vim.api.nvim_win_get_buf(current)
  if buffer ~= state.transcript and buffer ~= state.input then
    state.file_window = current
  end
end

--- Open the windows to the right of the current file.
---@param keys starcoder.ChatKey[]
function M.open(keys)
  remember_file_window()
  if is_open() then
    return
  end
  M.close()
  make_buffers(keys)
  local scratch = require('starcoder.scratch')
  vim.cmd(('botright %dvsplit'):format(M.width(vim.o.columns)))
  state.window = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(state.window, state.transcript)
  vim.cmd('belowright 5split')
  state.input_window = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(state.input_window, state.input)
  for _, window in ipairs({ state.window, state.input_window }) do
    scratch.format_window(window)
    vim.wo[window].winfixwidth = true
  end
  vim.wo[state.input_window].winfixheight = true
  vim.api.nvim_create_autocmd('VimResized', {
    group = vim.api.nvim_create_augroup('starcoder.chat', {}),
    callback = function()
      if is_open() then
        vim.api.nvim_win_set_width(state.window, M.width(vim.o.columns))
      end
    end,
  })
end

--- Open the windows without moving the focus.
---@param keys starcoder.ChatKey[]
function M.open_quietly(keys)
  local current = vim.api.nvim_get_current_win()
  M.open(keys)
  vim.api.nvim_set_current_win(current)
end

--- Close the windows. An empty file takes their place if there is no other window.
function M.close()
  local windows = {}
  for _, window in ipairs(vim.api.nvim_tabpage_list_wins(0)) do
    local buffer = vim.api.nvim_win_get_buf(window)
    if buffer == state.input or buffer == state.transcript then
      table.insert(windows, window)
    end
  end
  if #windows > 0 and #windows == #vim.api.nvim_tabpage_list_wins(0) then
    vim.cmd('topleft vnew')
  end
  for _, window in ipairs(windows) do
    vim.api.nvim_win_close(window, true)
  end
end

---@return string
function M.input()
  local lines = state.input and vim.api.nvim_buf_get_lines(state.input, 0, -1, false) or {}
  return table.concat(lines, '\n')
end

--- Replace the text of the input window, with the cursor at its end.
---@param text string
function M.set_input(text)
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_set_lines(state.input, 0, -1, false, lines)
  if is_here(state.input_window) then
    vim.api.nvim_win_set_cursor(state.input_window, { #lines, #lines[#lines] })
  end
end

--- Return the window from which the chat was opened, nil if it was closed.
---@return integer?
function M.file_window()
  return state.file_window and vim.api.nvim_win_is_valid(state.file_window) and state.file_window or nil
end

return M
