-- What neovim.sh has Neovim do: open a spec with a mistake, wait for the diagnostic, print it.
local kage = vim.env.KAGE
vim.cmd('edit ' .. vim.fn.fnameescape(vim.env.SPEC))
local id = vim.lsp.start_client({name = 'kage', cmd = {kage, 'lsp'}, root_dir = vim.fn.getcwd()})
vim.lsp.buf_attach_client(0, id)
local found = vim.wait(10000, function()
  return #vim.diagnostic.get(0, {severity = vim.diagnostic.severity.ERROR}) > 0
end, 50)
for _, d in ipairs(vim.diagnostic.get(0, {severity = vim.diagnostic.severity.ERROR})) do
  io.stdout:write(string.format('%d:%d %s\n', d.lnum + 1, d.col + 1, d.code or d.user_data.lsp.code))
end
vim.cmd(found and 'qall!' or 'cquit!')
