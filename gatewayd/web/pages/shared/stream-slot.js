// Which pages of this browser have a stream. Over plain http a browser opens six connections to one place and every stream holds
// one, so that a seventh page would wait for ever: the pages agree on who has a stream, and the others look from time to time.

const MOST = 4; // of all pages of this browser; two connections are left for requests
const HIDDEN_MS = 15_000; // a page that nobody sees lets its stream go after this

export class Turn {
  #id = Math.random();
  #lost;
  #mine = false;
  #wanted = true; // not after it was lost, until somebody looks at this page again
  #newer = new Set(); // the pages that took a stream after this one did
  #timer = 0;
  #others = globalThis.BroadcastChannel ? new BroadcastChannel("gatewayd.streams") : null;

  // `lost()` is called when the stream is to be closed.
  constructor(lost) {
    this.#lost = lost;
    this.#others?.addEventListener("message", ({ data }) => this.#hear(data));
    addEventListener("focus", () => this.#seen());
    addEventListener("pagehide", () => this.end());
    document.addEventListener("freeze", () => this.#lose()); // a frozen page hears nobody
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) return this.#seen();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#lose(), HIDDEN_MS);
    });
  }

  // Whether this page may open a stream now. It calls `end` when it has closed it.
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
