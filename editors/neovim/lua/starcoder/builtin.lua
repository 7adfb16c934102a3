-- Ghost text with vim.lsp.inline_completion, for Neovim 0.12 and newer.
local server = require('starcoder.server')

local M = {}

local namespace = vim.api.nvim_create_namespace('nvim.lsp.inline_completion')

function M.enable()
  vim.lsp.inline_completion.enable()
end

function M.is_visible()
  return #vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { limit = 1 }) > 0
end

function M.accept()
  return M.is_visible() and vim.lsp.inline_completion.get()
end

--- Pass the visible suggestion to `callback` instead of accepting it.
---@param callback fun(suggestion: starcoder.Suggestion)
function M.take(callback)
  return M.is_visible()
    and vim.lsp.inline_completion.get({
      on_accept = function(item)
        callback({ text = M.rest(item), command = item.command, client_id = item.client_id })
      end,
    })
end

--- Return the part of an item's text that is not typed yet.
function M.rest(item)
  local text = type(item.insert_text) == 'string' and item.insert_text or item.insert_text.value
  if not item.range then
    return text
  end
  local row, column = item.range:to_extmark()
  local cursor = vim.api.nvim_win_get_cursor(0)
  if row ~= cursor[1] - 1 then
    return text
  end
  return text:sub(cursor[2] - column + 1)
end

--- Return Neovim's state of a client's candidates in a buffer. Neovim has no public API for it, so this
--- returns nil if the private module has changed.
local function candidates_of(buffer, client)
  local is_available, capability = pcall(require, 'vim.lsp._capability')
  local kind = is_available and (capability.all or {}).inline_completion
  local completor = kind and kind.active[buffer]
  return completor and (completor.client_state or {})[client.id]
end

---@type string? the position at which all candidates were last requested
local requested_position

--- Show another candidate. The server returns several candidates only for an explicit request, which
--- Neovim never sends. So the first call at a position sends one.
---@param count integer how many candidates to advance; negative for backwards
function M.select(count)
  local buffer = vim.api.nvim_get_current_buf()
  local client = server.client(buffer, true)
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local function position()
    return ('%d:%d:%d:%d'):format(buffer, vim.api.nvim_buf_get_changedtick(buffer), row, column)
  end
  local start = position()
  local function move()
    vim.lsp.inline_completion.select({ count = count })
  end
  if requested_position == start or not client or not candidates_of(buffer, client) then
    return move()
  end
  requested_position = start
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = vim.lsp.protocol.InlineCompletionTriggerKind.Invoked }
  server.send(client, 'textDocument/inlineCompletion', params, function(err, result)
    local items = result and (result.items or result) or {}
    local candidates = candidates_of(buffer, client)
    if err or #items == 0 or not candidates or position() ~= start or not M.is_visible() then
      return
    end
    candidates.items = items
    move()
  end, buffer)
end

function M.dismiss()
  vim.api.nvim_buf_clear_namespace(0, namespace, 0, -1)
end

--- Do nothing: Neovim sends a new request itself when the cursor moves.
function M.refresh() end

return M
