// Copies what the page needs of npm's packages into vendor/, byte for byte, so that building kage
// needs neither npm nor a network. Run `npm ci && npm run vendor` after a change of versions.
import { copyFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const target = process.argv[2] ?? `${here}vendor`;

const files = {
  "xterm.mjs": "@xterm/xterm/lib/xterm.mjs",
  "xterm.css": "@xterm/xterm/css/xterm.css",
  "xterm.LICENSE": "@xterm/xterm/LICENSE",
  "addon-fit.mjs": "@xterm/addon-fit/lib/addon-fit.mjs",
  "addon-fit.LICENSE": "@xterm/addon-fit/LICENSE",
};

mkdirSync(target, { recursive: true });
for (const [name, source] of Object.entries(files)) {
  copyFileSync(`${here}node_modules/${source}`, `${target}/${name}`);
}
