// web/vendor holds what npm delivers for web/package-lock.json, and nothing else.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";

const modules = process.env.KAGE_NODE_MODULES;
const vendor = new URL("../../web/vendor/", import.meta.url);
const sources = {
  "xterm.mjs": "@xterm/xterm/lib/xterm.mjs",
  "xterm.css": "@xterm/xterm/css/xterm.css",
  "xterm.LICENSE": "@xterm/xterm/LICENSE",
  "addon-fit.mjs": "@xterm/addon-fit/lib/addon-fit.mjs",
  "addon-fit.LICENSE": "@xterm/addon-fit/LICENSE",
};

assert.deepEqual(readdirSync(vendor).sort(), [...Object.keys(sources), "README.md"].sort());
for (const [name, source] of Object.entries(sources)) {
  const ours = readFileSync(new URL(name, vendor));
  const theirs = readFileSync(`${modules}/${source}`);
  assert.ok(ours.equals(theirs), `${name} differs from ${source}`);
}
console.log("web/vendor is what npm delivers");
