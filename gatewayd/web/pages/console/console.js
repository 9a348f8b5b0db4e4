// The parts that all pages of the console share: the login, requests with its token, the stream of events, and safe texts.

import { HttpError, send } from "./http.js";
import { StreamSlot } from "./stream-slot.js";

const AGAIN_MS = 2_000;
const POLL_MS = 4_000, POLL_HIDDEN_MS = 30_000; // without a stream
const SILENCE_MS = 40_000; // gatewayd sends a comment every 15 s
const LOOK_MS = 300; // at most one look in so long, however many events come
const KEY = "gatewayd-console";
const ENDED = "The login has ended. Ask for a new link: gatewayctl console";

export const at = (id) => document.getElementById(id);
let session = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
let reading = null;
let giving = false; // the stream is closed in favour of another page of this browser
const slot = new StreamSlot(() => {
  giving = true;
  reading?.abort();
});
let ending = 0;

export const may = (scope) => session !== null && (session.scopes.includes(scope) || session.scopes.includes("admin"));

// An ended login shows the login page, and the error is thrown, too.
export async function call(method, path, body) {
  const headers = session ? { Authorization: `Bearer ${session.token}` } : {};
  try {
    return await send(method, path, { body, headers, credentials: "omit" });
  } catch (error) {
    if (error.status === 401 && session) loggedOut(ENDED);
    throw error;
  }
}

// Invisible characters become their numbers: nothing may hide in a text that a person decides about, or reverse it.
export const visible = (text) => text.replace(/[^\P{C}\n]|[\u2028\u2029\u00ad\u115f\u1160\u3164\uffa0\ufe00-\ufe0f]/gu, escaped);

// A name or an input on one line: a line end in it begins no line.
export const oneLine = (text) => visible(text).replaceAll("\n", "\\n");

// For texts that are only read: joined emojis and letters stay joined; characters that reverse a line or control a terminal do not
// work.
export const readable = (text) => text.replace(/(?![\n\t\u200c\u200d])[\p{C}\u2028\u2029]/gu, escaped);

function escaped(char) { return `\\u{${char.codePointAt(0).toString(16)}}`; }

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

export function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Runs `look` once at a time and not too often; a call in the meantime makes it run once more. `look` throws its errors.
export function looker(look) {
  let busy = false, wanted = false;
  return async function refresh() {
    wanted = true;
    if (busy || !session) return;
    busy = true;
    try {
      while (wanted && session) {
        wanted = false;
        await look();
        at("trouble").textContent = "";
        await pause(LOOK_MS);
      }
    } catch (error) {
      if (session) at("trouble").textContent = error.message;
    } finally { busy = false; }
    if (wanted && session) setTimeout(refresh, LOOK_MS);
  };
}

// Starts the page with the code of a link, or with the login of this tab. `start` is called at each login, `refresh` when events of
// these kinds come and when the page is shown again.
export function open({ kinds, start = () => {}, refresh }) {
  const enter = async () => {
    const code = new URLSearchParams(location.hash.slice(1)).get("code");
    if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    if (code) {
      try {
        session = null;
        session = await call("POST", "/v1/console/login", { code });
        sessionStorage.setItem(KEY, JSON.stringify(session));
      } catch (error) { return loggedOut(error.message); }
    }
    if (!session) return loggedOut("");
    clearTimeout(ending);
    ending = setTimeout(() => loggedOut(ENDED), Math.max(0, session.expires_at * 1000 - Date.now()));
    at("login").hidden = true;
    at("console").hidden = false;
    at("name").textContent = session.name;
    document.querySelector(`.pages a[href="${location.pathname}"]`)?.setAttribute("aria-current", "page");
    start();
    follow(kinds, refresh);
  };
  at("logout").addEventListener("click", () => {
    call("POST", "/v1/console/logout", {}).catch(() => null);
    loggedOut("You are logged out."); // before the response: no refresh may start with the token that ends
  });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && session && refresh());
  addEventListener("hashchange", enter);
  enter();
}

function loggedOut(reason) {
  session = null;
  sessionStorage.removeItem(KEY);
  clearTimeout(ending);
  reading?.abort();
  document.querySelector("dialog[open]")?.close();
  at("console").hidden = true;
  at("login").hidden = false;
  at("login-reason").textContent = reason;
}

// Reads the events by fetch, because an EventSource cannot send a token.
async function follow(kinds, refresh) {
  const mine = session;
  reading?.abort();
  while (session === mine) {
    if (!slot.take()) {
      say("connected", "Updated every few seconds");
      refresh();
      await untilSeen(document.hidden ? POLL_HIDDEN_MS : POLL_MS);
      continue;
    }
    giving = false;
    const abort = reading = new AbortController();
    let silence = 0;
    const alive = () => { clearTimeout(silence); silence = setTimeout(() => abort.abort(), SILENCE_MS); };
    try {
      alive();
      const response = await fetch(`/v1/events?kinds=${kinds}`, {
        headers: { Authorization: `Bearer ${mine.token}` }, cache: "no-store", credentials: "omit", signal: abort.signal,
      });
      if (response.status === 401) return loggedOut(ENDED);
      if (response.status === 403) {
        say("connected", "Updated every few seconds");
        refresh();
        await pause(AGAIN_MS);
        continue;
      }
      if (!response.ok) throw new HttpError(response.status, "");
      say("connected", "Live");
      refresh();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        alive();
        if (part.value.includes("data:")) refresh();
      }
    } catch { /* reported below */ } finally {
      clearTimeout(silence);
      slot.end();
    }
    if (session !== mine) return;
    if (giving) continue;
    say("reconnecting", "Reconnecting…");
    await pause(AGAIN_MS);
    refresh();
  }
}

function say(state, text) {
  at("state").dataset.state = state;
  at("state").textContent = text;
}

// A pause that ends early when the page is shown.
async function untilSeen(milliseconds) {
  const over = new AbortController(), { signal } = over;
  await new Promise((done) => {
    setTimeout(done, milliseconds);
    addEventListener("focus", done, { signal });
    document.addEventListener("visibilitychange", done, { signal });
  });
  over.abort();
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
