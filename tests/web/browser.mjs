// The web terminal in a real Chromium, on a real machine.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import {
  Screen, cleanUp, killQemu, seconds, serve, sleep, startMachine, stopMachine, until,
} from "./harness.mjs";

const pictures = process.env.KAGE_SCREENSHOTS; // a folder; docs/images is made this way
let machine;
let server;
let screen;

const picture = async (name) => {
  if (pictures) {
    await screen.page.screenshot({ path: `${pictures}/${name}.png` });
  }
};

const memory = (pid) =>
  Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+)/)[1]) * 1024;

before(async () => {
  machine = await startMachine();
  server = await serve(machine);
  screen = await Screen.open(server);
});
after(cleanUp);

test("the page opens a shell of root, and the address keeps no secret", async () => {
  await screen.prompt();
  assert.equal(screen.page.url(), `${server.origin}/`);
  assert.match(await screen.status("link"), /connected/);
  assert.match(await screen.status("status-machine"), new RegExp(`tiny \\(${machine}\\) running`));
  assert.match(await screen.status("status-user"), /as root/);
  await screen.run("id -u; echo $TERM", /^0\nxterm-256color$/m);
});

test("text, colours and characters beyond ASCII arrive as they are", async () => {
  await screen.type("clear; printf '\\033[38;2;255;100;0mtrue\\033[0m \\033[32mgreen\\033[0m %s\\n' ");
  await screen.run("'übung 漢字 🙂'", /^true green übung 漢字 ?🙂/m);
  const colour = await screen.page.evaluate(() =>
    [...document.querySelectorAll(".xterm-rows span")]
      .filter((s) => s.textContent === "true")
      .map((s) => getComputedStyle(s).color));
  assert.ok(colour.includes("rgb(255, 100, 0)"), colour.join());
});

test("the size follows the window", async () => {
  await screen.page.setViewportSize({ width: 700, height: 400 });
  await until("a smaller terminal", async () => parseInt(await screen.status("status-size")) < 90);
  const [cols, rows] = (await screen.status("status-size")).split("×");
  await screen.run("clear; stty size", new RegExp(`^${rows} ${cols}$`, "m"));
  await screen.page.setViewportSize({ width: 1000, height: 600 });
  await until("a larger terminal", async () => !(await screen.status("status-size")).startsWith(cols));
  const [moreCols, moreRows] = (await screen.status("status-size")).split("×");
  assert.ok(Number(moreCols) > Number(cols) && Number(moreRows) > Number(rows));
  await screen.run("clear; stty size", new RegExp(`^${moreRows} ${moreCols}$`, "m"));
});

test("control keys reach the programs", async () => {
  await screen.type("clear; sleep 1000\n");
  await sleep(300);
  await screen.page.keyboard.press("Control+c");
  await screen.run("echo code $?", /^code 130$/m);
  await screen.type("cat\n");
  await screen.run("mirror", /mirror\nmirror/);
  await screen.page.keyboard.press("Control+d");
  await screen.run("echo after", /^after$/m);
});

test("two tabs are two shells", async () => {
  await screen.run("clear; where=first; echo in $where", /^in first$/m);
  await screen.newShell();
  assert.equal(await screen.page.locator("[role=tab]").count(), 2);
  await screen.run("clear; echo in $where nowhere", /^in nowhere$/m);
  await screen.page.keyboard.press("Control+Shift+ArrowLeft");
  await screen.run("echo still in $where", /^still in first$/m);
  assert.equal(
    await screen.page.locator("[role=tab][aria-selected=true]").innerText(), "tiny 1");
});

test("a picture of it", async () => {
  await screen.type("clear; uname -srm; ls --color /; ");
  await screen.run("for c in 1 2 3 4 5 6 7; do printf \"\\033[3${c}m colour $c\"; done; printf '\\033[0m\\n'", /colour 7$/m);
  await screen.run("grep -c processor /proc/cpuinfo; free -m", /Swap/);
  await picture("web-terminal");
});

test("a reload goes on where it was", async () => {
  await screen.run("clear; kept=treasure; echo before the reload", /^before the reload$/m);
  await screen.page.reload();
  await screen.shows(/^before the reload$/m);
  assert.equal(await screen.page.locator("[role=tab]").count(), 2);
  await screen.run("echo kept $kept", /^kept treasure$/m);
});

