// The page: tabs, the list of machines, the status line.
import "./style-shim.js";
import { LOCKED, Link } from "./link.js";
import { Tab } from "./tabs.js";
import * as wire from "./wire.js";

const END_TOLD_AFTER_MS = 1500;

const $ = (id) => document.getElementById(id);
const link = new Link();
const tabs = new Map(); // by the shell's number, in the order of the tabs
let state = { user: "", first: "", vms: [], shells: [] };
let selected = 0; // shell
let chosenVm = ""; // what a new shell is opened on
let firstState = true;
let hintTimer = 0;

const themes = {
  dark: {
    background: "#12161f", foreground: "#e4e8f0", cursor: "#8fd3bd", cursorAccent: "#12161f",
    selectionBackground: "#3c4c6e", black: "#2b3345", red: "#f08080", green: "#7ccf8a",
    yellow: "#e8b04a", blue: "#7fb2f0", magenta: "#c79bea", cyan: "#6fcfd0", white: "#cfd6e4",
    brightBlack: "#7c879d", brightRed: "#ff9f9a", brightGreen: "#9be3a6", brightYellow: "#f5cb7a",
    brightBlue: "#a5cbfa", brightMagenta: "#dcbcf5", brightCyan: "#97e3e3", brightWhite: "#ffffff",
  },
  light: {
    background: "#fbfbf9", foreground: "#23272f", cursor: "#0f6b58", cursorAccent: "#fbfbf9",
    selectionBackground: "#c4dcd5", black: "#23272f", red: "#b3261e", green: "#1f7a35",
    yellow: "#8a5a00", blue: "#1b5fb8", magenta: "#84389e", cyan: "#0b6f78", white: "#6b7280",
    brightBlack: "#5a6270", brightRed: "#c9372c", brightGreen: "#2b8a43", brightYellow: "#9a6a0a",
    brightBlue: "#2f74d0", brightMagenta: "#9a4cb5", brightCyan: "#1b838c", brightWhite: "#3a3f48",
  },
};

// ---- settings of this browser

const system = matchMedia("(prefers-color-scheme: light)");
const theme = () => localStorage.getItem("kage-theme") ?? (system.matches ? "light" : "dark");
const reader = () => localStorage.getItem("kage-reader") === "on";

function applySettings() {
  document.documentElement.dataset.theme = theme();
  $("reader").setAttribute("aria-pressed", String(reader()));
  for (const tab of tabs.values()) {
    tab.term.options.theme = themes[theme()];
    tab.term.options.screenReaderMode = reader();
  }
}

// ---- words for people

const vmOf = (id) => state.vms.find((vm) => vm.id === id);
const firstLine = (text) => (text ?? "").split("\n")[0];

function shellText(info) {
  switch (info.state) {
    case "starting":
      return ["starting a shell", ""];
    case "running":
      return info.silent ? ["the machine does not answer", "bad"] : ["", ""];
    case "exited":
      if (info.signal) {
        return [`killed by signal ${info.signal}${info.reason ? `: ${info.reason}` : ""}`, "bad"];
      }
      return [`exited with code ${info.code}`, info.code === 0 ? "good" : "bad"];
    case "failed":
      return [`no shell: ${firstLine(info.reason)}`, "bad"];
    default:
      return [firstLine(info.reason) || "the connection was lost", "bad"];
  }
}

function hint(text) {
  clearTimeout(hintTimer);
  $("status-hint").textContent = text;
  $("status-hint").dataset.tone = "bad";
  hintTimer = setTimeout(() => ($("status-hint").textContent = ""), 8000);
}

// ---- tabs

function label(tab) {
  const siblings = [...tabs.values()].filter((t) => t.info.vm === tab.info.vm);
  const name = siblings.length > 1 ? `${tab.info.name} ${siblings.indexOf(tab) + 1}` : tab.info.name;
  return tab.title ? `${name}: ${tab.title}` : name;
}

