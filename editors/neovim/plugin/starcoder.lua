-- Defines :Starcoder. The plugin itself starts with require('starcoder').setup().
if vim.g.loaded_starcoder then
  return
end
vim.g.loaded_starcoder = true

vim.api.nvim_create_user_command('Starcoder', function(call)
  require('starcoder.commands').run(call)
end, {
  nargs = '*',
  range = true,
  desc = 'StarCoder: chat, tests, documentation, fixes',
  complete = function(lead, line)
    return require('starcoder.commands').complete(lead, line)
  end,
})