test("a full-screen program survives a reload, and its questions are not answered twice", async () => {
  await screen.type("vi /tmp/poem\n");
  await screen.type("iOld pond");
  await screen.page.keyboard.press("Escape");
  await screen.shows(/^Old pond\n~/m);
  await screen.page.reload();
  await screen.shows(/^Old pond\n~/m);
  await screen.type(":wq\n");
  await screen.run("clear; printf '\\033[6n'; sleep 0.2; cat /tmp/poem", /Old pond/);
  await screen.page.keyboard.press("Control+u");
  await screen.run("clear; echo marker", /^marker$/m);
  await screen.page.reload();
  await screen.shows(/marker/);
  await sleep(500);
  assert.doesNotMatch(await screen.text(), /;\d+R|\^\[/);
  await screen.run("echo clean", /^clean$/m);
});

test("an interrupted connection comes back without a reload, and nothing is lost or twice", async () => {
  await screen.type("clear; i=0; while [ $i -lt 40 ]; do echo n$i; i=$((i+1)); sleep 0.1; done\n");
  await screen.shows(/^n5$/m);
  // The process behind the connection freezes, and then the socket goes.
  await screen.page.context().setOffline(true);
  server.child.kill("SIGSTOP");
  await sleep(700);
  server.child.kill("SIGCONT");
  await screen.page.context().setOffline(false);
  await screen.shows(/^n39$/m, seconds(30));
  await screen.run("clear; echo back", /^back$/m);
});

test("another page takes over, and the first can take it back", async () => {
  const other = await screen.page.context().newPage();
  await other.goto(`${server.origin}/`);
  await until("the notice", async () => /another window/.test(await screen.page.locator("#notice").innerText()));
  const second = new Screen(other, server.origin);
  await other.locator("[role=tab]").first().click();
  await second.shows(/^back$/m);
  await screen.page.getByRole("button", { name: "Use them here" }).click();
  await until("the notice to go", async () => !(await screen.page.locator("#notice").isVisible()));
  await until("the other notice", async () => /another window/.test(await other.locator("#notice").innerText()));
  await other.close();
  await screen.page.locator(".pane:not([hidden]) textarea").focus();
  await screen.run("echo returned", /^returned$/m);
});

test("copy and paste", async () => {
  await screen.run("clear; echo swordfish", /^swordfish$/m);
  const word = screen.page.locator(".pane:not([hidden]) .xterm-rows > div", { hasText: /^swordfish/ });
  const box = await word.boundingBox();
  await screen.page.mouse.dblclick(box.x + 20, box.y + box.height / 2);
  await screen.page.getByRole("button", { name: "Copy" }).click();
  assert.equal(await screen.page.evaluate(() => navigator.clipboard.readText()), "swordfish");
  await screen.type("clear; echo pasted ");
  await screen.page.getByRole("button", { name: "Paste" }).click();
  await screen.shows(/pasted swordfish$/);
  await screen.run("", /^pasted swordfish$/m);
});

test("a paste of 300 kB arrives whole", async () => {
  const text = Array.from({ length: 10000 }, (_, i) => `line ${String(i).padStart(24, "0")}`).join("\n") + "\n";
  await screen.run("clear; stty -echo; wc > /tmp/count; stty echo; echo counted", /./);
  await sleep(500);
  await screen.page.evaluate((t) => navigator.clipboard.writeText(t), text);
  await screen.page.getByRole("button", { name: "Paste" }).click();
  await sleep(500);
  await screen.page.keyboard.press("Control+d");
  await screen.shows(/^counted$/m, seconds(60));
  await screen.run("clear; cat /tmp/count", /^ *10000 +20000 +300000$/m);
});

test("a flood stays in bounds, can be stopped, and holds up no other tab", async () => {
  await screen.type("clear; yes flooding the terminal\n");
  await sleep(3000);
  const early = memory(server.pid);
  await screen.page.keyboard.press("Control+Shift+ArrowRight");
  await screen.run("clear; echo not held up", /^not held up$/m);
  await sleep(3000);
  assert.ok(memory(server.pid) - early < 4 * 1024 * 1024, "kage web grows");
  await screen.page.keyboard.press("Control+Shift+ArrowLeft");
  await screen.page.keyboard.press("Control+c");
  await screen.run("clear; echo dry again", /^dry again$/m, seconds(30));
  await screen.run("clear; seq 1 200000 | tail -n 3; seq 1 200000", /^199999\n200000\n.*[#$]$/m, seconds(60));
});

test("a list of machines, and a switch between them", async () => {
  const second = await startMachine();
  await until("the second machine in the list", async () =>
    (await screen.page.locator("#machine").innerText()).includes(second));
  await screen.page.locator("#machine").selectOption(second);
  await screen.tells("status-machine", new RegExp(second));
  await screen.prompt();
  await screen.run("touch /tmp/here; echo on the second", /^on the second$/m);
  await screen.page.locator("#machine").selectOption(machine);
  await screen.tells("status-machine", new RegExp(machine));
  await screen.run("clear; ls /tmp/here", /No such file/);
  await screen.page.locator("#machine").selectOption(second);
  await screen.shows(/on the second/);
  await stopMachine(second);
  await screen.tells("status-shell", /./);
  assert.doesNotMatch(await screen.status("status-shell"), /exited/);
  await screen.page.getByRole("button", { name: /^Close tiny/ }).last().click();
  await screen.tells("status-machine", new RegExp(machine));
});

test("dark and light", async () => {
  const colour = () => screen.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await colour();
  await screen.page.getByRole("button", { name: "Theme" }).click();
  assert.notEqual(await colour(), dark);
  await screen.run("clear; vi /etc/passwd", /root:/);
  await picture("web-terminal-light");
  await screen.type(":q\n");
  await screen.page.getByRole("button", { name: "Theme" }).click();
  assert.equal(await colour(), dark);
});

test("the keyboard alone gets everywhere, and what is shown has names", async () => {
  await screen.page.locator(".pane:not([hidden]) textarea").focus();
  await screen.page.keyboard.press("Control+Shift+F6");
  assert.equal(await screen.page.evaluate(() => document.activeElement.getAttribute("role")), "tab");
  await screen.page.keyboard.press("ArrowRight");
  await screen.page.keyboard.press("ArrowRight");
  assert.equal(await screen.page.evaluate(() => document.activeElement.getAttribute("role")), "tab");
  const nameless = await screen.page.evaluate(() =>
    [...document.querySelectorAll("button, select, [role=tab]")]
      .filter((e) => e.offsetParent && !(e.ariaLabel || e.innerText.trim() || e.labels?.length))
      .map((e) => e.outerHTML));
  assert.deepEqual(nameless, []);
  await screen.page.getByRole("button", { name: "Reader" }).click();
  await screen.page.locator(".pane:not([hidden]) textarea").focus();
  await screen.run("clear; echo spoken", /spoken/);
  await until("text for screen readers", async () =>
    /spoken/.test(await screen.page.locator(".pane:not([hidden]) .xterm-accessibility").innerText()));
  await screen.page.getByRole("button", { name: "Reader" }).click();
});

test("the exit of a shell is told with its code, and with its signal", async () => {
  await screen.newShell();
  await screen.type("exit 7\n");
  await screen.tells("status-shell", /^exited with code 7$/);
  await screen.shows(/exited with code 7/);
  await picture("web-terminal-exit");
  await screen.newShell();
  await screen.type("kill -9 $$\n");
  await screen.tells("status-shell", /^killed by signal 9$/);
});

test("many tabs do not push the rest out of the window", async () => {
  for (let i = 0; i < 6; i += 1) {
    await screen.newShell();
  }
  const right = (id) => screen.page.locator(id).evaluate((e) => e.getBoundingClientRect().right);
  for (const id of ["#theme", "#new", "#status-size", "[role=tab][aria-selected=true]"]) {
    assert.ok((await right(id)) <= 1000, `${id} ends at ${await right(id)}`);
  }
  for (let i = 0; i < 6; i += 1) {
    const count = await screen.page.locator("[role=tab]").count();
    await screen.page.getByRole("button", { name: /^Close tiny/ }).last().click();
    await until("a tab less", async () => (await screen.page.locator("[role=tab]").count()) < count);
  }
});

test("a used address lets nobody else in", async () => {
  const stranger = await Screen.open(server);
  await until("the notice", async () =>
    /Open the address/.test(await stranger.page.locator("#notice").innerText()));
  assert.equal(await stranger.page.locator("[role=tab]").count(), 0);
  await stranger.close();
});

test("the end of the machine is told with its reason", async () => {
  await screen.page.locator("[role=tab]").first().click();
  await killQemu(machine);
  await screen.tells("status-machine", /(ended|dead|gone)/, seconds(20));
  await screen.tells("status-shell", /virtual machine ended/);
  await screen.shows(/\[.*virtual machine ended.*\]/);
  assert.ok(await screen.page.locator("#new").isDisabled());
  await picture("web-terminal-ended");
});

test("kage web going away is told, and what comes after it is not trusted", async () => {
  server.child.kill("SIGTERM");
  await screen.tells("link", /trying again|reconnecting/);
});

test("the page caused no complaint: no policy violated, nothing fetched from elsewhere", () => {
  // What the browser says of a server that is gone on purpose is no complaint.
  const real = screen.complaints.filter((c) => !/ERR_|net::|WebSocket connection to|403/.test(c));
  assert.deepEqual(real, []);
  const policy = screen.complaints.filter((c) => /Content Security Policy|violat/i.test(c));
  assert.deepEqual(policy, []);
});
