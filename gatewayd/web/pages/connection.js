// The wire to gatewayd: JSON requests, and the stream of events with an honest idea of whether it is alive.

const SILENCE_MS = 40_000; // gatewayd sends a ping every 15 s
const LONGEST_WAIT_MS = 30_000;
const REQUEST_MS = 20_000;

export class Refused extends Error {
  constructor(status, message, retryAfterSeconds = 0) {
    super(message);
    this.status = status; // 0: nobody answered
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export async function request(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(REQUEST_MS),
    });
  } catch {
    throw new Refused(0, "gatewayd does not answer");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const message = answer?.error?.message ?? `gatewayd answered ${response.status}`;
  throw new Refused(response.status, message, Number(response.headers.get("Retry-After")) || 0);
}

export function newId() {
  // crypto.randomUUID is not there on plain http, except on localhost
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Calls back: history(answer), message(line), edit(line), answer(answer), draft(draft), typing(), state(name, why), loggedOut().
// States: "connecting" (first time), "connected", "reconnecting", "offline" (the device says that it has no network).
export class Connection {
  #on;
  #source = null;
  #attempt = 0;
  #timer = 0;
  #watchdog = 0;
  #stopped = true;
  #run = 0; // grows with every start and stop: what an older run still awaits is ignored

  constructor(on) {
    this.#on = on;
    addEventListener("online", () => this.#hurry());
    addEventListener("offline", () => !this.#stopped && this.#lost());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  start() {
    this.stop();
    this.#stopped = false;
    this.#attempt = 0;
    this.#on.state("connecting", "");
    this.#connect();
  }

  stop() {
    this.#stopped = true;
    this.#close();
  }

  async #connect() {
    this.#close();
    const run = this.#run;
    let history;
    try {
      history = await request("GET", "/v1/webchat/history");
    } catch (error) {
      if (run !== this.#run) return;
      if (error.status === 401) {
        this.stop();
        this.#on.loggedOut();
      } else {
        this.#lost(error.message, error.retryAfterSeconds * 1000);
      }
      return;
    }
    if (run !== this.#run) return;
    this.#on.history(history);
    this.#open(history.cursor);
  }

  #open(cursor) {
    const source = new EventSource(`/v1/webchat/stream?after=${encodeURIComponent(cursor)}`);
    this.#source = source;
    const listen = (kind, handle) =>
      source.addEventListener(kind, (event) => {
        if (source !== this.#source) return;
        this.#heard();
        handle(event.data ? JSON.parse(event.data) : null);
      });
    source.onerror = () => source === this.#source && this.#lost();
    listen("hello", () => {
      this.#attempt = 0;
      this.#on.state("connected", "");
    });
    listen("ping", () => {});
    listen("message", (line) => this.#on.message(line));
    listen("edit", (line) => this.#on.edit(line));
    listen("answer", (answer) => this.#on.answer(answer));
    listen("draft", (draft) => this.#on.draft(draft));
    listen("typing", () => this.#on.typing());
    this.#heard();
  }

  #heard() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(), SILENCE_MS);
  }

  #lost(why = "the connection is gone", atLeastMs = 0) {
    this.#close();
    this.#on.state(navigator.onLine === false ? "offline" : "reconnecting", why);
    const most = Math.min(LONGEST_WAIT_MS, 1000 * 2 ** Math.min(this.#attempt++, 5));
    this.#timer = setTimeout(() => this.#connect(), Math.max(atLeastMs, 200 + Math.random() * most));
  }

  #hurry() {
    if (this.#stopped || this.#source?.readyState === EventSource.OPEN) return;
    this.#attempt = 0;
    this.#connect();
  }

  #close() {
    this.#run++;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }
}
