-- Ghost text by extmarks, for Neovim 0.10 and 0.11.
local server = require('starcoder.server')

local M = {}

local namespace = vim.api.nvim_create_namespace('starcoder.ghost')

---@class starcoder.Candidates
---@field items table[]
---@field index integer
---@field buffer integer
---@field client_id integer
---@field encoding string
---@field by_hand boolean whether all that there are were asked for

---@type starcoder.Candidates?
local current
---@type { client: vim.lsp.Client, id: integer }?
local asked

local function clear()
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  end
end

local function cancel()
  if asked then
    server.cancel(asked.client, asked.id)
    asked = nil
  end
end

--- Return what of an item is not typed yet, and the columns right of the cursor that it replaces.
local function rest(item, encoding)
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local text = type(item.insertText) == 'string' and item.insertText or item.insertText.value
  if not item.range then
    return text, 0
  end
  local line = vim.api.nvim_get_current_line()
  local function byte(position)
    return vim.lsp.util._get_line_byte_from_position(0, position, encoding)
  end
  if item.range.start.line ~= row - 1 then
    return text, 0
  end
  local start = byte(item.range.start)
  local replaced = item.range['end'].line == row - 1 and byte(item.range['end']) - column or 0
  if text:sub(1, column - start) ~= line:sub(start + 1, column) then
    return '', 0
  end
  return text:sub(column - start + 1), math.max(0, replaced)
end

---@param counted? boolean whether to say which of how many it is
local function show(counted)
  clear()
  local item = current and current.items[current.index]
  if not item then
    return
  end
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local text, replaced = rest(item, current.encoding)
  if text == '' then
    current = nil
    return
  end
  local lines = {}
  for line in vim.gsplit(text, '\n', { plain = true }) do
    table.insert(lines, { { line, 'Comment' } })
  end
  if counted then
    local count = (' (%d/%d)'):format(current.index, #current.items)
    table.insert(lines[#lines], { count, 'NonText' })
  end
  vim.api.nvim_buf_set_extmark(current.buffer, namespace, row - 1, column, {
    virt_text = lines[1],
    virt_text_pos = replaced > 0 and 'overlay' or 'inline',
    virt_lines = #lines > 1 and vim.list_slice(lines, 2) or nil,
    hl_mode = 'combine',
  })
end

--- Ask for ghost text at the cursor; by hand, for another than the one that is shown.
---@param by? integer how many candidates further
local function request(by)
  local buffer = vim.api.nvim_get_current_buf()
  local client = vim.lsp.get_clients({ name = server.name, bufnr = buffer })[1]
  if not client then
    return
  end
  cancel()
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = by and 1 or 2 } -- Invoked, Automatic
  local tick = vim.api.nvim_buf_get_changedtick(buffer)
  local sent, id = server.send(client, 'textDocument/inlineCompletion', params, function(err, result)
    asked = nil
    local stale = buffer ~= vim.api.nvim_get_current_buf()
      or tick ~= vim.api.nvim_buf_get_changedtick(buffer)
      or not vim.api.nvim_get_mode().mode:match('^i')
    if err or stale then
      return
    end
    local items = result and (result.items or result) or {}
    current = #items > 0
        and {
          items = items,
          index = ((by or 0) % #items) + 1,
          buffer = buffer,
          client_id = client.id,
          encoding = client.offset_encoding,
          by_hand = by ~= nil,
        }
      or nil
    show(by ~= nil)
  end, buffer)
  asked = sent and { client = client, id = id } or nil
end

function M.enable()
  local group = vim.api.nvim_create_augroup('starcoder.ghost', {})
  vim.api.nvim_create_autocmd({ 'InsertEnter', 'CursorMovedI' }, {
    group = group,
    callback = function()
      show() -- what was typed along it is not grey any more, at once
      request()
    end,
  })
  vim.api.nvim_create_autocmd('InsertLeave', { group = group, callback = M.dismiss })
end

function M.is_visible()
  return #vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { limit = 1 }) > 0
end

function M.accept()
  return M.take(function(shown)
    local row, column = unpack(vim.api.nvim_win_get_cursor(0))
    local lines = vim.split(shown.text, '\n', { plain = true })
    vim.api.nvim_buf_set_text(0, row - 1, column, row - 1, column + shown.replaced, lines)
    local last = #lines == 1 and column + #lines[1] or #lines[#lines]
    vim.api.nvim_win_set_cursor(0, { row + #lines - 1, last })
    local client = vim.lsp.get_client_by_id(shown.client_id)
    if shown.command and client then
      local params = { command = shown.command.command, arguments = shown.command.arguments }
      server.send(client, 'workspace/executeCommand', params, function() end)
    end
  end)
end

---@param act fun(shown: starcoder.Shown)
function M.take(act)
  local item = M.is_visible() and current and current.items[current.index]
  if not item then
    return false
  end
  local client_id, encoding = current.client_id, current.encoding
  -- Scheduled, so that it may be mapped with <expr>.
  vim.schedule(function()
    local text, replaced = rest(item, encoding)
    M.dismiss()
    act({ text = text, replaced = replaced, command = item.command, client_id = client_id })
  end)
  return true
end

--- Go to another candidate; the server gives several only when asked by hand.
---@param by integer
function M.select(by)
  if current and current.by_hand then
    current.index = (current.index - 1 + by) % #current.items + 1
    show(true)
  elseif current then
    request(by)
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
