// One shell: its terminal, and the bookkeeping that keeps both sides in bounds.
import { FitAddon } from "./addon-fit.mjs";
import { Terminal } from "./xterm.mjs";
import * as wire from "./wire.js";

const ACK_EVERY = 32 * 1024;
const PASTE_MAX = 4 * 1024 * 1024;
const TITLE_MAX = 60;
const encoder = new TextEncoder();

export class Tab extends EventTarget {
  title = "";
  info; // as kage web told it last
  panel;
  term;
  #link;
  #fit = new FitAddon();
  #offset = 0; // of the output that came
  #shown = 0; // of the output that the terminal has worked off
  #acked = 0;
  #live = 0; // output before this is history: what it asks for has been answered long ago
  #credit = 0;
  #waiting = []; // input that there is no credit for
  #waitingBytes = 0;

  constructor(link, info, options) {
    super();
    this.#link = link;
    this.info = info;
    this.panel = document.createElement("section");
    this.panel.className = "pane";
    this.panel.id = `terminal-${info.shell}`;
    this.panel.setAttribute("role", "tabpanel");
    this.panel.setAttribute("aria-labelledby", `tab-${info.shell}`);
    this.term = new Terminal({
      cursorBlink: true,
      fontFamily: 'ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
      fontSize: 14,
      lineHeight: 1.15,
      minimumContrastRatio: 4.5,
      scrollback: 10000,
      ...options,
    });
    this.term.loadAddon(this.#fit);
    this.term.onData((text) => this.#type(encoder.encode(text)));
    this.term.onBinary((text) => this.#type(Uint8Array.from(text, (c) => c.charCodeAt(0) & 0xff)));
    this.term.onResize(({ rows, cols }) => this.#link.send(wire.resize(info.shell, rows, cols)));
    this.term.onTitleChange((title) => {
      this.title = title.slice(0, TITLE_MAX);
      this.dispatchEvent(new Event("title"));
    });
    this.term.onSelectionChange(() => this.dispatchEvent(new Event("selection")));
  }

  // To be called when the panel is in the page.
  mount() {
    this.term.open(this.panel);
  }

  show(visible) {
    this.panel.hidden = !visible;
    if (visible) {
      this.fit();
    }
  }

  fit() {
    if (!this.panel.hidden && this.panel.clientHeight > 0) {
      this.#fit.fit();
    }
  }

  attach() {
    this.#link.send(wire.attach(this.info.shell, this.#offset));
    this.#link.send(wire.resize(this.info.shell, this.term.rows, this.term.cols));
  }

  get alive() {
    return this.info.state === "starting" || this.info.state === "running";
  }

  // ---- output

  from(message) {
    // A terminal that had nothing yet gets history, and so does one that begins again.
    const history = message.reset || message.offset === 0;
    if (message.reset) {
      this.term.reset();
    }
    this.#offset = message.offset;
    this.#shown = message.offset;
    this.#acked = message.offset;
    this.#live = history ? message.live : message.offset;
    this.#credit = message.credit;
    this.#flush();
  }

  output(message) {
    if (message.offset !== this.#offset) {
      return; // left over from before an attachment
    }
    this.#offset += message.data.length;
    const upTo = this.#offset;
    this.term.write(message.data, () => this.#onShown(upTo));
  }

  #onShown(upTo) {
    this.#shown = upTo;
    if (upTo - this.#acked >= ACK_EVERY) {
      this.#acked = upTo;
      this.#link.send(wire.ack(this.info.shell, upTo));
    }
  }

  // ---- input

  credit(bytes) {
    this.#credit += bytes;
    this.#flush();
  }

  #type(bytes) {
    if (!this.alive || !this.#link.isUp || this.#shown < this.#live) {
      return;
    }
    // An interrupt is meant for what runs now: it does not queue behind a paste.
    if (bytes.length === 1 && bytes[0] === 3) {
      this.#waiting = [];
      this.#waitingBytes = 0;
    }
    if (this.#waitingBytes + bytes.length > PASTE_MAX) {
      this.dispatchEvent(new Event("overflow"));
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#flush();
  }

  #flush() {
    while (this.#credit > 0 && this.#waiting.length > 0) {
      const first = this.#waiting[0];
      const part = first.subarray(0, this.#credit);
      if (part.length === first.length) {
        this.#waiting.shift();
      } else {
        this.#waiting[0] = first.subarray(part.length);
      }
      this.#waitingBytes -= part.length;
      this.#credit -= part.length;
      this.#link.send(wire.input(this.info.shell, part));
    }
  }

  dispose() {
    this.term.dispose();
    this.panel.remove();
  }
}
