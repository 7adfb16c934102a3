-- Tasks on the code at the cursor. Edits are shown first and applied when the user accepts them.
local server = require('starcoder.server')

local M = {}

local function position(client, row, column)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  if row then
    local line = vim.api.nvim_buf_get_lines(0, row - 1, row, false)[1] or ''
    local character =
      vim.lsp.util.character_offset(0, row - 1, math.min(column, #line), client.offset_encoding)
    return { line = row - 1, character = character }
  end
  return params.position
end

--- Return the range of the lines, or an empty range at the cursor without lines.
---@param lines? { first: integer, last: integer }
local function range_of(client, lines)
  if lines then
    return { start = position(client, lines.first, 0), ['end'] = position(client, lines.last, math.huge) }
  end
  local cursor = position(client)
  return { start = cursor, ['end'] = cursor }
end

local function problems_in(first, last)
  local messages = {}
  for _, diagnostic in ipairs(vim.diagnostic.get(0)) do
    if diagnostic.lnum >= first and diagnostic.lnum <= last then
      table.insert(messages, diagnostic.message)
    end
  end
  return messages
end

--- Return the new text of an edit as markdown.
---@return string[]
function M.preview(edit)
  local lines = {}
  for _, change in ipairs(edit.documentChanges or {}) do
    if change.kind == 'create' then
      table.insert(lines, 'New file ' .. vim.fn.fnamemodify(vim.uri_to_fname(change.uri), ':.'))
    else
      local name = vim.uri_to_fname(change.textDocument.uri)
      for _, text_edit in ipairs(change.edits) do
        local line = text_edit.range.start.line + 1
        local heading = ('%s, line %d'):format(vim.fn.fnamemodify(name, ':.'), line)
        local language = vim.filetype.match({ filename = name }) or ''
        local text = vim.trim(text_edit.newText:gsub('\r', ''))
        vim.list_extend(lines, { heading, '```' .. language })
        vim.list_extend(lines, vim.split(text, '\n', { plain = true }))
        table.insert(lines, '```')
      end
    end
  end
  return lines
end

local function float(title, lines)
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  require('starcoder.markdown').set(buffer)
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].bufhidden = 'wipe'
  local width = math.min(100, vim.o.columns - 4)
  local height = math.max(1, math.min(#lines, vim.o.lines - 6))
  local window = vim.api.nvim_open_win(buffer, true, {
    relative = 'editor',
    row = math.floor((vim.o.lines - height) / 2) - 1,
    col = math.floor((vim.o.columns - width) / 2),
    width = width,
    height = height,
    border = 'rounded',
    style = 'minimal',
    title = ' ' .. title .. ' ',
    title_pos = 'center',
  })
  vim.wo[window].wrap = true
  vim.wo[window].conceallevel = 2
  return buffer, window
end

--- Apply an edit and show the files that it creates.
function M.apply(edit, encoding)
  vim.lsp.util.apply_workspace_edit(edit, encoding)
  for _, change in ipairs(edit.documentChanges or {}) do
    if change.kind == 'create' then
      local buffer = vim.uri_to_bufnr(change.uri)
      local count = vim.api.nvim_buf_line_count(buffer)
      -- The new text ends with a newline, and so did the empty buffer: remove the empty last line.
      if count > 1 and vim.api.nvim_buf_get_lines(buffer, -2, -1, false)[1] == '' then
        vim.api.nvim_buf_set_lines(buffer, -2, -1, false, {})
      end
      vim.cmd.sbuffer(buffer)
    end
  end
end

--- Show a proposed edit: <CR> applies it, q and <Esc> close it.
local function offer(proposal, encoding)
  local lines = M.preview(proposal.edit)
  vim.list_extend(lines, { '', '*Enter applies this, q closes it*' })
  local buffer, window = float(proposal.title, lines)
  local function close()
    if vim.api.nvim_win_is_valid(window) then
      vim.api.nvim_win_close(window, true)
    end
  end
  vim.keymap.set('n', '<CR>', function()
    close()
    M.apply(proposal.edit, encoding)
    vim.notify('starcoder: ' .. proposal.title)
  end, { buffer = buffer, nowait = true })
  for _, key in ipairs({ 'q', '<Esc>' }) do
    vim.keymap.set('n', key, close, { buffer = buffer, nowait = true })
  end
end

---@param name 'tests'|'document'|'explain'|'fix'|'edit'
---@param options? { instruction?: string, lines?: { first: integer, last: integer } }
function M.run(name, options)
  options = options or {}
  local client = server.client(0)
  if not client then
    return
  end
  local range = range_of(client, options.lines)
  local params = {
    task = name,
    uri = vim.uri_from_bufnr(0),
    range = range,
    instruction = options.instruction or '',
    problems = name == 'fix' and problems_in(range.start.line, range['end'].line) or nil,
  }
  vim.notify(('starcoder: %s …'):format(name))
  server.request('starcoder/task', params, function(proposal)
    if proposal.edit and proposal.edit ~= vim.NIL then
      offer(proposal, client.offset_encoding)
    else
      local lines = vim.split(proposal.note, '\n', { plain = true })
      local buffer, window = float(proposal.title, lines)
      vim.keymap.set('n', 'q', function()
        vim.api.nvim_win_close(window, true)
      end, { buffer = buffer, nowait = true })
    end
  end)
end

--- Insert a commit message for the staged changes at the cursor.
function M.commit_message(instruction)
  local buffer, row = vim.api.nvim_get_current_buf(), vim.api.nvim_win_get_cursor(0)[1]
  local uri = vim.uri_from_fname(vim.fn.getcwd())
  server.request('starcoder/commitMessage', { uri = uri, instruction = instruction or '' }, function(result)
    local lines = vim.split(result.message, '\n', { plain = true })
    vim.api.nvim_buf_set_lines(buffer, row - 1, row - 1, false, lines)
  end)
end

return M
