-- Starts the language server and sends requests to it.
local M = {}

M.name = 'starcoder'

--- Whether setup() was called.
M.is_started = false

---@type table<string|integer, fun(value: table)>
local listeners = {}

--- What to call if the server exits before it has answered, by client and request.
---@type table<integer, table<integer, fun()>>
local pending = {}

local REQUEST_CANCELLED = -32800

--- How long a restart waits for the old server: to end, and to end after it was killed.
local STOP_MS, KILL_MS, POLL_MS = 5000, 5000, 20

local function on_progress(err, result, context)
  local listener = result and listeners[result.token]
  if listener and type(result.value) == 'table' then
    listener(result.value)
  elseif vim.lsp.handlers['$/progress'] then
    return vim.lsp.handlers['$/progress'](err, result, context)
  end
end

local function capabilities()
  local all = vim.lsp.protocol.make_client_capabilities()
  -- Before 0.12 Neovim does not announce inline completion, which this plugin provides.
  all.textDocument.inlineCompletion = all.textDocument.inlineCompletion or { dynamicRegistration = false }
  return all
end

local function client_config(config)
  -- An empty table would be encoded as a JSON array.
  local settings = vim.tbl_isempty(config.settings) and vim.empty_dict() or config.settings
  return {
    name = M.name,
    cmd = config.cmd,
    init_options = settings,
    settings = { starcoder = settings },
    capabilities = capabilities(),
    on_exit = function(_, _, client_id)
      local callbacks = pending[client_id] or {}
      pending[client_id] = nil
      vim.schedule(function()
        for _, callback in pairs(callbacks) do
          callback()
        end
      end)
    end,
    handlers = {
      ['$/progress'] = on_progress,
      ['starcoder/status'] = function(_, status)
        require('starcoder.status').set(status)
      end,
    },
  }
end

--- Whether a buffer with a configuration uses a running client, before Neovim 0.11. Neovim itself would
--- start a client for each file that is in no project.
local function is_for(client, config)
  return client.name == config.name and client.config.root_dir == config.root_dir
end

--- Start the server for the open files and for each file that is opened later.
---@param config starcoder.Options
function M.start(config)
  M.is_started = true
  if vim.lsp.config then
    local lsp_config = client_config(config)
    lsp_config.filetypes = config.filetypes
    lsp_config.root_markers = config.root_markers
    vim.lsp.config(M.name, lsp_config)
    vim.lsp.enable(M.name)
    return
  end
  local group = vim.api.nvim_create_augroup('starcoder.server', {})
  local function attach(buffer)
    if vim.bo[buffer].buftype ~= '' then
      return
    end
    local lsp_config = client_config(config)
    lsp_config.root_dir = vim.fs.root(buffer, config.root_markers)
    vim.lsp.start(lsp_config, { bufnr = buffer, reuse_client = is_for })
  end
  vim.api.nvim_create_autocmd('FileType', {
    group = group,
    pattern = config.filetypes or '*',
    callback = function(event)
      attach(event.buf)
    end,
  })
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    local filetype = vim.bo[buffer].filetype
    local is_configured = not config.filetypes or vim.list_contains(config.filetypes, filetype)
    if vim.api.nvim_buf_is_loaded(buffer) and filetype ~= '' and is_configured then
      attach(buffer)
    end
  end
end

--- Return the client of a buffer, or else any client of this server. Returns nil and warns if the server
--- is not running.
---@param buffer? integer
---@param quiet? boolean whether to omit the warning
---@return vim.lsp.Client?
function M.client(buffer, quiet)
  local client = vim.lsp.get_clients({ name = M.name, bufnr = buffer })[1]
    or vim.lsp.get_clients({ name = M.name })[1]
  if not client and not quiet then
    local message = 'starcoder: the server is not running; :Starcoder restart starts it, %s'
    vim.notify(message:format(':checkhealth starcoder says why'), vim.log.levels.WARN)
  end
  return client
end

--- Send a request with the calling convention of this Neovim version.
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

--- Send a request to the server of the current buffer. Errors are shown to the user.
---@param method string
---@param params table
---@param on_result fun(result: any)
---@param on_error? fun() called after an error, and if the server exits without an answer
---@return vim.lsp.Client?, integer?
function M.request(method, params, on_result, on_error)
  local client = M.client(0)
  on_error = on_error or function() end
  if not client then
    on_error()
    return nil
  end
  local id
  local is_sent
  is_sent, id = M.send(client, method, params, function(err, result)
    if id and pending[client.id] then
      pending[client.id][id] = nil
    end
    if not err then
      on_result(result)
      return
    end
    if err.code ~= REQUEST_CANCELLED then
      vim.notify('starcoder: ' .. err.message, vim.log.levels.WARN)
    end
    on_error()
  end, vim.api.nvim_get_current_buf())
  if not is_sent then
    on_error()
    return nil
  end
  pending[client.id] = pending[client.id] or {}
  pending[client.id][id] = on_error
  return client, id
end

--- Have the server know the current text of a buffer before later requests. Neovim delays changes, but
--- sends them before a request for that buffer.
---@param buffer integer
function M.send_changes(buffer)
  local client = vim.lsp.get_clients({ name = M.name, bufnr = buffer })[1]
  if client then
    M.send(client, 'starcoder/chat/commands', vim.empty_dict(), function() end, buffer)
  end
end

local num_tokens = 0

--- Return a progress token whose values are passed to `on_value`, and a function that stops listening.
---@param on_value fun(value: table)
---@return string, fun()
function M.listen(on_value)
  num_tokens = num_tokens + 1
  local token = ('starcoder-nvim-%d-%d'):format(vim.uv.os_getpid(), num_tokens)
  listeners[token] = on_value
  return token, function()
    listeners[token] = nil
  end
end

--- Return those clients of this server, of all or of some ids, whose process has not ended. Clients that
--- are still initializing are among them.
---@param ids? table<integer, true>
---@return vim.lsp.Client[]
local function remaining(ids)
  return vim.tbl_filter(function(client)
    return ids == nil or ids[client.id] ~= nil
  end, vim.lsp.get_clients({ name = M.name, _uninitialized = true }))
end

--- Stop all clients of this server, and call `on_end` when their processes have ended. A process that
--- does not end in time is killed. If that fails too, the user gets a message instead.
---@param on_end fun()
local function stop_all(on_end)
  local ids = {}
  for _, client in ipairs(remaining()) do
    ids[client.id] = true
    vim.lsp.stop_client(client.id)
  end
  local function wait_until(deadline, on_timeout)
    if #remaining(ids) == 0 then
      on_end()
    elseif vim.uv.now() > deadline then
      on_timeout()
    else
      vim.defer_fn(function()
        wait_until(deadline, on_timeout)
      end, POLL_MS)
    end
  end
  wait_until(vim.uv.now() + STOP_MS, function()
    for id in pairs(ids) do
      vim.lsp.stop_client(id, true)
    end
    wait_until(vim.uv.now() + KILL_MS, function()
      vim.notify('starcoder: the server does not end; kill its process', vim.log.levels.ERROR)
    end)
  end)
end

--- Stop the server of this Neovim and start it again. Neovim would attach buffers to a client that is
--- being stopped, so the start waits for the end of the old process.
function M.restart()
  local config = require('starcoder.config').current
  stop_all(function()
    M.start(config)
  end)
end

return M
