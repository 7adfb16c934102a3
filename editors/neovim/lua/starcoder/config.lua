-- Options of setup(), checked: what is wrong is named, and the rest is used.
local M = {}

---@class starcoder.Keymaps
---@field accept? string|false
---@field accept_word? string|false
---@field accept_line? string|false
---@field next? string|false
---@field previous? string|false
---@field dismiss? string|false

---@class starcoder.Options
---@field cmd? string[] the server
---@field filetypes? string[] where it runs; everywhere if not given
---@field root_markers? string[]
---@field settings? table<string, any> as docs/settings.md lists them, without `starcoder.`
---@field keymaps? starcoder.Keymaps|false in insert mode; false for none
---@field chat_width? integer columns of the chat window

---@type starcoder.Options
M.defaults = {
  cmd = { 'starcoder-lsp' },
  root_markers = { '.git' },
  settings = {},
  keymaps = {
    accept = '<Tab>',
    accept_word = '<C-Right>',
    accept_line = '<C-Down>',
    next = '<M-]>',
    previous = '<M-[>',
    dismiss = '<C-]>',
  },
  chat_width = 70,
}

M.current = M.defaults

local types = {
  cmd = 'table',
  filetypes = 'table',
  root_markers = 'table',
  settings = 'table',
  chat_width = 'number',
}

--- Take on the user's options. Returns nil, having said why, if they cannot be used.
---@param options? starcoder.Options
---@return starcoder.Options?
function M.set(options)
  options = options or {}
  for key, value in pairs(options) do
    local wanted = types[key]
    local known = wanted ~= nil or key == 'keymaps'
    if not known then
      vim.notify(('starcoder: setup() knows no option %q'):format(key), vim.log.levels.ERROR)
      return nil
    elseif wanted and type(value) ~= wanted then
      local message = ('starcoder: the option %s must be a %s'):format(key, wanted)
      vim.notify(message, vim.log.levels.ERROR)
      return nil
    end
  end
  M.current = vim.tbl_deep_extend('force', M.defaults, options)
  if options.keymaps == false then
    M.current.keymaps = false
  end
  return M.current
end

return M
