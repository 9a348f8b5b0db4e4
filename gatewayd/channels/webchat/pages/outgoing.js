// Messages that are not stored yet. The page makes the id of each, and gatewayd stores an id once: so a message is posted again until
// there is a response, also after a reload. They are posted one after the other, to keep their order.

import { newId, request } from "./connection.js";
import { make, note } from "./conversation.js";

const MOST = 50; // waiting messages
const AGAIN_MS = 5_000;
const KNOWN_MS = 86_400_000; // gatewayd remembers an id for two days at least
const NEVER = [400, 413, 415]; // these statuses are final; after any other the message is posted again

// Callbacks: taken() when gatewayd has stored one, and loggedOut(error) when nobody or another person is logged in.
export class Outgoing {
  #conversation;
  #on;
  #name = null;
  #messages = new Map(); // id -> { id, text, at, why, sent, bubble }; `why` it is not posted by itself any more
  #busy = false;
  #timer = 0;

  constructor(conversation, on) {
    this.#conversation = conversation;
    this.#on = on;
    addEventListener("storage", ({ key, newValue }) => {
      // another page has posted or discarded it
      if (newValue === null && key?.startsWith(this.#key(""))) this.#forget(key.slice(this.#key("").length));
    });
  }

  // Work for `name` from now on, with the messages that an earlier page left in the storage.
  open(name) {
    if (name === this.#name) return;
    this.close();
    this.#name = name;
    for (const message of stored(this.#key(""))) {
      if (Date.now() - message.at > KNOWN_MS) message.why ||= `This has waited since ${new Date(message.at).toLocaleString()}; perhaps it was sent.`;
      this.#show(message);
    }
  }

  // Show no messages; they stay in the storage for their person.
  close() {
    clearTimeout(this.#timer);
    for (const { bubble } of this.#messages.values()) bubble.remove();
    this.#messages.clear();
    this.#name = null;
  }

  erase() {
    for (const { id } of stored(this.#key(""))) localStorage.removeItem(this.#key(id));
    this.close();
  }

  // False: too many wait already.
  add(text) {
    if ([...this.#messages.values()].filter((message) => !message.sent).length >= MOST) return false;
    const last = [...this.#messages.values()].at(-1)?.at ?? 0;
    const message = { id: newId(), text, at: Math.max(Date.now(), last + 1), why: "" };
    this.#show(message);
    this.#save(message);
    this.hurry();
    return true;
  }

  // gatewayd has stored the line of one of these messages.
  arrived({ client }) {
    if (this.#messages.has(client)) this.#done(client);
  }

  // The history is complete: the messages that gatewayd has stored are in it, or too old for it.
  caughtUp() {
    for (const message of [...this.#messages.values()]) {
      if (message.seen) this.#forget(message.id);
      message.seen = message.sent; // a message stored just now may be newer than the history
    }
  }

  async hurry() {
    if (this.#busy) return;
    clearTimeout(this.#timer);
    this.#busy = true;
    const name = this.#name;
    let next;
    while (name === this.#name && (next = this.#next()) && (await this.#post(next, name))) {}
    this.#busy = false;
    if (name !== this.#name) this.hurry();
  }

  #next() {
    return [...this.#messages.values()].find(({ sent, why }) => !sent && !why);
  }

  // Whether to post the next message.
  async #post(message, name) {
    const { id, text } = message;
    try {
      await request("POST", "messages", { id, text }, name);
    } catch (error) {
      if (name !== this.#name || this.#messages.get(id) !== message || message.sent) return true;
      if (NEVER.includes(error.status)) return this.#stop(message, `Not sent: ${error.message}.`);
      this.#wait(error);
      if (error.status === 401 || error.code === "other_login") this.#on.loggedOut(error);
      return false;
    }
    localStorage.removeItem(keyOf(name, id));
    message.sent = true;
    this.#on.taken();
    return true;
  }

  #wait(error) {
    for (const message of this.#messages.values()) {
      if (!message.sent && !message.why) this.#mark(message, "waiting", `Waiting to be sent: ${error.message}.`);
    }
    this.#timer = setTimeout(() => this.hurry(), Math.max(AGAIN_MS, error.retryAfterSeconds * 1000));
  }

  // The message waits for the person: Retry or Discard.
  #stop(message, why) {
    message.why = why;
    this.#save(message);
    const retry = make("button", { type: "button", textContent: "Retry" });
    const discard = make("button", { type: "button", textContent: "Discard" });
    retry.addEventListener("click", () => this.#retry(message));
    discard.addEventListener("click", () => this.#done(message.id));
    this.#mark(message, "unsent", why, retry, discard).setAttribute("role", "alert");
    return true;
  }

  #retry(message) {
    message.why = "";
    this.#save(message);
    this.#mark(message, "sending");
    this.hurry();
  }

  #show(message) {
    this.#messages.set(message.id, message);
    message.bubble = this.#conversation.addOutgoing(message.text);
    if (message.why) this.#stop(message, message.why);
    else this.#mark(message, "sending");
  }

  #mark({ bubble }, state, ...words) {
    bubble.classList.remove("sending", "waiting", "unsent");
    bubble.classList.add(state);
    return note(bubble, ...words);
  }

  #done(id) {
    localStorage.removeItem(this.#key(id));
    this.#forget(id);
  }

  #forget(id) {
    this.#messages.get(id)?.bubble.remove();
    this.#messages.delete(id);
  }

  #save({ id, text, at, why }) {
    try {
      localStorage.setItem(this.#key(id), JSON.stringify({ id, text, at, why }));
    } catch {
      // the storage is full or forbidden: the page works without it
    }
  }

  #key(id) {
    return keyOf(this.#name, id);
  }
}

const keyOf = (name, id) => `gatewayd.unsent.${name}.${id}`; // a name has no dot in it

// The stored messages under this prefix, in the order in which they were written.
function stored(prefix) {
  const found = [];
  for (const key of Object.keys(localStorage).filter((key) => key.startsWith(prefix))) {
    try {
      const { id, text, at, why } = JSON.parse(localStorage.getItem(key));
      found.push({ id: String(id), text: String(text), at: Number(at), why: String(why) });
    } catch {
      localStorage.removeItem(key); // not ours
    }
  }
  return found.sort((one, other) => one.at - other.at);
}
