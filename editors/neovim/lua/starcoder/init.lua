-- StarCoder in Neovim: ghost text, chat, and tasks on the code at the cursor.
local M = {}

--- Start the server for every file, show ghost text, and map the keys.
---@param options? starcoder.Options
function M.setup(options)
  if vim.fn.has('nvim-0.10') == 0 then
    vim.notify('starcoder: Neovim 0.10 or newer is required', vim.log.levels.ERROR)
    return
  end
  local config = require('starcoder.config').set(options)
  if not config then
    return
  end
  require('starcoder.server').start(config)
  require('starcoder.ghost').enable()
  require('starcoder.diagnostics').enable()
  require('starcoder.keys').map(config.keymaps)
end

--- Return the text for a statusline, such as `StarCoder demo model`, `StarCoder …` or `StarCoder off`.
---@return string
function M.statusline()
  return require('starcoder.status').line()
end

return M
