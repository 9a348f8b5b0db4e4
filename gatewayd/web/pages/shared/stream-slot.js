// The slots for event streams of this browser. Over plain HTTP a browser opens six connections to one server, and each stream holds
// one, so a seventh page would wait for ever. The pages agree on which of them have a stream; the others poll.

const MOST = 4; // streams of all pages of this browser; two connections remain for requests
const HIDDEN_MS = 15_000; // a hidden page gives its slot back after this time

export class StreamSlot {
  #id = Math.random();
  #lost;
  #mine = false;
  #wanted = true; // false from the loss of the slot until the page is shown again
  #newer = new Set(); // the pages that took a stream after this one did
  #timer = 0;
  #others = globalThis.BroadcastChannel ? new BroadcastChannel("gatewayd.streams") : null;

  // `lost()` is called when the page must close its stream.
  constructor(lost) {
    this.#lost = lost;
    this.#others?.addEventListener("message", ({ data }) => this.#hear(data));
    addEventListener("focus", () => this.#seen());
    addEventListener("pagehide", () => this.end());
    document.addEventListener("freeze", () => this.#lose()); // a frozen page gets no messages
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) return this.#seen();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#lose(), HIDDEN_MS);
    });
  }

  // Whether this page may open a stream now. It calls `end` after closing it.
  take() {
    if (document.hidden || !this.#wanted) return false;
    if (!this.#mine) {
      this.#mine = true;
      this.#newer.clear();
      this.#others?.postMessage({ took: this.#id });
    }
    return true;
  }

  end() {
    if (!this.#mine) return;
    this.#mine = false;
    this.#others?.postMessage({ ended: this.#id });
  }

  #seen() {
    clearTimeout(this.#timer);
    this.#wanted = true;
  }

  #lose() {
    if (!this.#mine) return;
    this.#wanted = false;
    this.end();
    this.#lost();
  }

  #hear({ took, ended }) {
    this.#newer.delete(ended);
    if (took !== undefined) this.#newer.add(took);
    if (this.#newer.size >= MOST) this.#lose();
  }
}
