-- :checkhealth starcoder
local M = {}

local function check_editor()
  local version = tostring(vim.version())
  if vim.fn.has('nvim-0.12') == 1 then
    vim.health.ok(('Neovim %s shows ghost text by itself'):format(version))
  elseif vim.fn.has('nvim-0.10') == 1 then
    vim.health.ok(('Neovim %s: this plugin shows ghost text'):format(version))
  else
    vim.health.error(('Neovim %s is too old'):format(version), 'Install 0.10 or newer.')
  end
end

local function check_server(cmd)
  if vim.fn.executable(cmd[1]) == 0 then
    vim.health.error(
      ('%s is not on the PATH'):format(cmd[1]),
      { 'Run `pip install starcoder-lsp`, or set cmd in setup().', 'PATH: ' .. (vim.env.PATH or '') }
    )
    return
  end
  if #cmd > 1 then
    vim.health.ok(('the server is %s'):format(table.concat(cmd, ' ')))
    return
  end
  local done = vim.system({ cmd[1], '--version' }, { text = true, timeout = 20000 }):wait()
  if done.code == 0 then
    vim.health.ok(vim.trim(done.stdout))
  else
    vim.health.error(('%s --version ended with %d'):format(cmd[1], done.code), vim.trim(done.stderr or ''))
  end
end

local function check_engine()
  local client = require('starcoder.server').client(nil, true)
  if not client then
    local advice = 'Open a file; see :messages and the log of :lua =vim.lsp.get_log_path()'
    vim.health.warn('the server is not running', advice)
    return
  end
  local status = require('starcoder.status').current
  local said = ('%s, %s on %s'):format(status.state or 'unknown', status.model or '', status.device or '')
  if status.state == 'error' then
    vim.health.error(said, status.message)
  else
    vim.health.ok(said)
  end
  if status.demo then
    local message = 'this is the demo model: suggestions are poor by nature; %s tells of others'
    vim.health.info(message:format('`starcoder-lsp models`'))
  end
end

function M.check()
  vim.health.start('starcoder')
  check_editor()
  check_server(require('starcoder.config').current.cmd)
  check_engine()
end

return M
