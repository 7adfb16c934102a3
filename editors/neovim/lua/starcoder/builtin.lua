-- Ghost text by vim.lsp.inline_completion, Neovim 0.12 and newer.
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

function M.select(by)
  vim.lsp.inline_completion.select({ count = by })
end

function M.dismiss()
  vim.api.nvim_buf_clear_namespace(0, namespace, 0, -1)
end

--- Nothing: it asks anew by itself when the cursor has moved.
function M.refresh() end

return M
