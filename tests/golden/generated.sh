#!/bin/sh
# What kage prints of itself must be what the repository holds.
#
#   generated.sh KAGE             compare; exit 1 and show the differences if there are any
#   generated.sh KAGE --update    write the files anew
set -u
[ $# -ge 1 ] || { sed -n '2,5p' "$0"; exit 2; }
kage=$(realpath "$1") || exit 2
update=${2:-}
cd "$(dirname "$0")/../.." || exit 2

failed=0
actual=$(mktemp) || exit 2
trap 'rm -f "$actual"' EXIT

judge() { # FILE
    if [ "$update" = --update ]; then
        cmp -s "$actual" "$1" || { cat "$actual" >"$1" && echo "updated $1"; }
    elif ! diff -u "$1" "$actual"; then
        failed=1
    fi
}

"$kage" schema >"$actual" || failed=1
judge schemas/kage.v1.schema.json

"$kage" explain --markdown >"$actual" || failed=1
judge docs/findings.md

# the reference follows a part that people write
{ sed '/^<!-- From here on generated/q' docs/spec.md && "$kage" schema --markdown; } >"$actual" ||
    failed=1
judge docs/spec.md

exit "$failed"
