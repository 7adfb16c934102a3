-- Tasks on the code under the cursor: shown first, applied when you say so.
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

--- Return the range that a command was given, or the cursor.
---@param lines? { first: integer, last: integer }
local function range_of(client, lines)
  if lines then
    return { start = position(client, lines.first, 0), ['end'] = position(client, lines.last, math.huge) }
  end
  local here = position(client)
  return { start = here, ['end'] = here }
end

local function problems_in(first, last)
  local found = {}
  for _, one in ipairs(vim.diagnostic.get(0)) do
    if one.lnum >= first and one.lnum <= last then
      table.insert(found, one.message)
    end
  end
  return found
end

--- Return what an edit would write, as markdown.
---@return string[]
function M.preview(edit)
  local lines = {}
  for _, change in ipairs(edit.documentChanges or {}) do
    if change.kind == 'create' then
      table.insert(lines, 'New file ' .. vim.fn.fnamemodify(vim.uri_to_fname(change.uri), ':.'))
    else
      local name = vim.uri_to_fname(change.textDocument.uri)
      for _, one in ipairs(change.edits) do
        local place = ('%s, line %d'):format(vim.fn.fnamemodify(name, ':.'), one.range.start.line + 1)
        local language = vim.filetype.match({ filename = name }) or ''
        vim.list_extend(lines, { place, '```' .. language })
        vim.list_extend(lines, vim.split(vim.trim(one.newText:gsub('\r', '')), '\n', { plain = true }))
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

--- Apply an edit, and show the files that it makes.
function M.apply(edit, encoding)
  vim.lsp.util.apply_workspace_edit(edit, encoding)
  for _, change in ipairs(edit.documentChanges or {}) do
    if change.kind == 'create' then
      local buffer = vim.uri_to_bufnr(change.uri)
      local count = vim.api.nvim_buf_line_count(buffer)
      -- The new text ends its last line, and so does the empty buffer that it was put into.
      if count > 1 and vim.api.nvim_buf_get_lines(buffer, -2, -1, false)[1] == '' then
        vim.api.nvim_buf_set_lines(buffer, -2, -1, false, {})
      end
      vim.cmd.sbuffer(buffer)
    end
  end
end

--- Show what is proposed: <CR> applies it, q and <Esc> do not.
local function offer(proposal, encoding)
  local lines = M.preview(proposal.edit)
  vim.list_extend(lines, { '', '*Enter applies, q does not*' })
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
  server.ask('starcoder/task', params, function(proposal)
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

--- Put a message for what is staged where the cursor is.
function M.commit_message(instruction)
  local buffer, row = vim.api.nvim_get_current_buf(), vim.api.nvim_win_get_cursor(0)[1]
  local uri = vim.uri_from_fname(vim.fn.getcwd())
  server.ask('starcoder/commitMessage', { uri = uri, instruction = instruction or '' }, function(made)
    local lines = vim.split(made.message, '\n', { plain = true })
    vim.api.nvim_buf_set_lines(buffer, row - 1, row - 1, false, lines)
  end)
end

return M
