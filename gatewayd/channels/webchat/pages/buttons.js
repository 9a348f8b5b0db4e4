// Button presses until their response. The page makes the id of a press, so that posting it twice is one press, and so that the
// response, which comes by the stream, is shown on this page only.

import { newId, request } from "./connection.js";

const TRIES = 4;
const ANSWER_MS = 10_000; // a response can get lost: then the buttons work again

// Callbacks: tell(words), fail(words), shown() (the name of the person whom the page shows), and loggedOut(error) when nobody or
// another person is logged in.
export class Buttons {
  #on;
  #waiting = new Map(); // press id -> { button, timer }

  constructor(on) {
    this.#on = on;
  }

  async press(line, data, button) {
    const group = button.closest(".choices");
    if (group.getAttribute("aria-busy") === "true") return;
    const id = newId();
    this.#hold(id, button);
    this.#on.tell("");
    this.#on.fail("");
    try {
      await post({ id, line, data }, this.#on.shown());
      const held = this.#waiting.get(id); // gone when the response was quicker
      if (held) held.timer = setTimeout(() => this.#release(id), ANSWER_MS);
    } catch (error) {
      this.#release(id);
      if (error.status === 401 || error.code === "other_login") this.#on.loggedOut(error);
      else this.#on.fail(`The button did not work: ${error.message}.`);
    }
  }

  answer({ press, text }) {
    if (!this.#waiting.has(press)) return; // another page's
    this.#release(press);
    this.#on.tell(text);
  }

  // The buttons keep the focus, and are marked as disabled.
  #hold(id, button) {
    this.#waiting.set(id, { button, timer: 0 });
    dress(button, true);
  }

  #release(id) {
    const { button, timer } = this.#waiting.get(id) ?? {};
    if (!button) return;
    clearTimeout(timer);
    this.#waiting.delete(id);
    dress(button, false);
  }
}

function dress(button, busy) {
  const group = button.closest(".choices");
  group.setAttribute("aria-busy", String(busy));
  button.classList.toggle("pressed", busy);
  for (const other of group.querySelectorAll("button")) other.setAttribute("aria-disabled", String(busy));
}

async function post(body, name) {
  for (let tries = 1; ; tries++) {
    try {
      return await request("POST", "presses", body, name);
    } catch (error) {
      if (tries === TRIES || ![0, 429, 503].includes(error.status)) throw error;
      await new Promise((done) => setTimeout(done, 1000 * Math.max(1, Math.min(5, error.retryAfterSeconds))));
    }
  }
}
