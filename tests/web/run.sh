#!/bin/sh
# Runs a test of the web terminal that needs packages of npm:
#     run.sh SCRIPT FOLDER
# FOLDER keeps node_modules, as web/package-lock.json says, from one run to the next. What is missing
# makes the test skip (77) and say why; it never passes for want of a browser.
set -eu

skip() {
	echo "skipped: $1"
	exit 77
}

here=$(cd "$(dirname "$0")" && pwd)
script=$1
folder=$2
web=$here/../../web

command -v node >/dev/null || skip "there is no node (package nodejs)"
command -v npm >/dev/null || skip "there is no npm (package npm)"
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' ||
	skip "node $(node --version) is older than 18"

mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
if ! cmp -s "$web/package-lock.json" "$folder/installed-lock.json"; then
	cp "$web/package.json" "$web/package-lock.json" "$folder/"
	(cd "$folder" && npm ci --no-audit --no-fund --ignore-scripts >npm.log 2>&1) ||
		skip "npm ci failed: $(tail -n 1 "$folder/npm.log")"
	cp "$web/package-lock.json" "$folder/installed-lock.json"
fi
exec 9>&-

if [ "$script" = browser.mjs ]; then
	KAGE_CHROMIUM=${KAGE_CHROMIUM:-$(command -v chromium || command -v chromium-browser ||
		command -v google-chrome || true)}
	[ -n "$KAGE_CHROMIUM" ] || skip "there is no Chromium (package chromium)"
	export KAGE_CHROMIUM
fi
export KAGE_NODE_MODULES="$folder/node_modules"
exec node "$here/$script"
