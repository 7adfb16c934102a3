-- Keys of insert mode. Without a visible suggestion, each key keeps its previous function.
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
      local previous = vim.fn.maparg(key, 'i', false, true)
      vim.keymap.set('i', key, function()
        local ghost = require('starcoder.ghost')
        if ghost.is_visible() and actions[name](ghost) then
          return ''
        end
        return M.previous_result(key, previous)
      end, { expr = true, replace_keycodes = true, desc = 'StarCoder: ' .. name:gsub('_', ' ') })
    elseif key then
      vim.notify(('starcoder: keymaps has no action %q'):format(name), vim.log.levels.ERROR)
    end
  end
end

--- Run the mapping that a key had before, and return the keys to type.
function M.previous_result(key, previous)
  if vim.tbl_isempty(previous) then
    return key
  end
  if previous.callback then
    local result = previous.callback()
    return previous.expr == 1 and result or ''
  end
  if previous.expr == 1 then
    return vim.api.nvim_eval(previous.rhs)
  end
  return previous.rhs
end

return M
