-- The chat. The server stores the conversation; this module sends requests and shows the answers.
local markdown = require('starcoder.chat.markdown')
local server = require('starcoder.server')
local window = require('starcoder.chat.window')

local M = {}

---@type { conversation?: string, attachments: table[], answering: boolean }
local state = { attachments = {}, answering = false }

local function keys()
  return {
    { 'both', 'n', 'q', M.close, 'close' },
    { 'both', 'n', 'S', M.stop, 'stop the answer' },
    { 'both', 'n', 'R', M.retry, 'answer again' },
    { 'both', 'n', 'N', M.new, 'a new conversation' },
    { 'both', 'n', 'H', M.history, 'earlier conversations' },
    { 'transcript', 'n', 'gy', M.yank_code, 'yank the code block under the cursor' },
    { 'transcript', 'n', 'gp', M.put_code, 'put the code block into the file' },
    { 'transcript', 'n', 'i', M.focus_input, 'write a message' },
    { 'input', { 'n', 'i' }, '<C-s>', M.send_input, 'send' },
    { 'input', 'n', '<CR>', M.send_input, 'send' },
  }
end

--- Open the windows and focus the input window.
function M.open()
  window.open(keys())
  window.focus_input()
end

M.focus_input = window.focus_input
M.close = window.close

local function show(turns)
  window.clear()
  for _, turn in ipairs(turns) do
    window.add(markdown.turn(turn))
  end
end

--- Start a new conversation.
function M.new()
  state.conversation = nil
  state.attachments = {}
  show({})
  window.focus_input()
end

--- Let the user choose an earlier conversation.
function M.history()
  server.request('starcoder/chat/list', vim.empty_dict(), function(conversations)
    vim.ui.select(conversations, {
      prompt = 'Conversations',
      format_item = function(summary)
        local time = os.date('%Y-%m-%d %H:%M', math.floor(summary.changed))
        return ('%s  %s'):format(time, summary.title)
      end,
    }, function(selected)
      if selected then
        server.request('starcoder/chat/get', { conversation = selected.id }, function(conversation)
          state.conversation = conversation.id
          show(conversation.turns)
        end)
      end
    end)
  end)
end

--- Attach lines of a buffer to the next message.
---@param buffer integer
---@param first integer 1-based
---@param last integer 1-based, inclusive
function M.attach(buffer, first, last)
  local client = server.client(buffer)
  if not client then
    return
  end
  local line = vim.api.nvim_buf_get_lines(buffer, last - 1, last, false)[1] or ''
  local width = vim.lsp.util.character_offset(buffer, last - 1, #line, client.offset_encoding)
  table.insert(state.attachments, {
    kind = 'selection',
    uri = vim.uri_from_bufnr(buffer),
    range = {
      start = { line = first - 1, character = 0 },
      ['end'] = { line = last - 1, character = width },
    },
  })
end

--- Request an answer and show its chunks as they arrive.
local function stream(method, params)
  local answer = ''
  local token, stop_listening = server.listen(function(chunk)
    answer = answer .. chunk
    window.append(chunk)
  end)
  local function finish(lines)
    stop_listening()
    state.answering = false
    window.add(lines)
  end
  state.answering = true
  window.add({ markdown.heading('assistant'), '', '' })
  params.conversation = state.conversation
  params.partialResultToken = token
  local client = server.request(method, params, function(result)
    if answer == '' then
      window.append(result.turn.content)
    end
    finish(markdown.tail(result.turn, result.leftOut))
  end, function()
    finish(markdown.tail({ state = 'failed' }))
  end)
  if not client then
    finish(markdown.tail({ state = 'failed' }))
  end
end

--- Call `callback` when there is a conversation; creates one if needed.
local function with_conversation(callback)
  if state.conversation then
    callback()
    return
  end
  server.request('starcoder/chat/create', vim.empty_dict(), function(created)
    state.conversation = created.id
    callback()
  end)
end

local function label(attachment)
  local name = vim.fs.basename(vim.uri_to_fname(attachment.uri))
  local range = attachment.range
  return { label = ('%s:%d-%d'):format(name, range.start.line + 1, range['end'].line + 1) }
end

--- Send a message; opens the chat if it is closed.
---@param text string
function M.send(text)
  if vim.trim(text) == '' or state.answering then
    return
  end
  window.open_quietly(keys())
  local attachments = state.attachments
  state.attachments = {}
  with_conversation(function()
    local labels = vim.tbl_map(label, attachments)
    window.add(markdown.turn({ role = 'user', content = text, attachments = labels }))
    stream('starcoder/chat/send', { text = text, attachments = attachments })
  end)
end

function M.send_input()
  if not state.answering then
    M.send(window.take_input())
  end
end

---@return boolean
function M.is_answering()
  return state.answering
end

--- Stop the answer. Its text so far is kept.
function M.stop()
  if state.conversation then
    server.request('starcoder/chat/stop', { conversation = state.conversation }, function() end)
  end
end

--- Answer the last question again.
function M.retry()
  if not state.conversation or state.answering then
    return
  end
  server.request('starcoder/chat/get', { conversation = state.conversation }, function(conversation)
    local turns = conversation.turns
    if #turns > 0 and turns[#turns].role == 'assistant' then
      table.remove(turns)
    end
    show(turns)
    stream('starcoder/chat/retry', {})
  end)
end

local function code_under_cursor()
  return markdown.code_at(window.lines(), vim.api.nvim_win_get_cursor(0)[1])
end

function M.yank_code()
  local code = code_under_cursor()
  if code then
    vim.fn.setreg('"', code, 'l')
    vim.notify(('starcoder: yanked %d lines'):format(#code))
  end
end

function M.put_code()
  local code, file_window = code_under_cursor(), window.file_window()
  if code and file_window then
    local row = vim.api.nvim_win_get_cursor(file_window)[1]
    vim.api.nvim_buf_set_lines(vim.api.nvim_win_get_buf(file_window), row, row, false, code)
  end
end

return M
