-- What neovim.sh has Neovim do with the configuration it was started with: open a file that is no
-- spec, which starts nothing; open a spec with a mistake, wait for the diagnostic, print it.
local errors = {severity = vim.diagnostic.severity.ERROR}
vim.cmd('filetype on')
vim.cmd('edit other.yaml')
vim.wait(300)
local early = #(vim.lsp.get_clients or vim.lsp.get_active_clients)()
vim.cmd('edit job.kage.yaml')
local found = vim.wait(20000, function()
  return #vim.diagnostic.get(0, errors) > 0
end, 50)
for _, d in ipairs(vim.diagnostic.get(0, errors)) do
  io.stdout:write(string.format('%d:%d %s\n', d.lnum + 1, d.col + 1, d.code or d.user_data.lsp.code))
end
if early > 0 then
  io.stdout:write('a server was started for a file that is no spec\n')
end
vim.cmd(found and early == 0 and 'qall!' or 'cquit!')
