-- The chat. The server stores the conversation; this module sends requests and shows the answers.
local attachments = require('starcoder.chat.attachments')
local code = require('starcoder.chat.code')
local markdown = require('starcoder.chat.markdown')
local run = require('starcoder.chat.run')
local server = require('starcoder.server')
local window = require('starcoder.chat.window')

local M = {}

---@type { conversation?: string, answering: boolean, last_question?: string }
local state = { answering = false }

local function keys()
  return {
    { 'both', 'n', 'q', M.close, 'close' },
    { 'both', 'n', 'S', M.stop, 'stop the answer or the code' },
    { 'both', 'n', 'R', M.retry, 'answer again' },
    { 'both', 'n', 'C', M.continue, 'continue the answer' },
    { 'both', 'n', 'N', M.new, 'a new conversation' },
    { 'both', 'n', 'H', M.history, 'earlier conversations' },
    { 'both', 'n', 'T', M.rename, 'change the title of the conversation' },
    { 'both', 'n', 'D', M.detach, 'remove the attached lines' },
    { 'both', 'n', 'g?', M.help, 'list the keys' },
    { 'transcript', 'n', 'gy', code.yank, 'yank the code block under the cursor' },
    { 'transcript', 'n', 'gp', code.put, 'put the code block into the file' },
    { 'transcript', 'n', 'gR', M.run, 'run the code block under the cursor' },
    { 'transcript', 'n', '<CR>', run.open_figure, 'open the figure under the cursor' },
    { 'transcript', 'n', 'i', M.focus_input, 'write a message' },
    { 'input', { 'n', 'i' }, '<C-s>', M.send_input, 'send' },
    { 'input', 'n', '<CR>', M.send_input, 'send' },
    { 'input', { 'n', 'i' }, '<Up>', M.recall, 'the last question, if the input is empty' },
  }
end

local function show_attachments()
  window.show_attachments(attachments.labels())
end

--- Open the windows and focus the input window.
function M.open()
  window.open(keys())
  show_attachments()
  window.focus_input()
end

M.focus_input = window.focus_input
M.close = window.close

function M.help()
  local lines = {}
  for _, key in ipairs(keys()) do
    table.insert(lines, ('%-6s %s'):format(key[3], key[5]))
  end
  vim.notify(table.concat(lines, '\n'))
end

local function show_turns(turns)
  run.forget()
  window.clear()
  for _, turn in ipairs(turns) do
    window.add(markdown.turn(turn))
  end
end

--- Show a conversation. A question without an answer gets a hint.
local function show(turns)
  show_turns(turns)
  if #turns > 0 and turns[#turns].role == 'user' then
    window.add({ markdown.unanswered, '' })
  end
end

--- Start a new conversation.
function M.new()
  state.conversation = nil
  M.detach()
  show({})
  window.focus_input()
end

