#!/bin/sh
# Neovim as the client: it must show the one mistake of a spec where it is.
#
#   neovim.sh KAGE
set -u
[ $# -eq 1 ] || { sed -n '2,4p' "$0"; exit 2; }
command -v nvim >/dev/null || { echo "skipped: nvim is not here"; exit 77; }
KAGE=$(realpath "$1") || exit 2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export KAGE SPEC="$work/job.yaml" XDG_STATE_HOME="$work" XDG_CACHE_HOME="$work"
printf 'version: 1\nimage: tiny\nmachine: {memroy: 1GiB}\ncommands:\n  - run: make\n' >"$SPEC"
cd "$work" || exit 2
timeout 30 nvim --headless -u NONE -i NONE -c "luafile $here/neovim.lua" >"$work/out" 2>&1 ||
    { cat "$work/out"; exit 1; }
grep -q '^3:11 K201' "$work/out" || { cat "$work/out"; exit 1; }
