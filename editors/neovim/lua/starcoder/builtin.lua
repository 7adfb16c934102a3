-- Ghost text by vim.lsp.inline_completion, Neovim 0.12 and newer.
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

--- Hand what is shown to `act`, in place of accepting it.
---@param act fun(shown: starcoder.Shown)
function M.take(act)
  return M.is_visible()
    and vim.lsp.inline_completion.get({
      on_accept = function(item)
        act({ text = M.rest(item), command = item.command, client_id = item.client_id })
      end,
    })
end

--- Return what of an item is not typed yet.
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

--- Return what Neovim holds of a client's candidates in a buffer, nil where it keeps them elsewhere.
local function held(buffer, client)
  local found, capability = pcall(require, 'vim.lsp._capability')
  local kind = found and (capability.all or {}).inline_completion
  local completor = kind and kind.active[buffer]
  return completor and (completor.client_state or {})[client.id]
end

---@type string? where all candidates were asked for
local asked_at

--- Go to another candidate. The server gives several only when asked by hand, which Neovim never
--- does by itself, so the first time at a place does that.
---@param by integer
function M.select(by)
  local buffer = vim.api.nvim_get_current_buf()
  local client = server.client(buffer, true)
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local function here()
    return ('%d:%d:%d:%d'):format(buffer, vim.api.nvim_buf_get_changedtick(buffer), row, column)
  end
  local place = here()
  local function move()
    vim.lsp.inline_completion.select({ count = by })
  end
  if asked_at == place or not client or not held(buffer, client) then
    return move()
  end
  asked_at = place
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = vim.lsp.protocol.InlineCompletionTriggerKind.Invoked }
  server.send(client, 'textDocument/inlineCompletion', params, function(err, result)
    local items = result and (result.items or result) or {}
    local candidates = held(buffer, client)
    if err or #items == 0 or not candidates or here() ~= place or not M.is_visible() then
      return
    end
    candidates.items = items
    move()
  end, buffer)
end

function M.dismiss()
  vim.api.nvim_buf_clear_namespace(0, namespace, 0, -1)
end

--- Nothing: it asks anew by itself when the cursor has moved.
function M.refresh() end

return M
