#!/bin/sh
# Golden tests of `kage check`: every NAME.yaml here against NAME.expected, which holds the output
# and, in its last line, the exit code. NAME.FORMAT.expected is the same file in another format.
#
#   run.sh KAGE             compare; exit 1 and show the differences if there are any
#   run.sh KAGE --update    write what kage says now; read the diff before committing it
#
# A spec that begins with "# options: WORDS" is checked with these options.
#
# cli.cmds has a command line of kage on each line; cli.expected what they print.
# Besides, every code of the registry must be shown by at least one of them.
set -u
[ $# -ge 1 ] || { sed -n '2,11p' "$0"; exit 2; }
kage=$(realpath "$1") || exit 2
update=${2:-}
cd "$(dirname "$0")" || exit 2

# What a spec may read of the environment must not depend on whose it is.
unset NO_COLOR TERM
export GOLDEN_SET=value GOLDEN_EMPTY= HOME="$(pwd -P)/folder"
unset GOLDEN_UNSET

failed=0
count=0
actual=$(mktemp) || exit 2
# What --host looks for on this machine must not be there, whatever the machine.
export XDG_CACHE_HOME="$(pwd -P)/folder/no-cache" TMPDIR="$(pwd -P)/folder/no-tmp"
trap 'rm -f "$actual" "$actual.raw"' EXIT

judge() { # EXPECTED
    count=$((count + 1))
    if [ "$update" = --update ]; then
        cmp -s "$actual" "$1" || { cp "$actual" "$1" && echo "updated $1"; }
    elif ! diff -u "$1" "$actual"; then
        failed=$((failed + 1))
    fi
}

compare() { # NAME.yaml EXPECTED FORMAT
    options=$(sed -n '1s/^# options: //p' "$1")
    # shellcheck disable=SC2086 # the words are the options
    "$kage" check $options --format="$3" "$1" >"$actual.raw" 2>&1
    echo "exit $?" >>"$actual.raw"
    sed "s|$(pwd -P)|@HERE@|g" "$actual.raw" >"$actual"
    judge "$2"
}

for spec in *.yaml; do
    name=${spec%.yaml}
    compare "$spec" "$name.expected" human
    for format in gcc json github sarif; do
        [ -e "$name.$format.expected" ] && compare "$spec" "$name.$format.expected" "$format"
    done
done

while read -r line; do
    echo "\$ kage $line"
    case $line in
    *'<'*) input=${line#*<} line=${line%<*} ;;
    *) input=/dev/null ;;
    esac
    # shellcheck disable=SC2086 # the words of a line are the arguments
    "$kage" $line <"$input" 2>&1
    echo "exit $?"
done <cli.cmds >"$actual"
judge cli.expected

for code in $(sed -n 's/^KAGE_CODE(\([0-9]*\),.*/\1/p' ../../../schemas/diagnostics.def); do
    if ! grep -q "\[K$code\]\$" ./*.expected; then
        echo "no golden test shows K$code"
        failed=$((failed + 1))
    fi
done

echo "$count compared, $failed wrong"
[ "$failed" -eq 0 ]