function drawTabs() {
  const list = $("tabs");
  const focused = list.contains(document.activeElement);
  list.replaceChildren(
    ...[...tabs.values()].map((tab) => {
      const number = tab.info.shell;
      const item = document.createElement("div");
      const button = document.createElement("button");
      const close = document.createElement("button");
      item.className = "tab";
      item.setAttribute("role", "presentation");
      item.toggleAttribute("data-selected", number === selected);
      item.toggleAttribute("data-ended", !tab.alive);
      button.type = "button";
      button.id = `tab-${number}`;
      button.setAttribute("role", "tab");
      button.setAttribute("aria-selected", String(number === selected));
      button.setAttribute("aria-controls", tab.panel.id);
      button.tabIndex = number === selected ? 0 : -1;
      button.textContent = label(tab);
      button.title = `${tab.info.name} (${tab.info.vm})`;
      button.addEventListener("click", () => select(number, true));
      close.type = "button";
      close.className = "close";
      close.textContent = "×";
      close.setAttribute("aria-label", `Close ${label(tab)}`);
      close.addEventListener("click", () => link.send(wire.close(number)));
      item.append(button, close);
      return item;
    }),
  );
  $(`tab-${selected}`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (focused) {
    $(`tab-${selected}`)?.focus();
  }
}

function select(number, focus) {
  selected = number;
  for (const tab of tabs.values()) {
    tab.show(tab.info.shell === number);
  }
  const tab = tabs.get(number);
  if (tab) {
    sessionStorage.setItem("kage-shell", String(number));
    chosenVm = tab.info.vm;
  }
  drawAll();
  if (focus && tab) {
    tab.term.focus();
  }
}

function step(by) {
  const numbers = [...tabs.keys()];
  if (numbers.length > 1) {
    const at = (numbers.indexOf(selected) + by + numbers.length) % numbers.length;
    select(numbers[at], true);
  }
}

function addTab(info) {
  const tab = new Tab(link, info, { theme: themes[theme()], screenReaderMode: reader() });
  tabs.set(info.shell, tab);
  $("terminals").append(tab.panel);
  tab.mount();
  tab.show(false);
  tab.term.attachCustomKeyEventHandler(onTerminalKey);
  tab.term.onResize(drawStatus);
  tab.addEventListener("title", drawTabs);
  tab.addEventListener("selection", drawStatus);
  tab.addEventListener("overflow", () => hint("That is too much to paste at once"));
  return tab;
}

function removeTab(number) {
  const numbers = [...tabs.keys()];
  const at = numbers.indexOf(number);
  tabs.get(number).dispose();
  tabs.delete(number);
  if (selected === number) {
    select(numbers[at + 1] ?? numbers[at - 1] ?? 0, true);
  }
}

// A terminal that is not laid out yet has no size; the one in sight tells.
function openShell(vm) {
  const like = tabs.get(selected)?.term;
  link.send(wire.open(vm, like?.rows ?? 24, like?.cols ?? 80));
}

// ---- drawing

function drawMachines() {
  const select = $("machine");
  const running = state.vms.filter((vm) => vm.state === "running");
  const listed = [...running];
  const chosen = vmOf(chosenVm);
  if (chosen && !running.includes(chosen)) {
    listed.unshift(chosen);
  } else if (!chosen && chosenVm) {
    const name = tabs.get(selected)?.info.name ?? "machine";
    listed.unshift({ id: chosenVm, name, state: "gone" });
  }
  const wanted = listed.map((vm) => [vm.id, `${vm.name} (${vm.id})${vm.state === "running" ? "" : ` – ${vm.state}`}`]);
  const shown = [...select.options].map((o) => [o.value, o.textContent]);
  if (JSON.stringify(wanted) !== JSON.stringify(shown)) {
    select.replaceChildren(...wanted.map(([value, text]) => new Option(text, value)));
  }
  select.value = chosenVm;
  $("new").disabled = $("empty-new").disabled = !link.isUp || vmOf(chosenVm)?.state !== "running";
}

function drawStatus() {
  const tab = tabs.get(selected);
  const vm = vmOf(tab?.info.vm ?? chosenVm);
  const [text, tone] = tab ? shellText(tab.info) : ["", ""];
  if (vm) {
    const why = vm.state !== "running" && vm.reason ? `: ${firstLine(vm.reason)}` : "";
    $("status-machine").textContent = `${vm.name} (${vm.id}) ${vm.state}${tab ? "" : why}`;
  } else {
    $("status-machine").textContent = tab ? `${tab.info.name} (${tab.info.vm}) is gone` : "";
  }
  if ($("status-shell").textContent !== text) {
    $("status-shell").textContent = text;
  }
  $("status-shell").dataset.tone = tone;
  $("status-user").textContent = state.user ? `as ${state.user}` : "";
  $("status-size").textContent = tab ? `${tab.term.cols}×${tab.term.rows}` : "";
  $("copy").disabled = !tab?.term.hasSelection();
  $("paste").disabled = !tab?.alive;
  document.title = tab ? `${label(tab)} – kage` : "kage";
}

function drawEmpty() {
  const vm = vmOf(chosenVm);
  $("empty").hidden = tabs.size > 0;
  $("empty-text").textContent =
    !vm ? "The machine is gone." :
    vm.state === "running" ? `${vm.name} is running.` :
    `${vm.name} has ended${vm.reason ? `: ${firstLine(vm.reason)}` : "."}`;
}

function drawAll() {
  drawTabs();
  drawMachines();
  drawStatus();
  drawEmpty();
}

function notice(title, text, action, run) {
  $("notice").hidden = !title;
  $("notice-title").textContent = title ?? "";
  $("notice-text").textContent = text ?? "";
  $("notice-action").hidden = !action;
  $("notice-action").textContent = action ?? "";
  $("notice-action").onclick = run ?? null;
}

function drawLink(name, text) {
  $("link").dataset.state = name;
  $("link").textContent = text;
}

// ---- what kage web says

// The end is told in the terminal, too. Why a machine went is known a moment after its shells are.
function tellEnd(tab) {
  setTimeout(() => {
    const text = shellText(tab.info)[0].replace(/[^\x20-\x7e]/g, "?");
    tab.term.write(`\r\n\x1b[2m[${text}]\x1b[0m\x1b[?25l\r\n`);
  }, END_TOLD_AFTER_MS);
}

function onState(next) {
  state = next;
  chosenVm ||= state.first;
  const added = [];
  for (const info of state.shells) {
    const tab = tabs.get(info.shell) ?? addTab(info);
    const wasAlive = tab.alive;
    if (tab.info === info) {
      added.push(tab);
    }
    tab.info = info;
    if (wasAlive && !tab.alive) {
      tellEnd(tab);
    }
  }
  for (const number of [...tabs.keys()]) {
    if (!state.shells.some((info) => info.shell === number)) {
      removeTab(number);
    }
  }
  if (firstState) {
    firstState = false;
    if (tabs.size === 0 && vmOf(chosenVm)?.state === "running") {
      openShell(chosenVm);
    }
  }
  if (!tabs.has(selected) && tabs.size > 0) {
    const last = Number(sessionStorage.getItem("kage-shell"));
    select(tabs.has(last) ? last : [...tabs.keys()].at(-1), true);
  }
  for (const tab of added) {
    tab.attach();
  }
  drawAll();
}

link.addEventListener("message", ({ detail: message }) => {
  const tab = tabs.get(message.shell);
  switch (message.type) {
    case wire.STATE:
      onState(message.state);
      break;
    case wire.FROM:
      tab?.from(message);
      break;
    case wire.OUTPUT:
      tab?.output(message);
      break;
    case wire.CREDIT:
      tab?.credit(message.bytes);
      break;
    case wire.OPENED:
      select(message.shell, true);
      break;
    case wire.REFUSED:
      hint(message.text);
      break;
  }
});

link.addEventListener("up", () => {
  notice();
  drawLink("up", "connected");
  for (const tab of tabs.values()) {
    tab.attach();
  }
});

link.addEventListener("down", ({ detail: attempt }) => {
  drawLink("down", attempt > 1 ? "kage web does not answer, trying again" : "reconnecting");
  drawMachines();
});

link.addEventListener("stopped", ({ detail: why }) => {
  drawLink("stopped", "not connected");
  drawMachines();
  if (why === LOCKED) {
    notice(
      "Open the address that kage web printed",
      "It works once, for one browser. Press Enter where kage web runs and it prints a new one.",
    );
  } else {
    notice(
      "These terminals are open in another window",
      "Your shells go on there.",
      "Use them here",
      () => link.connect(),
    );
  }
});

// ---- the keyboard, the mouse, the window

async function copy() {
  const text = tabs.get(selected)?.term.getSelection();
  if (text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      hint("The browser did not let the page copy");
    }
  }
}

