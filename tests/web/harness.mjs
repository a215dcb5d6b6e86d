// Machines, kage web and a browser for the tests; everything started is stopped.
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const require = createRequire(`${process.env.KAGE_NODE_MODULES}/`);
const { chromium } = require("playwright-core");
const kage = process.env.KAGE;
const slow = Number(process.env.KAGE_TEST_SLOW ?? 1);
const run = promisify(execFile);

export const seconds = (n) => n * 1000 * slow;
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const folder = mkdtempSync(join(tmpdir(), "kage-web-"));
const env = { ...process.env, XDG_RUNTIME_DIR: folder };
const servers = [];
let browser;

export async function until(what, condition, timeout = seconds(20)) {
  const end = Date.now() + timeout;
  let seen;
  for (;;) {
    seen = await condition();
    if (seen) {
      return seen;
    }
    if (Date.now() > end) {
      throw new Error(`waited in vain for ${what}`);
    }
    await sleep(50);
  }
}

export async function startMachine() {
  const { stdout } = await run(kage, ["start", "tiny"], { env });
  return stdout.trim();
}

export const stopMachine = (id) => run(kage, ["stop", id], { env });
export const killQemu = async (id) => {
  const { stdout } = await run(kage, ["ps", "--format=json"], { env });
  const owner = JSON.parse(stdout).find((vm) => vm.id === id).owner;
  const children = await run("ps", ["-o", "pid=,comm=", "--ppid", String(owner)]);
  for (const line of children.stdout.trim().split("\n")) {
    const [pid, name] = line.trim().split(/\s+/);
    if (name.startsWith("qemu-system")) {
      process.kill(Number(pid), "SIGKILL");
    }
  }
};

export async function serve(id, ...args) {
  const child = spawn(kage, ["web", id, "--port", "0", ...args], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  servers.push(child);
  const url = await new Promise((resolve, reject) => {
    child.stdout.once("data", (data) => resolve(String(data).trim()));
    child.once("exit", (code) => reject(new Error(`kage web ended with ${code}`)));
  });
  return { url, origin: new URL(url).origin, pid: child.pid, child };
}

export async function openBrowser() {
  browser ??= await chromium.launch({
    executablePath: process.env.KAGE_CHROMIUM,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return browser;
}

export async function cleanUp() {
  await browser?.close();
  for (const child of servers) {
    child.kill("SIGTERM");
  }
  await run(kage, ["stop", "--all"], { env }).catch(() => {});
  rmSync(folder, { recursive: true, force: true });
}

// The page as its user sees it. `complaints` collects what a sound page never causes.
export class Screen {
  constructor(page, origin) {
    this.page = page;
    this.complaints = [];
    page.on("console", (m) => {
      if (["error", "warning"].includes(m.type())) {
        this.complaints.push(m.text());
      }
    });
    page.on("pageerror", (e) => this.complaints.push(String(e)));
    page.on("request", (r) => {
      if (!r.url().startsWith(origin) && !r.url().startsWith(origin.replace("http", "ws"))) {
        this.complaints.push(`a request to ${r.url()}`);
      }
    });
  }

  static async open(server, options = {}) {
    const context = await (await openBrowser()).newContext({
      viewport: { width: 1000, height: 600 },
      permissions: ["clipboard-read", "clipboard-write"],
      colorScheme: "dark",
      ...options,
    });
    const screen = new Screen(await context.newPage(), server.origin);
    await screen.page.goto(server.url);
    return screen;
  }

  // What the terminal in sight shows, without the blanks that fill its rows.
  async text() {
    const rows = this.page.locator(".pane:not([hidden]) .xterm-rows");
    const text = (await rows.count()) ? await rows.innerText() : "";
    return text.replace(/\u00a0/g, " ").replace(/[ \t]+$/gm, "").trimEnd();
  }

  shows(pattern, timeout) {
    return until(`the terminal to show ${pattern}`, async () => (await this.text()).match(pattern),
      timeout).catch(async (e) => {
      throw new Error(`${e.message}; it shows:\n${await this.text()}`);
    });
  }

  prompt(timeout) {
    return this.shows(/[#$]$/, timeout);
  }

  status(id) {
    return this.page.locator(`#${id}`).innerText();
  }

  tells(id, pattern, timeout) {
    return until(`#${id} to say ${pattern}`, async () => (await this.status(id)).match(pattern),
      timeout).catch(async (e) => {
      throw new Error(`${e.message}; it says: ${await this.status(id)}`);
    });
  }

  async type(text) {
    await this.page.keyboard.type(text, { delay: 2 });
  }

  // Runs a command and waits for its last line.
  async run(command, pattern, timeout) {
    await this.type(`${command}\n`);
    return this.shows(pattern, timeout);
  }

  async newShell() {
    const before = await this.page.locator("[role=tab]").count();
    await this.page.locator("#new").click();
    await until("a new tab", async () => (await this.page.locator("[role=tab]").count()) > before);
    await this.prompt();
  }

  close() {
    return this.page.context().close();
  }
}
