#!/usr/bin/env node
// A client of `kage lsp` that asks for everything it offers and compares the answers.
//
//   client.js KAGE
'use strict';
const assert = require('node:assert');
const {spawn} = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

class Client {
  constructor(kage, folder) {
    this.child = spawn(kage, ['lsp', '--stdio'], {cwd: folder, stdio: ['pipe', 'pipe', 'inherit']});
    this.buffer = Buffer.alloc(0);
    this.next = 1;
    this.waiting = new Map();
    this.published = new Map();
    this.listeners = [];
    this.ended = new Promise((resolve) => this.child.on('exit', resolve));
    this.child.stdout.on('data', (data) => this.receive(data));
  }

  receive(data) {
    this.buffer = Buffer.concat([this.buffer, data]);
    for (;;) {
      const head = this.buffer.indexOf('\r\n\r\n');
      if (head < 0) return;
      const length = Number(/Content-Length: (\d+)/.exec(this.buffer.toString('latin1', 0, head))[1]);
      if (this.buffer.length < head + 4 + length) return;
      const message = JSON.parse(this.buffer.toString('utf8', head + 4, head + 4 + length));
      this.buffer = this.buffer.subarray(head + 4 + length);
      if (message.id !== undefined) {
        this.waiting.get(message.id)(message);
        this.waiting.delete(message.id);
      } else if (message.method === 'textDocument/publishDiagnostics') {
        this.published.set(message.params.uri, message.params.diagnostics);
        for (const listener of this.listeners.splice(0)) listener(message.params.diagnostics);
      }
    }
  }

  send(message, pieces = 1) {
    const body = Buffer.from(JSON.stringify({jsonrpc: '2.0', ...message}), 'utf8');
    const all = Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
    const size = Math.ceil(all.length / pieces);
    for (let i = 0; i < all.length; i += size) this.child.stdin.write(all.subarray(i, i + size));
  }

  request(method, params) {
    const id = this.next++;
    this.send({id, method, params});
    return new Promise((resolve) => this.waiting.set(id, resolve));
  }

  async ask(method, params) {
    const answer = await this.request(method, params);
    assert.ok(!answer.error, JSON.stringify(answer.error));
    return answer.result;
  }

  diagnostics(send) {
    const promise = new Promise((resolve) => this.listeners.push(resolve));
    send();
    return promise;
  }

  open(uri, text, pieces) {
    return this.diagnostics(() => this.send({method: 'textDocument/didOpen', params: {
      textDocument: {uri, languageId: 'yaml', version: 1, text}}}, pieces));
  }

  change(uri, text) {
    return this.diagnostics(() => this.send({method: 'textDocument/didChange', params: {
      textDocument: {uri, version: 2}, contentChanges: [{text}]}}));
  }
}

// The text without its '|', and where that was.
function cursor(marked) {
  const at = marked.indexOf('¦');
  const before = marked.slice(0, at).split('\n');
  return {text: marked.replace('¦', ''),
    position: {line: before.length - 1, character: before[before.length - 1].length}};
}

function apply(text, edits) {
  const lines = text.split('\n');
  const offset = (p) => lines.slice(0, p.line).reduce((n, l) => n + l.length + 1, 0) + p.character;
  for (const e of [...edits].sort((a, b) => offset(b.range.start) - offset(a.range.start)))
    text = text.slice(0, offset(e.range.start)) + e.newText + text.slice(offset(e.range.end));
  return text;
}

const HEAD = 'version: 1\nimage: tiny\n';
const NAMES = 'shares:\n  src: {path: .}\n  out: {path: .}\nusers:\n  tester: {uid: 1000}\n'
  + 'secrets:\n  TOKEN: {env: CI_TOKEN}\n';

