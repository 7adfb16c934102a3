-- Buffers and windows of the plugin itself. They have no file, so Neovim never asks to save them.
local M = {}

--- How many callbacks wait for normal mode.
M.num_waiting = 0

--- Return a scratch buffer for markdown. An older buffer with this name is deleted.
---@param name string
---@return integer
function M.buffer(name)
  local older = vim.fn.bufnr('^' .. vim.fn.escape(name, '\\^$.*[]~') .. '$')
  if older ~= -1 then
    vim.api.nvim_buf_delete(older, { force = true })
  end
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_name(buffer, name)
  vim.bo[buffer].bufhidden = 'hide'
  vim.bo[buffer].swapfile = false
  require('starcoder.markdown').set(buffer)
  return buffer
end

--- Format a window for prose: lines break between words, without line numbers and signs.
---@param window integer
function M.format_window(window)
  local options = {
    wrap = true,
    linebreak = true,
    breakindent = true,
    list = false,
    number = false,
    relativenumber = false,
    signcolumn = 'no',
    foldcolumn = '0',
    foldenable = false,
    colorcolumn = '',
    spell = false,
    conceallevel = 2,
  }
  for name, value in pairs(options) do
    vim.api.nvim_set_option_value(name, value, { win = window, scope = 'local' })
  end
end

--- Map keys of a buffer to closing its window.
---@param buffer integer
---@param keys string[]
---@param close fun()
function M.map_close(buffer, keys, close)
  for _, key in ipairs(keys) do
    vim.keymap.set('n', key, close, { buffer = buffer, nowait = true, desc = 'StarCoder: close' })
  end
end

--- Call `callback` in normal mode: now, or when the user returns to it. So what is shown does not receive
--- the keys that the user types into a file.
---@param callback fun()
function M.in_normal_mode(callback)
  if vim.api.nvim_get_mode().mode == 'n' then
    callback()
    return
  end
  M.num_waiting = M.num_waiting + 1
  vim.api.nvim_create_autocmd('ModeChanged', {
    pattern = '*:n',
    once = true,
    callback = function()
      vim.schedule(function()
        M.num_waiting = M.num_waiting - 1
        M.in_normal_mode(callback)
      end)
    end,
  })
end

--- Show read-only text below the file; q closes it.
---@param title string
---@param lines string[]
function M.show(title, lines)
  local buffer = M.buffer('starcoder://explanation')
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].bufhidden = 'wipe'
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].readonly = true
  local height = math.max(3, math.min(#lines + 1, math.floor(vim.o.lines / 3)))
  vim.cmd(('belowright %dsplit'):format(height))
  local window = vim.api.nvim_get_current_win()
  vim.api.nvim_win_set_buf(window, buffer)
  M.format_window(window)
  vim.wo[window].winbar = (title .. ' (q closes)'):gsub('%%', '%%%%')
  M.map_close(buffer, { 'q' }, function()
    vim.cmd.quit()
  end)
end

return M
