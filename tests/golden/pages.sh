#!/bin/sh
# Completion and manual pages: every shell that is here can read its script, bash completes what it
# should, and man has nothing to complain about.
#
#   pages.sh KAGE
set -u
[ $# -eq 1 ] || { sed -n '2,5p' "$0"; exit 2; }
kage=$(realpath "$1") || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
    echo "$*"
    failed=1
}

for shell in bash zsh fish; do
    "$kage" completion "$shell" >"$work/$shell" || fail "no completion for $shell"
    [ -s "$work/$shell" ] || fail "nothing for $shell"
    if command -v "$shell" >"$work/found"; then
        "$shell" -n "$work/$shell" || fail "$shell cannot read its script"
    else
        echo "$shell is not here: its script was not read"
    fi
done

complete_words() { # WORD... prints what bash offers for the last one
    bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kage; echo "${COMPREPLY[@]}"' \
        - "$work/bash" "$@"
}
expect() { # WANTED WORD...
    wanted=$1
    shift
    got=$(complete_words "$@")
    [ "$got" = "$wanted" ] || fail "'$*' completes to '$got', not to '$wanted'"
}
if command -v bash >"$work/found"; then
    expect "check" kage che
    expect "--format --fail-on --fix" kage check --f
    expect "sarif" kage check --format = s
    expect "error warning note" kage check --fail-on ''
    expect "explain" kage help exp
    expect "" kage check ''
fi

for verb in '' $("$kage" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    # shellcheck disable=SC2086 # none for the page about kage itself
    "$kage" manual $verb >"$work/page" || fail "no page for '$verb'"
    grep -q '^\.SH SYNOPSIS' "$work/page" || fail "the page of '$verb' has no synopsis"
    if command -v groff >"$work/found"; then
        groff -man -Tutf8 -ww "$work/page" >"$work/text" 2>"$work/warnings"
        [ ! -s "$work/warnings" ] || fail "the page of '$verb': $(cat "$work/warnings")"
    fi
done
exit "$failed"
