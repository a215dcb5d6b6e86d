// The way to kage web: gets in, connects, and comes back after an interruption.
import * as wire from "./wire.js";

const STORED_KEY = "kage-key";
const RETRY_MS = [250, 500, 1000, 2000, 3000];

// What is wrong, for the notice that covers the page.
export const LOCKED = "locked";
export const TAKEN = "taken";

export class Link extends EventTarget {
  #socket = null;
  #attempt = 0;
  #timer = 0;
  #stopped = false;

  async start() {
    const secret = location.hash.slice(1);
    if (/^[0-9a-f]{64}$/.test(secret)) {
      // Gone from the address before anything else, so that it stays in no history or bookmark.
      history.replaceState(null, "", location.pathname);
      await this.#exchange(secret);
    }
    this.connect();
  }

  // A secret that was used before is not the end: this browser may be the one that used it.
  async #exchange(secret) {
    try {
      const response = await fetch("/session", {
        method: "POST",
        headers: { Authorization: `Bearer ${secret}` },
      });
      if (response.ok) {
        localStorage.setItem(STORED_KEY, await response.text());
      }
    } catch {
      // Not reachable: connect() says so and tries again.
    }
  }

  async connect() {
    clearTimeout(this.#timer);
    this.#stopped = false;
    const key = localStorage.getItem(STORED_KEY);
    try {
      const response = await fetch("/session");
      if (!key || response.status === 403) {
        this.#stop(LOCKED);
        return;
      }
    } catch {
      this.#retry();
      return;
    }
    const socket = new WebSocket(`ws://${location.host}/socket`);
    let welcome = false;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => socket.send(wire.key(key)));
    socket.addEventListener("message", (event) => {
      const message = wire.decode(event.data);
      if (!welcome) {
        welcome = true;
        this.#attempt = 0;
        this.#socket = socket;
        this.dispatchEvent(new Event("up"));
      }
      if (message.type === wire.TAKEN) {
        this.#stop(TAKEN);
      } else {
        this.dispatchEvent(new CustomEvent("message", { detail: message }));
      }
    });
    socket.addEventListener("close", () => {
      this.#socket = null;
      if (!this.#stopped) {
        this.#retry();
      }
    });
  }

  #stop(why) {
    this.#stopped = true;
    this.dispatchEvent(new CustomEvent("stopped", { detail: why }));
  }

  #retry() {
    const delay = RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)];
    this.#attempt += 1;
    this.dispatchEvent(new CustomEvent("down", { detail: this.#attempt }));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.connect(), delay);
  }

  get isUp() {
    return this.#socket !== null;
  }

  send(bytes) {
    this.#socket?.send(bytes);
  }
}
