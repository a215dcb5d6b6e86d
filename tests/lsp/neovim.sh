#!/bin/sh
# Neovim as the client, set up as docs/editors.md says: it must show the one mistake of a spec where
# it is. The page has a block for Neovim 0.11 and one for older ones; which of them runs depends on
# the Neovim that is here.
#
#   neovim.sh KAGE
set -u
[ $# -eq 1 ] || { sed -n '2,6p' "$0"; exit 2; }
command -v nvim >/dev/null || { echo "skipped: nvim is not here"; exit 77; }
kage=$(realpath "$1") || exit 2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export XDG_STATE_HOME="$work" XDG_CACHE_HOME="$work" XDG_CONFIG_HOME="$work" XDG_DATA_HOME="$work"
PATH=$(dirname "$kage"):$PATH

block=2
nvim --headless -u NONE -i NONE -c "lua vim.cmd(vim.lsp.config and 'cquit 11' or 'qall')" 2>"$work/out"
[ $? -eq 11 ] && block=1
awk -v wanted="$block" '/^```lua$/ { n++; on = n == wanted; next } /^```$/ { on = 0 } on' \
    "$here/../../docs/editors.md" >"$work/init.lua"
[ -s "$work/init.lua" ] || { echo "docs/editors.md has no block $block for Neovim"; exit 1; }

printf 'version: 1\nimage: tiny\nmachine: {memroy: 1GiB}\ncommands:\n  - run: make\n' \
    >"$work/job.kage.yaml"
cp "$work/job.kage.yaml" "$work/other.yaml"
cd "$work" || exit 2
timeout 60 nvim --headless -u init.lua -i NONE -c "luafile $here/neovim.lua" >"$work/out" 2>&1 ||
    { cat "$work/out"; exit 1; }
grep -q '^3:11 K201' "$work/out" || { cat "$work/out"; exit 1; }
echo "block $block of docs/editors.md, $(nvim --version | head -1)"