// The terminal has the keyboard before the browser has the text, or Enter would press the button.
async function paste() {
  const term = tabs.get(selected)?.term;
  term?.focus();
  try {
    term?.paste(await navigator.clipboard.readText());
  } catch {
    hint("The browser did not let the page paste; use its own paste");
  }
}

const shortcuts = {
  KeyC: copy,
  Enter: () => vmOf(chosenVm)?.state === "running" && openShell(chosenVm),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  F6: () => $(`tab-${selected}`)?.focus(), // the way out for the keyboard, as Tab is the shell's
};

function onTerminalKey(event) {
  if (!event.ctrlKey || !event.shiftKey || event.altKey || event.metaKey) {
    return true;
  }
  if (event.code === "KeyV") {
    return false; // the browser's own paste
  }
  const run = shortcuts[event.code];
  if (run && event.type === "keydown") {
    event.preventDefault();
    run();
  }
  return !run;
}

$("tabs").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    step(event.key === "ArrowLeft" ? -1 : 1);
    $(`tab-${selected}`)?.focus();
  } else if (event.key === "Delete" && tabs.has(selected)) {
    link.send(wire.close(selected));
  }
});

$("new").addEventListener("click", () => openShell(chosenVm));
$("empty-new").addEventListener("click", () => openShell(chosenVm));
$("paste").addEventListener("click", paste);
$("copy").addEventListener("click", copy);
$("theme").addEventListener("click", () => {
  localStorage.setItem("kage-theme", theme() === "dark" ? "light" : "dark");
  applySettings();
});
$("reader").addEventListener("click", () => {
  localStorage.setItem("kage-reader", reader() ? "off" : "on");
  applySettings();
});
// Whoever clicks goes on typing; whoever came by keyboard stays where they are.
for (const id of ["copy", "theme", "reader"]) {
  $(id).addEventListener("click", (event) => event.detail && tabs.get(selected)?.term.focus());
}
system.addEventListener("change", applySettings);

// Choosing a machine goes to a shell on it, the first one if there are several.
$("machine").addEventListener("change", () => {
  chosenVm = $("machine").value;
  const tab = [...tabs.values()].find((t) => t.info.vm === chosenVm && t.alive);
  if (tab) {
    select(tab.info.shell, true);
  } else if (vmOf(chosenVm)?.state === "running") {
    openShell(chosenVm);
  }
});

new ResizeObserver(() => tabs.get(selected)?.fit()).observe($("terminals"));

applySettings();
link.start();
