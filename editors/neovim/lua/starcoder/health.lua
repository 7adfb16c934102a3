-- The checks of :checkhealth starcoder.
local M = {}

local function check_editor()
  local version = tostring(vim.version())
  if vim.fn.has('nvim-0.12') == 1 then
    vim.health.ok(('Neovim %s has built-in ghost text'):format(version))
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
  local result = vim.system({ cmd[1], '--version' }, { text = true, timeout = 20000 }):wait()
  if result.code == 0 then
    vim.health.ok(vim.trim(result.stdout))
  else
    vim.health.error(
      ('%s --version failed with exit code %d'):format(cmd[1], result.code),
      vim.trim(result.stderr or '')
    )
  end
end

local function check_help()
  if #vim.api.nvim_get_runtime_file('doc/starcoder.txt', false) == 0 then
    local advice = 'Put the folder editors/neovim itself on the runtime path, not a folder around it.'
    vim.health.error('`:h starcoder` is not found', advice)
  end
end

local function log_file()
  return vim.lsp.log and vim.lsp.log.get_filename and vim.lsp.log.get_filename() or vim.lsp.get_log_path()
end

local function check_engine()
  if not require('starcoder.server').is_started then
    vim.health.error('the plugin is not set up', "Call require('starcoder').setup() in init.lua.")
    return
  end
  local client = require('starcoder.server').client(nil, true)
  if not client then
    local advice = 'Open a file, or run `:Starcoder restart`. See also :messages and %s'
    vim.health.warn('the server is not running', advice:format(log_file()))
    return
  end
  local status = require('starcoder.status').current
  local summary = ('%s, %s on %s'):format(status.state or 'unknown', status.model or '', status.device or '')
  if status.state == 'error' then
    vim.health.error(summary, status.message)
  else
    vim.health.ok(summary)
  end
  if status.demo then
    local message = 'this is the small demo model with poor suggestions; %s lists better models'
    vim.health.info(message:format('`starcoder-lsp models`'))
  end
end

function M.check()
  vim.health.start('starcoder')
  check_editor()
  check_help()
  check_server(require('starcoder.config').current.cmd)
  check_engine()
end

return M
