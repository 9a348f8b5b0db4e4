// Requests that wait for an operator. What they hold comes from agents: it is only ever set as text.

const AGAIN_MS = 2_000;
const SILENCE_MS = 40_000; // gatewayd sends a comment every 15 s
const RECENT = 20;
const KEY = "gatewayd-console";

const at = (id) => document.getElementById(id);
let session = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
let shown = new Map(); // id -> its card
let reading = null;
let wanted = false;

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function call(method, path, body) {
  const headers = session ? { Authorization: `Bearer ${session.token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(20_000),
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch { throw new Refused(0, "gatewayd does not answer"); }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new Refused(response.status, answer?.error?.message ?? `gatewayd answered ${response.status}`);
}

function say(state, text) {
  at("state").dataset.state = state;
  at("state").textContent = text;
}

function loggedOut(reason) {
  session = null;
  sessionStorage.removeItem(KEY);
  reading?.abort();
  at("console").hidden = true;
  at("login").hidden = false;
  at("login-reason").textContent = reason;
}

// What cannot be seen is written as its number: nothing may hide in an input or turn it round.
const visible = (text) => text.replace(/[^\P{C}\n]|[\u2028\u2029\u00ad\u115f\u1160\u3164\uffa0\ufe00-\ufe0f]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

function pretty(text) {
  // Keys and numbers as they stand: JSON.parse and back would change big numbers, so only a plain object of texts is laid out.
  try {
    const value = JSON.parse(text);
    const flat = value !== null && typeof value === "object" && !Array.isArray(value) && Object.values(value).every((v) => typeof v === "string");
    return flat && JSON.stringify(value) === text ? JSON.stringify(value, null, 2) : text;
  } catch { return text; }
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function fact(list, name, text) {
  const term = document.createElement("dt"), value = document.createElement("dd");
  term.textContent = name;
  value.textContent = text;
  value.dir = "auto";
  list.append(term, value);
}

function fill(card, approval) {
  card.querySelector(".agent").textContent = visible(approval.agent);
  card.querySelector(".tool").textContent = visible(approval.tool);
  card.querySelector(".input").textContent = visible(pretty(approval.input));
  card.querySelector(".input").setAttribute("aria-label", `Input of ${approval.tool}`);
  const facts = card.querySelector(".facts");
  facts.replaceChildren();
  fact(facts, "Asked", `${clock(approval.created_at)}, in ${visible(approval.origin)}${approval.asked_by ? `, for ${visible(approval.asked_by)}` : ""}`);
  fact(facts, "Expires", clock(approval.expires_at));
  fact(facts, "Id", `${approval.id} (${approval.code})`);
  const votes = approval.votes ?? [], quorum = approval.quorum ?? 1;
  if (quorum > 1) fact(facts, "Allowed by", `${votes.length} of ${quorum}${votes.length ? `: ${votes.map((vote) => visible(vote.by)).join(", ")}` : ""}`);
}

function make(approval) {
  const card = at("card").content.firstElementChild.cloneNode(true);
  card.id = `approval-${approval.id}`;
  for (const button of card.querySelectorAll("button")) {
    const wanted = button.dataset.answer;
    button.setAttribute("aria-label", `${button.textContent}: ${approval.tool}`);
    button.addEventListener("click", () => decide(card, approval, wanted));
  }
  return card;
}

async function decide(card, approval, answer) {
  for (const button of card.querySelectorAll("button")) button.disabled = true;
  const body = { decision: answer === "deny" ? "deny" : "allow", scope: answer === "session" ? "session" : "once" };
  try {
    const row = await call("POST", `/v1/approvals/${encodeURIComponent(approval.id)}`, body);
    card.querySelector(".said").textContent = row.state === "pending" ? "Noted. It waits for more." : "";
    at("news").textContent = `${approval.tool}: ${row.state}`;
  } catch (error) {
    if (error.status === 401) return loggedOut("The login has ended.");
    card.querySelector(".said").textContent = error.message;
    for (const button of card.querySelectorAll("button")) button.disabled = error.status === 409 && !/allow it once/.test(error.message);
  }
  refresh();
}

function showWaiting(rows) {
  const next = new Map();
  for (const row of rows) {
    const card = shown.get(row.id) ?? make(row);
    fill(card, row);
    next.set(row.id, card);
  }
  const fresh = rows.filter((row) => !shown.has(row.id));
  if (fresh.length) at("news").textContent = `New request: ${fresh.map((row) => row.tool).join(", ")}`;
  for (const [id, card] of shown) if (!next.has(id)) card.remove();
  for (const card of next.values()) if (!card.isConnected) at("waiting").append(card);
  shown = next;
  at("none").hidden = rows.length > 0;
  document.title = rows.length ? `(${rows.length}) Approvals – gatewayd` : "Approvals – gatewayd";
}

function showRecent(rows) {
  at("recent").replaceChildren(...rows.filter((row) => row.state !== "pending").slice(0, RECENT).map((row) => {
    const line = document.createElement("li"), outcome = document.createElement("span"), what = document.createElement("code");
    outcome.className = "outcome";
    outcome.dataset.state = row.state;
    outcome.textContent = row.state + (row.scope === "session" ? " for the session" : "");
    what.textContent = visible(`${row.tool} ${row.input}`).slice(0, 300);
    line.append(outcome, ` by ${visible(row.decided_by ?? "nobody")}, ${clock(row.decided_at ?? row.created_at)}: `, what);
    return line;
  }));
}

// One at a time; what changes meanwhile is looked at once more.
let busy = false;
async function refresh() {
  wanted = true;
  if (busy) return;
  busy = true;
  try {
    while (wanted && session) {
      wanted = false;
      const [waiting, all] = await Promise.all([
        call("GET", "/v1/approvals?state=pending&limit=200"), call("GET", "/v1/approvals?state=all&limit=60"),
      ]);
      showWaiting(waiting.approvals);
      showRecent(all.approvals);
      at("trouble").textContent = "";
    }
  } catch (error) {
    if (error.status === 401) loggedOut("The login has ended.");
    else at("trouble").textContent = error.message;
  } finally { busy = false; }
}

// The events as a stream that fetch reads, because an EventSource cannot send a token.
async function follow() {
  while (session) {
    reading = new AbortController();
    let silence = 0;
    const alive = () => { clearTimeout(silence); silence = setTimeout(() => reading.abort(), SILENCE_MS); };
    try {
      alive();
      const response = await fetch("/v1/events?kinds=approval.*", {
        headers: { Authorization: `Bearer ${session.token}` }, cache: "no-store", credentials: "omit", signal: reading.signal,
      });
      if (response.status === 401) return loggedOut("The login has ended.");
      if (response.status === 403) {
        say("connected", "Looking every few seconds");
        await new Promise((done) => setTimeout(done, AGAIN_MS));
        refresh();
        continue;
      }
      if (!response.ok) throw new Refused(response.status, "");
      say("connected", "Live");
      refresh();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        alive();
        if (part.value.includes("data:")) refresh();
      }
    } catch { /* said below */ } finally { clearTimeout(silence); }
    if (!session) return;
    say("reconnecting", "Reconnecting…");
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    refresh();
  }
}

function start() {
  at("login").hidden = true;
  at("console").hidden = false;
  at("name").textContent = session.name;
  follow();
}

async function enter() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (location.hash) history.replaceState(null, "", location.pathname);
  if (code) {
    try {
      session = null;
      session = await call("POST", "/v1/console/login", { code });
      sessionStorage.setItem(KEY, JSON.stringify(session));
    } catch (error) { return loggedOut(error.message); }
  }
  if (session) start(); else loggedOut("");
}

at("logout").addEventListener("click", async () => {
  await call("POST", "/v1/console/logout", {}).catch(() => null);
  loggedOut("You are logged out.");
});
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && session && refresh());
addEventListener("hashchange", enter);
enter();
