-- Sends the diagnostics of buffers to the server, which adds those near the cursor to its prompts.
local M = {}

--- Diagnostics per buffer that are sent; the server uses those near the cursor.
local MAX_COUNT = 200

local function send(buffer)
  local server = require('starcoder.server')
  local client = vim.lsp.get_clients({ name = server.name, bufnr = buffer })[1]
  if not client then
    return
  end
  local diagnostics = {}
  for _, item in ipairs(vim.diagnostic.get(buffer)) do
    if #diagnostics == MAX_COUNT then
      break
    end
    -- The column would have to be converted, and only the line is used.
    local line = { line = item.lnum, character = 0 }
    table.insert(diagnostics, { range = { start = line, ['end'] = line }, message = item.message })
  end
  local params = { uri = vim.uri_from_bufnr(buffer), diagnostics = diagnostics }
  -- An older server does not have this request, which does no harm.
  server.send(client, 'starcoder/diagnostics', params, function() end, buffer)
end

--- Send the diagnostics of each buffer when they change, and when the server starts.
function M.enable()
  local group = vim.api.nvim_create_augroup('starcoder.diagnostics', {})
  vim.api.nvim_create_autocmd('DiagnosticChanged', {
    group = group,
    callback = function(event)
      send(event.buf)
    end,
  })
  vim.api.nvim_create_autocmd('LspAttach', {
    group = group,
    callback = function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      local is_ours = client and client.name == require('starcoder.server').name
      if is_ours and #vim.diagnostic.get(event.buf) > 0 then
        send(event.buf)
      end
    end,
  })
end

return M
