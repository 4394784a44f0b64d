// A WebSocket that comes back by itself.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
// The server ended the socket of a person who signed out, in whichever tab.
const SIGNED_OUT = 4401;
// A connection that held this long was a good one: the next loss starts with short delays again.
const SETTLED_MS = 5_000;

export function delayBeforeTry(tries, random = Math.random) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** tries);
  // Half of it is chance, so that a thousand pages do not all come back at once.
  return ceiling / 2 + random() * (ceiling / 2);
}

/**
 * Calls back `onState("connecting" | "live" | "lost", detail)` and `onMessage(object)`.
 * `address()` is asked before every try. `onRefused()` runs when a try never opened, or when the person signed
 * out; it may answer (a promise of) true to stop for good.
 */
export class ReconnectingSocket {
  constructor({ address, onState, onMessage, onRefused }) {
    Object.assign(this, { address, onState, onMessage, onRefused });
    this.tries = 0;
    this.timer = null;
    this.stopped = false;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    this.open();
  }

  get live() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(content) {
    this.socket.send(JSON.stringify(content));
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    this.onState("connecting", "");
    const socket = new WebSocket(this.address());
    this.socket = socket;
    let openedAt = 0;
    socket.addEventListener("open", () => {
      openedAt = Date.now();
      this.onState("live", "");
    });
    socket.addEventListener("message", (event) => this.onMessage(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.closed(openedAt, event.code));
  }

  async closed(openedAt, code) {
    if (openedAt && Date.now() - openedAt > SETTLED_MS) this.tries = 0;
    const delay = delayBeforeTry(this.tries);
    this.tries += 1;
    if ((!openedAt || code === SIGNED_OUT) && (await this.onRefused())) {
      this.stopped = true;
      return;
    }
    this.onState("lost", `trying again in ${Math.max(1, Math.round(delay / 1000))} s`);
    this.timer = setTimeout(() => this.open(), delay);
  }

  // The network is back, or the person is looking: do not let them wait.
  hurry() {
    if (this.timer !== null && !this.stopped) this.open();
  }
}
