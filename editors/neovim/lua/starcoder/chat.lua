-- The chat: a window on the right with the conversation as markdown, and one below it to write in.
-- The conversation itself lives in the server.
local server = require('starcoder.server')

local M = {}

---@type { transcript?: integer, input?: integer, window?: integer, conversation?: string, attachments: table[], answering: boolean, from?: integer }
local state = { attachments = {}, answering = false }

local names = { user = '## You', assistant = '## StarCoder', system = '## System' }
local endings = { stopped = '*(stopped)*', ['cut off'] = '*(cut off)*', failed = '*(broken off)*' }

local function is_open()
  return state.window and vim.api.nvim_win_is_valid(state.window)
end

local function write(lines)
  vim.bo[state.transcript].modifiable = true
  vim.api.nvim_buf_set_lines(state.transcript, -1, -1, false, lines)
  vim.bo[state.transcript].modifiable = false
  M.scroll()
end

--- Add text behind what stands there, as an answer comes.
local function append(text)
  local buffer = state.transcript
  if not (buffer and vim.api.nvim_buf_is_valid(buffer)) then
    return
  end
  vim.bo[buffer].modifiable = true
  local last = vim.api.nvim_buf_line_count(buffer) - 1
  local column = #vim.api.nvim_buf_get_lines(buffer, last, last + 1, false)[1]
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_set_text(buffer, last, column, last, column, lines)
  vim.bo[buffer].modifiable = false
  M.scroll()
end

function M.scroll()
  if is_open() then
    local last = vim.api.nvim_buf_line_count(state.transcript)
    vim.api.nvim_win_set_cursor(state.window, { last, 0 })
  end
end

local function scratch(name)
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_name(buffer, name)
  vim.bo[buffer].bufhidden = 'hide'
  vim.bo[buffer].swapfile = false
  require('starcoder.markdown').set(buffer)
  return buffer
end

local function map(buffer, modes, key, act, description)
  vim.keymap.set(modes, key, act, { buffer = buffer, desc = 'StarCoder chat: ' .. description })
end

local function make_buffers()
  if state.transcript and vim.api.nvim_buf_is_valid(state.transcript) then
    return
  end
  state.transcript = scratch('starcoder://chat')
  vim.bo[state.transcript].modifiable = false
  state.input = scratch('starcoder://chat-input')
  for _, buffer in ipairs({ state.transcript, state.input }) do
    map(buffer, 'n', 'q', M.close, 'close')
    map(buffer, 'n', 'S', M.stop, 'stop the answer')
    map(buffer, 'n', 'R', M.retry, 'answer again')
    map(buffer, 'n', 'N', M.new, 'a new conversation')
    map(buffer, 'n', 'H', M.history, 'earlier conversations')
  end
  map(state.transcript, 'n', 'gy', M.yank_code, 'yank the code block under the cursor')
  map(state.transcript, 'n', 'gp', M.put_code, 'put the code block into the file beside')
  map(state.transcript, 'n', 'i', M.focus_input, 'write')
  map(state.input, { 'n', 'i' }, '<C-s>', M.send_input, 'send')
  map(state.input, 'n', '<CR>', M.send_input, 'send')
end

function M.focus_input()
  local window = vim.fn.bufwinid(state.input)
  if window ~= -1 then
    vim.api.nvim_set_current_win(window)
    vim.cmd.startinsert()
  end
end

--- Open the windows, beside the file that one was in.
function M.open()
  if is_open() then
    M.focus_input()
    return
  end
  make_buffers()
  state.from = vim.api.nvim_get_current_win()
  vim.cmd(('botright %dvsplit'):format(require('starcoder.config').current.chat_width))
  state.window = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(state.window, state.transcript)
  vim.wo[state.window].wrap = true
  vim.wo[state.window].linebreak = true
  vim.wo[state.window].number = false
  vim.wo[state.window].conceallevel = 2
  vim.cmd('belowright 5split')
  local below = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(below, state.input)
  vim.wo[below].winfixheight = true
  vim.wo[below].number = false
  vim.wo[below].winbar = 'Ctrl-S sends, S stops, N new, H history, q closes'
end

function M.close()
  for _, buffer in ipairs({ state.input, state.transcript }) do
    local window = buffer and vim.fn.bufwinid(buffer) or -1
    if window ~= -1 then
      vim.api.nvim_win_close(window, true)
    end
  end
end

local function show(conversation)
  vim.bo[state.transcript].modifiable = true
  vim.api.nvim_buf_set_lines(state.transcript, 0, -1, false, {})
  vim.bo[state.transcript].modifiable = false
  for _, turn in ipairs(conversation and conversation.turns or {}) do
    M.write_turn(turn)
  end
end

function M.write_turn(turn)
  local lines = { names[turn.role] or ('## ' .. turn.role), '' }
  for _, attached in ipairs(turn.attachments or {}) do
    table.insert(lines, ('*%s*'):format(attached.label))
  end
  vim.list_extend(lines, vim.split(turn.content, '\n', { plain = true }))
  if endings[turn.state] then
    vim.list_extend(lines, { '', endings[turn.state] })
  end
  table.insert(lines, '')
  write(lines)
end

--- Begin a conversation.
function M.new()
  state.conversation = nil
  state.attachments = {}
  show(nil)
  M.focus_input()
end

