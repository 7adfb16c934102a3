-- Ghost text with extmarks, for Neovim 0.10 and 0.11.
local server = require('starcoder.server')

local M = {}

local namespace = vim.api.nvim_create_namespace('starcoder.ghost')

---@class starcoder.Candidates
---@field items table[]
---@field index integer
---@field buffer integer
---@field client_id integer
---@field encoding string
---@field is_complete boolean whether the items are all candidates, from an explicit request

---@type starcoder.Candidates?
local current
---@type { client: vim.lsp.Client, id: integer }?
local in_flight

local function clear()
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  end
end

local function cancel()
  if in_flight then
    server.cancel(in_flight.client, in_flight.id)
    in_flight = nil
  end
end

--- Return the part of an item's text that is not typed yet, and the number of bytes right of the cursor
--- that it replaces.
local function rest(item, encoding)
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local text = type(item.insertText) == 'string' and item.insertText or item.insertText.value
  if not item.range then
    return text, 0
  end
  local line = vim.api.nvim_get_current_line()
  local function byte_of(position)
    return vim.lsp.util._get_line_byte_from_position(0, position, encoding)
  end
  if item.range.start.line ~= row - 1 then
    return text, 0
  end
  local start = byte_of(item.range.start)
  local num_replaced = item.range['end'].line == row - 1 and byte_of(item.range['end']) - column or 0
  if text:sub(1, column - start) ~= line:sub(start + 1, column) then
    return '', 0
  end
  return text:sub(column - start + 1), math.max(0, num_replaced)
end

---@param with_count? boolean whether to show the index and the number of candidates
local function show(with_count)
  clear()
  local item = current and current.items[current.index]
  if not item then
    return
  end
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local text, num_replaced = rest(item, current.encoding)
  if text == '' then
    current = nil
    return
  end
  local lines = {}
  for line in vim.gsplit(text, '\n', { plain = true }) do
    table.insert(lines, { { line, 'Comment' } })
  end
  if with_count then
    local count = (' (%d/%d)'):format(current.index, #current.items)
    table.insert(lines[#lines], { count, 'NonText' })
  end
  vim.api.nvim_buf_set_extmark(current.buffer, namespace, row - 1, column, {
    virt_text = lines[1],
    virt_text_pos = num_replaced > 0 and 'overlay' or 'inline',
    virt_lines = #lines > 1 and vim.list_slice(lines, 2) or nil,
    hl_mode = 'combine',
  })
end

--- Request ghost text at the cursor. With a count, the request is explicit and returns all candidates.
---@param count? integer how many candidates to advance
local function request(count)
  local buffer = vim.api.nvim_get_current_buf()
  local client = vim.lsp.get_clients({ name = server.name, bufnr = buffer })[1]
  if not client then
    return
  end
  cancel()
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = count and 1 or 2 } -- Invoked, Automatic
  local tick = vim.api.nvim_buf_get_changedtick(buffer)
  local is_sent, id = server.send(client, 'textDocument/inlineCompletion', params, function(err, result)
    in_flight = nil
    local is_stale = buffer ~= vim.api.nvim_get_current_buf()
      or tick ~= vim.api.nvim_buf_get_changedtick(buffer)
      or not vim.api.nvim_get_mode().mode:match('^i')
    if err or is_stale then
      return
    end
    local items = result and (result.items or result) or {}
    current = #items > 0
        and {
          items = items,
          index = ((count or 0) % #items) + 1,
          buffer = buffer,
          client_id = client.id,
          encoding = client.offset_encoding,
          is_complete = count ~= nil,
        }
      or nil
    show(count ~= nil)
  end, buffer)
  in_flight = is_sent and { client = client, id = id } or nil
end

function M.enable()
  local group = vim.api.nvim_create_augroup('starcoder.ghost', {})
  vim.api.nvim_create_autocmd({ 'InsertEnter', 'CursorMovedI' }, {
    group = group,
    callback = function()
      show() -- removes the characters that were typed from the ghost text immediately
      request()
    end,
  })
  vim.api.nvim_create_autocmd('InsertLeave', { group = group, callback = M.dismiss })
end

function M.is_visible()
  return #vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { limit = 1 }) > 0
end

function M.accept()
  return M.take(function(suggestion)
    local row, column = unpack(vim.api.nvim_win_get_cursor(0))
    local lines = vim.split(suggestion.text, '\n', { plain = true })
    vim.api.nvim_buf_set_text(0, row - 1, column, row - 1, column + suggestion.num_replaced, lines)
    local last = #lines == 1 and column + #lines[1] or #lines[#lines]
    vim.api.nvim_win_set_cursor(0, { row + #lines - 1, last })
    local client = vim.lsp.get_client_by_id(suggestion.client_id)
    if suggestion.command and client then
      local params = { command = suggestion.command.command, arguments = suggestion.command.arguments }
      server.send(client, 'workspace/executeCommand', params, function() end)
    end
  end)
end

--- Pass the visible suggestion to `callback` and dismiss it. Returns false if nothing is visible.
---@param callback fun(suggestion: starcoder.Suggestion)
function M.take(callback)
  local item = M.is_visible() and current and current.items[current.index]
  if not item then
    return false
  end
  local client_id, encoding = current.client_id, current.encoding
  -- Scheduled, because an <expr> mapping must not change the buffer.
  vim.schedule(function()
    local text, num_replaced = rest(item, encoding)
    M.dismiss()
    callback({ text = text, num_replaced = num_replaced, command = item.command, client_id = client_id })
  end)
  return true
end

--- Show another candidate. The server returns several only for an explicit request.
---@param count integer how many candidates to advance; negative for backwards
function M.select(count)
  if current and current.is_complete then
    current.index = (current.index - 1 + count) % #current.items + 1
    show(true)
  elseif current then
    request(count)
  end
end

function M.dismiss()
  cancel()
  current = nil
  clear()
end

function M.refresh()
  request()
end

return M
