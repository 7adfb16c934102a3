-- Workspace edits of the server: what they would change, and their application.
local M = {}

---@class starcoder.Document
---@field uri string the name that the server knows the document by
---@field buffer integer

--- Return the buffer of a change, nil if it has none yet. An unnamed buffer has the URI of many
--- buffers, so the document of the request comes first.
---@param uri string
---@param document starcoder.Document
---@return integer?
local function buffer_of(uri, document)
  if uri == document.uri then
    return document.buffer
  end
  local buffer = vim.fn.bufnr(vim.fn.escape(vim.uri_to_fname(uri), '\\*?[]{},$^'))
  return buffer ~= -1 and vim.api.nvim_buf_is_loaded(buffer) and buffer or nil
end

local function lines_of(uri, document)
  local buffer = buffer_of(uri, document)
  if buffer then
    return vim.api.nvim_buf_get_lines(buffer, 0, -1, false)
  end
  local path = vim.uri_to_fname(uri)
  local lines = vim.fn.filereadable(path) == 1 and vim.fn.readfile(path) or {}
  return vim.tbl_map(function(line)
    return (line:gsub('\r$', ''))
  end, lines)
end

--- Return lines with edits applied, which an invisible buffer does.
local function with_edits(lines, text_edits, encoding)
  local ignored = vim.o.eventignore
  vim.o.eventignore = 'all'
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.lsp.util.apply_text_edits(text_edits, buffer, encoding)
  local changed = vim.api.nvim_buf_get_lines(buffer, 0, -1, false)
  vim.api.nvim_buf_delete(buffer, { force = true })
  vim.o.eventignore = ignored
  return changed
end

---@return string
local function name_of(uri, document)
  local path = vim.api.nvim_buf_get_name(document.buffer)
  if uri ~= document.uri then
    path = vim.uri_to_fname(uri)
  end
  return path == '' and '[No Name]' or vim.fn.fnamemodify(path, ':~:.')
end

--- Return what an edit changes, in the format of `diff -u`.
---@param edit table
---@param encoding string
---@param document starcoder.Document
---@return string[]
function M.diff(edit, encoding, document)
  local diff = vim.text and vim.text.diff or vim.diff
  local lines, created = {}, {}
  for _, change in ipairs(edit.documentChanges or {}) do
    if change.kind == 'create' then
      created[change.uri] = true
    else
      local uri = change.textDocument.uri
      local before = lines_of(uri, document)
      local after = with_edits(before, change.edits, encoding)
      local is_new = created[uri] and #before == 0
      table.insert(lines, (is_new and 'New file ' or '') .. name_of(uri, document))
      local hunks = diff(table.concat(before, '\n') .. '\n', table.concat(after, '\n') .. '\n')
      if is_new then
        hunks = '+' .. table.concat(after, '\n+')
      end
      vim.list_extend(lines, vim.split(vim.trim(hunks), '\n', { plain = true }))
    end
  end
  return lines
end

--- Return the buffers that changed after the edit was made for them.
local function is_outdated(change, document)
  local version = change.textDocument and change.textDocument.version
  local buffer = version and version ~= vim.NIL and buffer_of(change.textDocument.uri, document)
  return buffer and version ~= vim.lsp.util.buf_versions[buffer]
end

local function show_new_file(uri)
  local buffer = vim.uri_to_bufnr(uri)
  local count = vim.api.nvim_buf_line_count(buffer)
  -- The new text ends with a newline, and so did the empty buffer: remove the empty last line.
  if count > 1 and vim.api.nvim_buf_get_lines(buffer, -2, -1, false)[1] == '' then
    vim.api.nvim_buf_set_lines(buffer, -2, -1, false, {})
  end
  vim.cmd.sbuffer(buffer)
end

--- Apply an edit and show the files that it creates. Returns why it was not applied, nil if it was.
---@param edit table
---@param encoding string
---@param document starcoder.Document
---@return string?
function M.apply(edit, encoding, document)
  local changes = edit.documentChanges or {}
  for _, change in ipairs(changes) do
    if is_outdated(change, document) then
      return ('%s was changed meanwhile; run the command again'):format(
        name_of(change.textDocument.uri, document)
      )
    end
  end
  for _, change in ipairs(changes) do
    if change.kind == 'create' then
      local creation = { kind = 'create', uri = change.uri, options = change.options }
      vim.lsp.util.apply_workspace_edit({ documentChanges = { creation } }, encoding)
    else
      local uri = change.textDocument.uri
      local buffer = buffer_of(uri, document) or vim.uri_to_bufnr(uri)
      vim.fn.bufload(buffer)
      vim.lsp.util.apply_text_edits(change.edits, buffer, encoding)
    end
  end
  for _, change in ipairs(changes) do
    if change.kind == 'create' then
      show_new_file(change.uri)
    end
  end
  return nil
end

return M