async function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'kage lsp '));
  const uri = `file://${encodeURI(folder)}/job.yaml`;
  const client = new Client(path.resolve(process.argv[2]), folder);
  const early = await client.request('textDocument/hover', {});
  assert.strictEqual(early.error.code, -32002);
  const {capabilities} = await client.ask('initialize', {processId: null, capabilities: {}});
  assert.strictEqual(capabilities.positionEncoding, 'utf-16');
  client.send({method: 'initialized', params: {}});

  // diagnostics, with places in UTF-16 units; the message comes in many pieces
  let found = await client.open(uri, HEAD + 'env: {A: "😀", B: ${X}}\ncommands:\n  - run: make\n', 50);
  assert.strictEqual(found.length, 1);
  assert.strictEqual(found[0].code, 'K113');
  assert.deepStrictEqual(found[0].range, {start: {line: 2, character: 18}, end: {line: 2, character: 22}});
  found = await client.change(uri, HEAD + 'machine: {memroy: 1GiB}\ncommands:\n  - run: make\n');
  const first = found.find((d) => d.code === 'K201');
  assert.strictEqual(first.severity, 1);
  assert.deepStrictEqual(first.range, {start: {line: 2, character: 10}, end: {line: 2, character: 16}});
  assert.ok(found.some((d) => d.code === 'K409' && d.severity === 3), 'notes are shown');

  // quick fixes
  const actions = await client.ask('textDocument/codeAction', {
    textDocument: {uri}, range: first.range, context: {diagnostics: [first]}});
  const fix = actions.find((a) => a.isPreferred);
  assert.strictEqual(fix.kind, 'quickfix');
  const fixed = apply(HEAD + 'machine: {memroy: 1GiB}\ncommands:\n  - run: make\n', fix.edit.changes[uri]);
  assert.ok(fixed.includes('{memory: 1GiB}'), fixed);
  found = await client.change(uri, fixed);
  assert.ok(!found.some((d) => d.severity === 1));
  const note = found.find((d) => d.code === 'K502');
  const ignores = await client.ask('textDocument/codeAction', {
    textDocument: {uri}, range: note.range, context: {diagnostics: [note]}});
  const ignored = apply(fixed, ignores.find((a) => a.title === 'Ignore K502 here').edit.changes[uri]);
  assert.ok(!(await client.change(uri, ignored)).some((d) => d.code === 'K502'));
  const wrong = 'name: My Job\nimage: tiny\nmachine: {cpus: "2", memory: 512m}\ncommands:\n- run: x\n';
  await client.change(uri, wrong);
  const all = (await client.ask('textDocument/codeAction', {textDocument: {uri},
    range: {start: {line: 0, character: 0}, end: {line: 0, character: 0}}, context: {diagnostics: []}}))
    .find((a) => a.title.startsWith('Fix all'));
  found = await client.change(uri, apply(wrong, all.edit.changes[uri]));
  assert.ok(!found.some((d) => d.severity === 1), JSON.stringify(found));

  // completion
  async function labels(marked) {
    const {text, position} = cursor(marked);
    await client.change(uri, text);
    const items = await client.ask('textDocument/completion', {textDocument: {uri}, position});
    for (const item of items) assert.ok(item.textEdit.range.start.line === position.line);
    return items.map((i) => i.label);
  }
  async function offers(marked, ...wanted) {
    const got = await labels(marked);
    for (const w of wanted) assert.ok(got.includes(w), `${JSON.stringify(marked)} offers ${got}, not ${w}`);
    return got;
  }
  await offers('¦', 'version', 'image', 'commands');
  await offers(HEAD + 'ma¦', 'machine', 'matrix');
  assert.ok(!(await offers(HEAD + 'machine:\n  ¦', 'cpus', 'memory')).includes('commands'));
  await offers(HEAD + 'machine: {cpus: 1, ¦}', 'memory', 'arch');
  await offers(HEAD + 'machine: {arch: ¦', 'x86_64', 'aarch64');
  await offers(HEAD + 'machine:\n  accel: ¦\n', 'kvm', 'tcg');
  await offers(HEAD + 'commands:\n  - ¦', 'run', 'exec', 'when');
  await offers(HEAD + 'commands:\n- ¦', 'run', 'exec');
  await offers(HEAD + 'commands:\n  - run: make\n    ¦', 'timeout', 'user');
  await offers(HEAD + 'commands:\n  - run: |\n      a: b\n      c\n    when: ¦', 'on-failure');
  assert.deepStrictEqual(await labels(HEAD + 'commands:\n  - run: |\n      ma¦'), []);
  assert.deepStrictEqual(await labels(HEAD + '# ma¦'), []);
  await offers(HEAD + 'commands:\n  - run: make\n    expect: {¦', 'exit');
  await offers(HEAD + 'commands:\n  - run: make\n    ready:\n      ¦', 'tcp', 'log');
  await client.change(uri, HEAD + NAMES + 'commands:\n  - run: make\n');
  assert.deepStrictEqual((await labels(HEAD + NAMES + 'commands:\n  - run: make\n    user: ¦')).sort(),
    ['root', 'tester']);
  await offers(HEAD + NAMES + 'mounts:\n  - {type: share, source: s¦', 'src', 'out');
  await offers(HEAD + NAMES + 'mounts:\n  - type: ¦', 'share', 'tmpfs');
  await offers(HEAD + NAMES + 'commands:\n  - run: make\n    secrets: [¦', 'TOKEN');
  await offers(HEAD + NAMES + 'commands:\n  - run: make\n    secrets:\n      - ¦', 'TOKEN');
  await offers(HEAD + 'users:\n  tester: {¦', 'uid', 'gid');
  await offers(HEAD + 'users:\n  tester:\n    uid: 1\n    ¦', 'home');
  await offers(HEAD + 'defaults:\n  user: tester\n  sh¦', 'shell');
  await offers('version: 1\nimage: ¦', 'tiny');
  await offers('version: 1\nimage: {u¦', 'url', 'digest');
  await offers(HEAD + 'network: ¦', 'on', 'off');
  await offers(HEAD + 'commands:\n  - run: make\n    continue-on-error: ¦', 'true', 'false');
  // every prefix of a file that has everything: no crash, whatever is offered
  const everything = fs.readFileSync(path.join(__dirname, '../agreement/everything.yaml'), 'utf8');
  await client.change(uri, everything);
  const lines = everything.split('\n');
  for (let line = 0; line < lines.length; line++)
    for (let character = 0; character <= lines[line].length; character += 3)
      await client.ask('textDocument/completion', {textDocument: {uri}, position: {line, character}});

  // hover, definition, symbols
  const spec = HEAD + NAMES + 'mounts:\n  - {type: share, source: src, target: /src}\n'
    + 'commands:\n  - name: tests\n    run: make\n    user: tester\n    secrets: [TOKEN]\n';
  await client.change(uri, spec);
  const place = (word, nth = 0) => {
    let at = -1;
    for (let i = 0; i <= nth; i++) at = spec.indexOf(word, at + 1);
    const before = spec.slice(0, at).split('\n');
    return {line: before.length - 1, character: before[before.length - 1].length};
  };
  const hover = await client.ask('textDocument/hover', {textDocument: {uri}, position: place('mounts')});
  assert.ok(hover.contents.value.includes('File systems'), hover.contents.value);
  const key = await client.ask('textDocument/hover', {textDocument: {uri}, position: place('target')});
  assert.ok(key.contents.value.includes('absolute path'), key.contents.value);
  const why = await client.ask('textDocument/hover', {textDocument: {uri}, position: place('out')});
  assert.ok(why.contents.value.includes('K303'), why.contents.value);
  assert.strictEqual(await client.ask('textDocument/hover', {textDocument: {uri}, position: place('tiny')}), null);
  for (const [word, nth, line] of [['tester', 1, 6], ['src', 1, 3], ['TOKEN', 2, 8]]) {
    const target = await client.ask('textDocument/definition', {textDocument: {uri}, position: place(word, nth)});
    assert.ok(target, `${word} leads nowhere`);
    assert.strictEqual(target.range.start.line, line, word);
  }
  const symbols = await client.ask('textDocument/documentSymbol', {textDocument: {uri}});
  assert.deepStrictEqual(symbols.map((s) => s.name),
    ['version', 'image', 'shares', 'users', 'secrets', 'mounts', 'commands']);
  assert.deepStrictEqual(symbols.find((s) => s.name === 'commands').children.map((s) => s.name), ['tests']);
  assert.deepStrictEqual(symbols.find((s) => s.name === 'shares').children.map((s) => s.name), ['src', 'out']);

  // settings of the project, the end of a document, what does not exist, goodbye
  fs.writeFileSync(path.join(folder, '.kage-check.yaml'), 'findings: {K409: off, K303: error}\n');
  found = await client.diagnostics(() => client.send({method: 'textDocument/didSave', params: {textDocument: {uri}}}));
  assert.ok(!found.some((d) => d.code === 'K409'));
  assert.strictEqual(found.find((d) => d.code === 'K303').severity, 1);
  found = await client.diagnostics(() => client.send({method: 'textDocument/didClose', params: {textDocument: {uri}}}));
  assert.deepStrictEqual(found, []);
  assert.strictEqual((await client.request('textDocument/rename', {})).error.code, -32601);
  client.send({method: '$/cancelRequest', params: {id: 1}});
  await client.ask('shutdown');
  client.send({method: 'exit'});
  assert.strictEqual(await client.ended, 0);
  fs.rmSync(folder, {recursive: true});

  // a client that counts code points, and one that is just gone
  const other = new Client(path.resolve(process.argv[2]), os.tmpdir());
  const can = await other.ask('initialize', {capabilities: {general: {positionEncodings: ['utf-16', 'utf-32']}}});
  assert.strictEqual(can.capabilities.positionEncoding, 'utf-32');
  found = await other.open('untitled:job', HEAD + 'env: {A: "😀", B: ${X}}\n');
  assert.strictEqual(found[0].range.start.character, 17);
  other.child.stdin.end();
  assert.strictEqual(await other.ended, 1);
  console.log('ok');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
