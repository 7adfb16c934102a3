-- The options of setup() and their validation.
local M = {}

---@class starcoder.Keymaps
---@field accept? string|false
---@field accept_word? string|false
---@field accept_line? string|false
---@field next? string|false
---@field previous? string|false
---@field dismiss? string|false

---@class starcoder.Options
---@field cmd? string[] the server and its arguments
---@field filetypes? string[] filetypes for which the server runs; all by default
---@field root_markers? string[]
---@field settings? table<string, any> the settings in docs/settings.md, without `starcoder.`
---@field keymaps? starcoder.Keymaps|false keys in insert mode; false for none
---@field chat_width? number width of the chat in columns, or its share of the screen if less than 1

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
  chat_width = 0.35,
}

M.current = M.defaults

local types = {
  cmd = 'table',
  filetypes = 'table',
  root_markers = 'table',
  settings = 'table',
  chat_width = 'number',
}

--- Use the user's options. Returns nil after an error message if an option is invalid.
---@param options? starcoder.Options
---@return starcoder.Options?
function M.set(options)
  options = options or {}
  for key, value in pairs(options) do
    local expected = types[key]
    local is_option = expected ~= nil or key == 'keymaps'
    if not is_option then
      vim.notify(('starcoder: setup() has no option %q'):format(key), vim.log.levels.ERROR)
      return nil
    elseif expected and type(value) ~= expected then
      local message = ('starcoder: the option %s must be a %s'):format(key, expected)
      vim.notify(message, vim.log.levels.ERROR)
      return nil
    elseif key == 'chat_width' and value <= 0 then
      vim.notify('starcoder: the option chat_width must be positive', vim.log.levels.ERROR)
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
