-- Keys of insert mode; each does what it did before where nothing is shown.
local M = {}

local actions = {
  accept = function(ghost)
    return ghost.accept()
  end,
  accept_word = function(ghost)
    return ghost.accept('word')
  end,
  accept_line = function(ghost)
    return ghost.accept('line')
  end,
  next = function(ghost)
    ghost.select(1)
    return true
  end,
  previous = function(ghost)
    ghost.select(-1)
    return true
  end,
  dismiss = function(ghost)
    ghost.dismiss()
    return true
  end,
}

---@param keymaps starcoder.Keymaps|false
function M.map(keymaps)
  for name, key in pairs(keymaps or {}) do
    if key and actions[name] then
      local before = vim.fn.maparg(key, 'i', false, true)
      vim.keymap.set('i', key, function()
        local ghost = require('starcoder.ghost')
        if ghost.is_visible() and actions[name](ghost) then
          return ''
        end
        return M.as_before(key, before)
      end, { expr = true, replace_keycodes = true, desc = 'StarCoder: ' .. name:gsub('_', ' ') })
    elseif key then
      vim.notify(('starcoder: there is no key for %q'):format(name), vim.log.levels.ERROR)
    end
  end
end

--- Return what a key does without us.
function M.as_before(key, before)
  if vim.tbl_isempty(before) then
    return key
  end
  if before.callback then
    local result = before.callback()
    return before.expr == 1 and result or ''
  end
  if before.expr == 1 then
    return vim.api.nvim_eval(before.rhs)
  end
  return before.rhs
end

return M
