// The connection to gatewayd: JSON requests that name the person whom the page shows, and the stream of events with a watchdog.
// Without a stream the page polls every few seconds.

import { send } from "/static/http.js";
import { StreamSlot } from "/static/stream-slot.js";

const SILENCE_MS = 40_000; // gatewayd sends a ping every 15 s
const HELLO_MS = 6_000;
const LOOK_MS = 4_000;
const LOOK_HIDDEN_MS = 30_000;
const LONGEST_WAIT_MS = 30_000;
const ASKING_MS = 3_000;

// `name` is the person whom the page shows: gatewayd answers other_login when the browser's cookie belongs to somebody else. null:
// any person.
export const request = (method, what, body, name = null, more = {}) => send(method, address(what, name, more), { body });

function address(what, name, more) {
  const query = new URLSearchParams(name === null ? more : { name, ...more });
  return `/v1/webchat/${what}${query.size ? `?${query}` : ""}`;
}

export function newId() {
  // crypto.randomUUID is not there on plain http, except on localhost
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Callbacks: history(answer), message(line), edit(line), answer(answer), draft(draft), typing(), state(name, why), and
// loggedOut(error) when nobody or another person is logged in: then it has stopped. States: "connecting", "connected",
// "reconnecting", "offline" (the device reports no network).
export class Connection {
  #on;
  #name = null;
  #source = null;
  #slot = new StreamSlot(() => this.#rest());
  #attempt = 0;
  #timer = 0;
  #watchdog = 0;
  #asking = false;
  #askedAt = 0;
  #stopped = true;
  #run = 0; // grows with every start and stop; the results of older runs are ignored

  constructor(on) {
    this.#on = on;
    addEventListener("online", () => this.hurry());
    addEventListener("offline", () => !this.#stopped && this.#lost());
    addEventListener("focus", () => this.hurry());
    addEventListener("pageshow", (event) => event.persisted && this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  // `name` is the person whom the page shows; null: nobody yet, then the person who is logged in.
  start(name = null) {
    this.stop();
    this.#name = name;
    this.#stopped = false;
    this.#attempt = 0;
    this.#on.state("connecting", "");
    this.#connect();
  }

  stop() {
    this.#stopped = true;
    this.#close();
  }

  // Connect now, unless the stream is open or a response is due.
  hurry() {
    if (this.#stopped || this.#source?.readyState === EventSource.OPEN) return;
    if (this.#asking && Date.now() - this.#askedAt < ASKING_MS) return;
    this.#attempt = 0;
    this.#connect();
  }

  // Connect now in any case.
  check() {
    if (!this.#stopped) this.#connect();
  }

  async #connect() {
    this.#close();
    this.#asking = true;
    this.#askedAt = Date.now();
    const run = this.#run;
    let history;
    try {
      history = await request("GET", "history", undefined, this.#name);
    } catch (error) {
      if (run !== this.#run) return;
      this.#asking = false;
      if (error.status !== 401 && error.code !== "other_login") return this.#lost(error.message, error.retryAfterSeconds * 1000);
      this.stop();
      return this.#on.loggedOut(error);
    }
    if (run !== this.#run) return;
    this.#asking = false;
    this.#name = history.name;
    this.#on.history(history);
    if (run !== this.#run) return;
    if (this.#slot.take()) this.#open(history.cursor);
    else this.#rest();
  }

  #open(cursor) {
    const source = new EventSource(address("stream", this.#name, { after: cursor }));
    this.#source = source;
    const listen = (kind, handle) =>
      source.addEventListener(kind, (event) => {
        if (source !== this.#source) return;
        this.#expect(SILENCE_MS, () => this.#lost());
        handle(event.data ? JSON.parse(event.data) : null);
      });
    source.onerror = () => source === this.#source && this.#rest(); // before its hello: refused, or too many streams are open
    listen("hello", () => {
      source.onerror = () => source === this.#source && this.#lost();
      this.#is("connected");
    });
    listen("ping", () => {});
    listen("message", (line) => this.#on.message(line));
    listen("edit", (line) => this.#on.edit(line));
    listen("answer", (answer) => this.#on.answer(answer));
    listen("draft", (draft) => this.#on.draft(draft));
    listen("typing", () => this.#on.typing());
    this.#expect(HELLO_MS, () => this.#rest());
  }

  // Without a stream: gatewayd has just answered; poll again soon.
  #rest() {
    if (this.#stopped) return;
    this.#close();
    this.#is("connected");
    this.#timer = setTimeout(() => this.#connect(), document.hidden ? LOOK_HIDDEN_MS : LOOK_MS);
  }

  #is(state, why = "") {
    this.#attempt = 0;
    this.#on.state(state, why);
  }

  #expect(milliseconds, otherwise) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(otherwise, milliseconds);
  }

  #lost(why = "the connection is lost", atLeastMs = 0) {
    this.#close();
    this.#on.state(navigator.onLine === false ? "offline" : "reconnecting", why);
    const most = Math.min(LONGEST_WAIT_MS, 1000 * 2 ** Math.min(this.#attempt++, 5));
    this.#timer = setTimeout(() => this.#connect(), Math.max(atLeastMs, 200 + Math.random() * most));
  }

  #close() {
    this.#run++;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
    this.#slot.end();
  }
}
