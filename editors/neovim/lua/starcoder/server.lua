-- The language server: started for each file, found again, asked.
local M = {}

M.name = 'starcoder'

---@type table<string|integer, fun(text: string)>
local listeners = {}

local function on_progress(err, result, context)
  local listener = result and listeners[result.token]
  if listener and type(result.value) == 'table' and result.value.text then
    listener(result.value.text)
  elseif vim.lsp.handlers['$/progress'] then
    return vim.lsp.handlers['$/progress'](err, result, context)
  end
end

local function capabilities()
  local all = vim.lsp.protocol.make_client_capabilities()
  -- Before 0.12 the client does not say that it shows ghost text; this plugin does.
  all.textDocument.inlineCompletion = all.textDocument.inlineCompletion or { dynamicRegistration = false }
  return all
end

local function client_config(config)
  -- An empty table would be sent as a list.
  local settings = vim.tbl_isempty(config.settings) and vim.empty_dict() or config.settings
  return {
    name = M.name,
    cmd = config.cmd,
    init_options = settings,
    settings = { starcoder = settings },
    capabilities = capabilities(),
    handlers = {
      ['$/progress'] = on_progress,
      ['starcoder/status'] = function(_, status)
        require('starcoder.status').set(status)
      end,
    },
  }
end

--- Start it now and whenever a file is opened.
---@param config starcoder.Options
function M.start(config)
  if vim.lsp.config then
    local own = client_config(config)
    own.filetypes = config.filetypes
    own.root_markers = config.root_markers
    vim.lsp.config(M.name, own)
    vim.lsp.enable(M.name)
    return
  end
  local group = vim.api.nvim_create_augroup('starcoder.server', {})
  local function attach(buffer)
    if vim.bo[buffer].buftype ~= '' then
      return
    end
    local own = client_config(config)
    own.root_dir = vim.fs.root(buffer, config.root_markers)
    vim.lsp.start(own, { bufnr = buffer })
  end
  vim.api.nvim_create_autocmd('FileType', {
    group = group,
    pattern = config.filetypes or '*',
    callback = function(event)
      attach(event.buf)
    end,
  })
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    local here = vim.bo[buffer].filetype
    local wanted = not config.filetypes or vim.list_contains(config.filetypes, here)
    if vim.api.nvim_buf_is_loaded(buffer) and here ~= '' and wanted then
      attach(buffer)
    end
  end
end

--- Return the client of a buffer, or any of ours; nil, having said so, where there is none.
---@param buffer? integer
---@param quiet? boolean
---@return vim.lsp.Client?
function M.client(buffer, quiet)
  local found = vim.lsp.get_clients({ name = M.name, bufnr = buffer })[1]
    or vim.lsp.get_clients({ name = M.name })[1]
  if not found and not quiet then
    vim.notify('starcoder: the server is not running; see :checkhealth starcoder', vim.log.levels.WARN)
  end
  return found
end

--- Call a method of a client, whichever way this Neovim wants it called.
---@return boolean, integer?
function M.send(client, method, params, handler, buffer)
  if vim.fn.has('nvim-0.11') == 1 then
    return client:request(method, params, handler, buffer)
  end
  return client.request(method, params, handler, buffer)
end

function M.cancel(client, request)
  if vim.fn.has('nvim-0.11') == 1 then
    client:cancel_request(request)
  else
    client.cancel_request(request)
  end
end

--- Ask for something; errors are shown, answers handed on.
---@param method string
---@param params table
---@param answer fun(result: any)
---@param failed? fun()
---@return vim.lsp.Client?, integer?
function M.ask(method, params, answer, failed)
  local client = M.client(0)
  if not client then
    return nil
  end
  local _, id = M.send(client, method, params, function(err, result)
    if err then
      vim.notify('starcoder: ' .. err.message, vim.log.levels.WARN)
      if failed then
        failed()
      end
    else
      answer(result)
    end
  end, vim.api.nvim_get_current_buf())
  return client, id
end

local count = 0

--- Return a token for pieces of an answer, which go to `on_text`, and what ends it.
---@param on_text fun(text: string)
---@return string, fun()
function M.listen(on_text)
  count = count + 1
  local token = ('starcoder-nvim-%d-%d'):format(vim.uv.os_getpid(), count)
  listeners[token] = on_text
  return token, function()
    listeners[token] = nil
  end
end

--- End the server of this Neovim and start it anew.
function M.restart()
  local config = require('starcoder.config').current
  for _, client in ipairs(vim.lsp.get_clients({ name = M.name })) do
    vim.lsp.stop_client(client.id)
  end
  vim.defer_fn(function()
    M.start(config)
    for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
      if vim.api.nvim_buf_is_loaded(buffer) and vim.bo[buffer].filetype ~= '' then
        local group = vim.lsp.config and 'nvim.lsp.enable' or 'starcoder.server'
        vim.api.nvim_exec_autocmds('FileType', { buffer = buffer, group = group })
      end
    end
  end, 500)
end

return M