--- Choose among earlier conversations.
function M.history()
  server.ask('starcoder/chat/list', vim.empty_dict(), function(found)
    vim.ui.select(found, {
      prompt = 'Conversations',
      format_item = function(one)
        return ('%s  %s'):format(os.date('%Y-%m-%d %H:%M', one.changed), one.title)
      end,
    }, function(one)
      if one then
        server.ask('starcoder/chat/get', { conversation = one.id }, function(conversation)
          state.conversation = conversation.id
          show(conversation)
        end)
      end
    end)
  end)
end

--- Attach lines of a buffer to what is asked next.
---@param buffer integer
---@param first integer 1-based
---@param last integer
function M.attach(buffer, first, last)
  local client = server.client(buffer)
  if not client then
    return
  end
  local line = vim.api.nvim_buf_get_lines(buffer, last - 1, last, false)[1] or ''
  local width = vim.str_utfindex and #line or #line
  if client.offset_encoding ~= 'utf-8' then
    width = vim.lsp.util.character_offset(buffer, last - 1, #line, client.offset_encoding)
  end
  table.insert(state.attachments, {
    kind = 'selection',
    uri = vim.uri_from_bufnr(buffer),
    range = {
      start = { line = first - 1, character = 0 },
      ['end'] = { line = last - 1, character = width },
    },
  })
end

local function finish(done)
  state.answering = false
  if done then
    done()
  end
end

local function answered(stop_listening, shown)
  return function(result)
    stop_listening()
    local turn = result.turn
    if shown() == '' and turn.content ~= '' then
      append(turn.content)
    end
    local tail = { '' }
    if endings[turn.state] then
      vim.list_extend(tail, { endings[turn.state], '' })
    end
    if result.leftOut > 0 then
      local note = '*(%d earlier messages did not fit and were left out)*'
      vim.list_extend(tail, { note:format(result.leftOut), '' })
    end
    write(tail)
    finish()
  end
end

local function stream(method, params)
  state.answering = true
  write({ names.assistant, '', '' })
  local text = ''
  local token, stop_listening = server.listen(function(piece)
    text = text .. piece
    append(piece)
  end)
  params.conversation = state.conversation
  params.partialResultToken = token
  local client = server.ask(method, params, answered(stop_listening, function()
    return text
  end), function()
    stop_listening()
    write({ '', endings.failed, '' })
    finish()
  end)
  if not client then
    finish(stop_listening)
  end
end

local function with_conversation(act)
  if state.conversation then
    act()
    return
  end
  server.ask('starcoder/chat/create', vim.empty_dict(), function(made)
    state.conversation = made.id
    act()
  end)
end

--- Ask something; opens the chat if it is closed.
---@param text string
function M.send(text)
  if vim.trim(text) == '' or state.answering then
    return
  end
  M.open_quietly()
  local attachments = state.attachments
  state.attachments = {}
  with_conversation(function()
    local labels = vim.tbl_map(function(one)
      local name = vim.fs.basename(vim.uri_to_fname(one.uri))
      return { label = ('%s:%d-%d'):format(name, one.range.start.line + 1, one.range['end'].line + 1) }
    end, attachments)
    M.write_turn({ role = 'user', content = text, attachments = labels })
    stream('starcoder/chat/send', { text = text, attachments = attachments })
  end)
end

function M.open_quietly()
  if not is_open() then
    local from = vim.api.nvim_get_current_win()
    M.open()
    if vim.api.nvim_win_is_valid(from) then
      vim.api.nvim_set_current_win(from)
    end
  end
end

function M.send_input()
  local text = table.concat(vim.api.nvim_buf_get_lines(state.input, 0, -1, false), '\n')
  if vim.trim(text) ~= '' and not state.answering then
    vim.api.nvim_buf_set_lines(state.input, 0, -1, false, {})
    M.send(text)
  end
end

--- Stop the answer; what was written is kept.
function M.stop()
  if state.conversation then
    server.ask('starcoder/chat/stop', { conversation = state.conversation }, function() end)
  end
end

--- Answer the last question again.
function M.retry()
  if state.conversation and not state.answering then
    server.ask('starcoder/chat/get', { conversation = state.conversation }, function(conversation)
      local turns = conversation.turns
      if #turns > 0 and turns[#turns].role == 'assistant' then
        table.remove(turns)
      end
      show({ turns = turns })
      stream('starcoder/chat/retry', {})
    end)
  end
end

--- Return the code block of the transcript that the cursor is in, nil outside of one.
---@return string[]?
function M.code_under_cursor()
  local here = vim.api.nvim_win_get_cursor(0)[1]
  local lines = vim.api.nvim_buf_get_lines(state.transcript, 0, -1, false)
  local start
  for number, line in ipairs(lines) do
    if line:match('^%s*```') then
      if not start then
        start = number
      else
        if here >= start and here <= number then
          return vim.list_slice(lines, start + 1, number - 1)
        end
        start = nil
      end
    end
  end
  return nil
end

function M.yank_code()
  local code = M.code_under_cursor()
  if code then
    vim.fn.setreg('"', code, 'l')
    vim.notify(('starcoder: yanked %d lines'):format(#code))
  end
end

function M.put_code()
  local code = M.code_under_cursor()
  if code and state.from and vim.api.nvim_win_is_valid(state.from) then
    local buffer = vim.api.nvim_win_get_buf(state.from)
    local row = vim.api.nvim_win_get_cursor(state.from)[1]
    vim.api.nvim_buf_set_lines(buffer, row, row, false, code)
  end
end

--- For tests and other plugins: what the windows hold.
function M.state()
  return state
end

return M