--- Let the user choose an earlier conversation.
function M.history()
  server.request('starcoder/chat/list', vim.empty_dict(), function(conversations)
    if #conversations == 0 then
      vim.notify('starcoder: there are no earlier conversations')
      return
    end
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

--- Attach lines of a buffer to the next message. The chat shows them above its input.
---@param buffer integer
---@param first integer 1-based
---@param last integer 1-based, inclusive
function M.attach(buffer, first, last)
  attachments.add(buffer, first, last)
  show_attachments()
end

--- Remove all attached lines.
function M.detach()
  attachments.clear()
  show_attachments()
end

--- Request an answer and show its chunks as they arrive, below what the transcript ends with.
---@param method string
---@param params table
---@param on_failure? fun()
local function stream(method, params, on_failure)
  local answer = ''
  local token, stop_listening = server.listen(function(value)
    local chunk = value.text or ''
    answer = answer .. chunk
    window.append(chunk)
  end)
  local function finish(lines)
    stop_listening()
    state.answering = false
    window.add(lines)
  end
  state.answering = true
  params.conversation = state.conversation
  params.partialResultToken = token
  server.request(method, params, function(result)
    if answer == '' and method ~= 'starcoder/chat/continue' then
      window.append(result.turn.content)
    end
    finish(markdown.tail(result.turn, result.leftOut))
  end, function()
    finish(markdown.tail({ state = 'failed' }))
    if on_failure then
      on_failure()
    end
  end)
end

--- Call `callback` when there is a conversation; creates one if needed.
---@param callback fun()
---@param on_failure fun()
local function with_conversation(callback, on_failure)
  if state.conversation then
    callback()
    return
  end
  server.request('starcoder/chat/create', vim.empty_dict(), function(created)
    state.conversation = created.id
    callback()
  end, on_failure)
end

--- Put a message that was not sent back into the input, unless the user writes the next one there.
---@param message { text: string, lines: table[] }
local function give_back(message)
  state.answering = false
  if vim.trim(window.input()) == '' then
    window.set_input(message.text)
    attachments.put_back(message.lines)
    show_attachments()
  end
end

--- After a failure, give the message back if the server has not stored it. A stored message can be
--- answered again.
local function give_back_unless_stored(message)
  server.request('starcoder/chat/get', { conversation = state.conversation }, function(conversation)
    local questions = vim.tbl_filter(function(turn)
      return turn.role == 'user'
    end, conversation.turns)
    local last = questions[#questions]
    if not last or last.content ~= message.text then
      show(conversation.turns)
      give_back(message)
    end
  end, function()
    give_back(message)
  end)
end

--- Return the parameters of a message: its text, what is attached, and where the user works, which is
--- for slash commands.
local function message_params(text)
  local params = { text = text, attachments = attachments.params() }
  local file_window = window.file_window()
  local buffer = file_window and vim.api.nvim_win_get_buf(file_window)
  local client = buffer and vim.lsp.get_clients({ name = server.name, bufnr = buffer })[1]
  if client then
    server.send_changes(buffer)
    local cursor = vim.lsp.util.make_position_params(file_window, client.offset_encoding)
    params.uri = cursor.textDocument.uri
    params.range = { start = cursor.position, ['end'] = cursor.position }
  end
  return params
end

--- Send a message; opens the chat if it is closed.
---@param text string
function M.send(text)
  if vim.trim(text) == '' or state.answering then
    return
  end
  window.open_quietly(keys())
  state.answering = true
  state.last_question = text
  local params = message_params(text)
  local message = { text = text, lines = attachments.take() }
  show_attachments()
  local function on_failure()
    give_back(message)
  end
  -- The server also attaches what the text mentions, and the function at the cursor.
  server.request('starcoder/chat/attach', params, function(attached)
    with_conversation(function()
      window.add(markdown.turn({ role = 'user', content = text, attachments = attached }))
      window.add({ markdown.heading('assistant'), '', '' })
      stream('starcoder/chat/send', params, function()
        give_back_unless_stored(message)
      end)
    end, on_failure)
  end, on_failure)
end

function M.send_input()
  if not state.answering then
    local text = window.input()
    window.set_input('')
    M.send(text)
  end
end

--- Write the last question into the input if it is empty. Otherwise move the cursor up.
function M.recall()
  if window.input() == '' and state.last_question then
    window.set_input(state.last_question)
  elseif vim.api.nvim_win_get_cursor(0)[1] > 1 then
    vim.cmd.normal({ 'gk', bang = true })
  end
end

---@return boolean
function M.is_answering()
  return state.answering
end

--- Run the code block under the cursor.
function M.run()
  run.run(state.conversation)
end

--- Stop the answer, whose text so far is kept, and code that runs.
function M.stop()
  run.stop()
  if state.conversation and state.answering then
    server.request('starcoder/chat/stop', { conversation = state.conversation }, function() end)
  end
end

--- Call `callback` with the turns of the conversation, unless it is empty or an answer is running.
local function with_turns(callback)
  if not state.conversation or state.answering then
    return
  end
  server.request('starcoder/chat/get', { conversation = state.conversation }, function(conversation)
    if #conversation.turns > 0 and not state.answering then
      callback(conversation.turns)
    end
  end)
end

--- Answer the last question again.
function M.retry()
  with_turns(function(turns)
    if turns[#turns].role == 'assistant' then
      table.remove(turns)
    end
    show_turns(turns)
    window.add({ markdown.heading('assistant'), '', '' })
    stream('starcoder/chat/retry', {})
  end)
end

--- Continue an answer that was stopped or cut off.
function M.continue()
  with_turns(function(turns)
    local last = table.remove(turns)
    if last.role ~= 'assistant' or last.state == 'whole' then
      vim.notify('starcoder: there is no unfinished answer')
      return
    end
    show_turns(turns)
    window.add({ markdown.heading('assistant'), '', '' })
    window.append(last.content)
    stream('starcoder/chat/continue', {})
  end)
end

--- Let the user change the title of the conversation, which the list of conversations shows.
function M.rename()
  local conversation = state.conversation
  if not conversation then
    return
  end
  vim.ui.input({ prompt = 'Title: ' }, function(title)
    if title and title ~= '' then
      local params = { conversation = conversation, title = title }
      server.request('starcoder/chat/rename', params, function(result)
        vim.notify('starcoder: the conversation is called ' .. result.title)
      end)
    end
  end)
end

return M
