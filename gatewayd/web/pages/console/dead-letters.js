// Dead letters: messages and replies that wait for a person. Their texts come from outside: they are only set as text.

import { at, call, count, looker, make, may, open, readable } from "./console.js";

const PAGE = 100, MOST = 500, EXCERPT = 200, REFS_NAMED = 5, LONG = 10_000;
const WHAT = {
  "in dead": "message given up", "out dead": "reply refused",
  "out unknown": "reply perhaps delivered", "out parked": "reply too old to be sent",
};
const EFFECT = {
  retry: "A message runs again as a new turn, a reply is sent again.",
  drop: "They are neither run nor sent any more. Their trace stays.",
};
let shown = new Map(); // ref -> its item, in the order of the page
let deadLetters = new Map(); // ref -> the dead letter
let chosen = new Set();
let limit = PAGE;
let more = false;
let working = false;

const kindOf = (deadLetter) => `${deadLetter.direction} ${deadLetter.state}`;
const day = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "short" });
const time = (seconds) => make("time", day.format(seconds * 1000), { datetime: new Date(seconds * 1000).toISOString() });

function filter() {
  const [direction, state] = at("kind").value.split(" ");
  const wanted = { direction, state, channel: at("channel").value, account: at("account").value };
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value));
}

const refresh = looker(async () => {
  const page = await call("GET", `/v1/dead-letters?${new URLSearchParams({ ...filter(), limit })}`);
  more = page.next !== null;
  showCounts(page.counts);
  showDeadLetters(page.dead_letters);
  fillAccounts(page.dead_letters);
});

function showCounts(counts) {
  const parts = [
    [counts.in_dead, "message given up", "messages given up"], [counts.out_dead, "reply refused", "replies refused"],
    [counts.out_unknown, "reply perhaps delivered", "replies perhaps delivered"],
    [counts.out_parked, "reply too old to be sent", "replies too old to be sent"],
  ].filter(([number]) => number).map(([number, one, many]) => count(number, one, many));
  const text = parts.length ? `In all: ${parts.join(", ")}.` : "";
  if (at("summary").textContent !== text) at("summary").textContent = text; // a screen reader says it again only when it is new
  const all = counts.in_dead + counts.out_dead + counts.out_unknown + counts.out_parked;
  document.title = all ? `(${all}) Dead letters – gatewayd` : "Dead letters – gatewayd";
}

function showDeadLetters(rows) {
  deadLetters = new Map(rows.map((row) => [row.ref, row]));
  chosen = new Set([...chosen].filter((ref) => deadLetters.has(ref)));
  for (const [ref, item] of shown) if (!deadLetters.has(ref)) remove(ref, item);
  let before = null;
  for (const row of rows) {
    const item = shown.get(row.ref) ?? makeItem(row.ref);
    shown.set(row.ref, item);
    fill(item, row);
    const place = before ? before.nextElementSibling : at("dead-letters").firstElementChild;
    if (place !== item) at("dead-letters").insertBefore(item, place);
    before = item;
  }
  at("none").hidden = rows.length > 0;
  at("more").hidden = !more || limit >= MOST;
  at("too-many").hidden = !more || limit < MOST;
  showChosen();
}

// If the removed item has the focus, the next dead letter gets it.
function remove(ref, item) {
  if (item.contains(document.activeElement)) (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("input").focus();
  item.remove();
  shown.delete(ref);
}

function makeItem(ref) {
  const item = at("dead-letter").content.firstElementChild.cloneNode(true);
  const [box, button, link] = [item.querySelector("input"), item.querySelector("button"), item.querySelector("a")];
  item.id = `dead-letter-${ref}`;
  item.querySelector(".pick span").textContent = `Choose ${ref}`;
  box.addEventListener("change", () => { if (box.checked) chosen.add(ref); else chosen.delete(ref); showChosen(); });
  button.setAttribute("aria-label", `Show the text of ${ref}`);
  button.addEventListener("click", () => toggle(item, button, ref));
  link.href = `/trace?id=${encodeURIComponent(ref)}`;
  link.setAttribute("aria-label", `The trace of ${ref}`);
  return item;
}

function fill(item, row) {
  if (item.dataset.row === JSON.stringify(row)) return;
  item.dataset.row = JSON.stringify(row);
  item.dataset.state = row.state;
  item.querySelector(".ref").textContent = row.ref;
  item.querySelector(".badge").textContent = WHAT[kindOf(row)] ?? row.state;
  item.querySelector(".reason-of").textContent = readable([row.reason, row.detail].filter(Boolean).join(": "));
  item.querySelector(".excerpt").textContent = readable(row.excerpt).slice(0, EXCERPT) || "(no text)";
  const facts = item.querySelector(".facts-of");
  facts.replaceChildren(time(row.ended_at ?? row.at));
  const said = [`${row.channel}/${row.account}`, row.peer, row.sender ? `from ${row.sender}` : "", count(row.attempts, "try", "tries")];
  if (row.retries) said.push(`retried ${count(row.retries, "time")}`);
  for (const text of said.filter(Boolean)) facts.append(" · ", make("bdi", readable(text)));
}

async function toggle(item, button, ref) {
  const whole = item.querySelector(".whole");
  const opening = whole.hidden;
  button.setAttribute("aria-expanded", String(opening));
  button.textContent = opening ? "Hide text" : "Show text";
  whole.hidden = !opening;
  if (!opening) return whole.replaceChildren();
  whole.replaceChildren(make("p", "Loading…", { class: "small" }));
  try {
    const answer = await call("GET", `/v1/dead-letters/${encodeURIComponent(ref)}`);
    // Chromium takes seconds to lay out a long text whose lines each have their own direction.
    const dir = answer.text.length > LONG ? "ltr" : "auto";
    const text = make("pre", readable(answer.text) || "(no text)", { tabindex: "0", dir, "aria-label": `Text of ${ref}` });
    whole.replaceChildren(text);
    if (!answer.can_retry) whole.append(make("p", `It cannot be retried: ${readable(answer.why_not ?? "no reason is given")}.`, { class: "small" }));
  } catch (error) { whole.replaceChildren(make("p", error.message, { class: "small" })); }
}

// The channels and accounts of the filters: those of the configuration, and those of the dead letters.
const accountsOf = new Map(); // channel -> its accounts
function fillAccounts(rows) {
  for (const row of rows) note(row.channel, row.account);
  const channel = at("channel").value;
  options(at("channel"), [...accountsOf.keys()]);
  options(at("account"), channel ? [...(accountsOf.get(channel) ?? [])] : [...new Set([...accountsOf.values()].flatMap((names) => [...names]))]);
}

function note(channel, account) {
  if (!accountsOf.has(channel)) accountsOf.set(channel, new Set());
  accountsOf.get(channel).add(account);
}

function options(select, values) {
  const now = select.value, wanted = ["", ...values.sort()];
  if (now && !wanted.includes(now)) wanted.push(now);
  if (wanted.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  select.replaceChildren(...wanted.map((value) => make("option", value ? readable(value) : "All", { value })));
  select.value = now;
}

function showChosen() {
  const admin = may("admin"), every = at("every").checked && more;
  for (const [ref, item] of shown) item.querySelector("input").checked = chosen.has(ref);
  at("all").checked = chosen.size > 0 && chosen.size === deadLetters.size;
  at("all").indeterminate = chosen.size > 0 && chosen.size < deadLetters.size;
  at("all").disabled = deadLetters.size === 0;
  at("beyond").hidden = !more || !at("all").checked || !admin;
  if (at("beyond").hidden) at("every").checked = false;
  at("chosen").textContent = at("every").checked && every ? "All that match are chosen" : chosen.size ? `${chosen.size} chosen` : "";
  at("orders").hidden = !admin;
  at("only-look").hidden = admin;
  for (const id of ["retry", "drop"]) at(id).disabled = chosen.size === 0 || working;
}

function ask(action) {
  const every = at("every").checked, picked = [...chosen].map((ref) => deadLetters.get(ref));
  const name = every ? "all dead letters that match" : count(picked.length, "dead letter");
  const verb = action === "retry" ? "Retry" : "Drop";
  const kinds = new Map();
  for (const deadLetter of picked) kinds.set(kindOf(deadLetter), (kinds.get(kindOf(deadLetter)) ?? 0) + 1);
  const unknown = kinds.get("out unknown") ?? 0;
  at("question").textContent = `${verb} ${name}?`;
  at("breakdown").replaceChildren(...[...kinds].map(([kind, number]) => make("li", `${number} × ${WHAT[kind] ?? kind}`)));
  if (every) at("breakdown").append(make("li", "and all that are not shown"));
  at("twice").hidden = action !== "retry" || !(unknown || every);
  at("twice").textContent = risk(every, unknown, picked.length);
  at("effect").textContent = EFFECT[action];
  at("do-it").textContent = verb;
  at("note").value = "";
  at("confirm").returnValue = "no";
  at("confirm").showModal();
  at("confirm").onclose = () => {
    at(action).focus();
    if (at("confirm").returnValue === "yes") repair(action, every ? null : picked.map((deadLetter) => deadLetter.ref), at("note").value.trim());
  };
}

function risk(every, unknown, all) {
  if (every) return "Replies that were perhaps delivered may be seen twice. Look into the chats first.";
  if (all === 1) return "This reply was perhaps delivered already: sent again, it may be seen twice. Look into the chat first.";
  const which = unknown === all ? "These replies were" : `${unknown} of these ${unknown === 1 ? "was" : "were"}`;
  return `${which} perhaps delivered already: what is sent again may be seen twice. Look into the chats first.`;
}

// Repairs all chosen ones, a limited number with each call. The result is reported even when a call fails.
async function repair(action, refs, why) {
  const body = { action, ...(why ? { note: why } : {}), ...(refs ? { refs } : { filter: filter() }) };
  const done = action === "retry" ? "retried" : "dropped", skipped = new Map();
  let number = 0, after = null;
  working = true;
  showChosen();
  try {
    do {
      const answer = await call("POST", "/v1/dead-letters", after === null ? body : { ...body, after });
      number += answer.done;
      for (const one of answer.skipped) skipped.set(one.ref, one.why);
      after = !refs && answer.more && answer.next !== after ? answer.next : null;
      report(`${count(number, "dead letter")} ${done}${after === null ? "." : " so far…"}`, skipped);
    } while (after !== null);
    chosen.clear();
  } catch (error) {
    report(`It stopped after an error: ${count(number, "dead letter")} ${done}. ${error.message}`, skipped);
  } finally {
    working = false;
    showChosen();
    refresh();
  }
}

function report(text, skipped) {
  const reasons = new Map();
  for (const [ref, why] of skipped) reasons.set(why, [...(reasons.get(why) ?? []), ref]);
  at("result").replaceChildren(make("p", text), ...[...reasons].map(([why, refs]) => {
    const others = refs.length > REFS_NAMED ? ` and ${refs.length - REFS_NAMED} more` : "";
    return make("p", `Skipped: ${refs.slice(0, REFS_NAMED).join(", ")}${others}: ${readable(why)}`);
  }));
}

async function start() {
  showChosen();
  try {
    const { accounts } = await call("GET", "/v1/channels");
    for (const one of accounts) note(one.channel, one.account);
    fillAccounts([]);
  } catch { /* the filters still have the accounts of the dead letters */ }
}

for (const id of ["kind", "channel", "account"]) {
  at(id).addEventListener("change", () => {
    if (id === "channel") at("account").value = "";
    chosen.clear();
    limit = PAGE;
    fillAccounts([]);
    refresh();
  });
}
at("filters").addEventListener("submit", (event) => event.preventDefault());
at("all").addEventListener("change", () => { chosen = new Set(at("all").checked ? deadLetters.keys() : []); showChosen(); });
at("every").addEventListener("change", showChosen);
at("retry").addEventListener("click", () => ask("retry"));
at("drop").addEventListener("click", () => ask("drop"));
at("show-more").addEventListener("click", () => { limit = Math.min(MOST, limit + PAGE); refresh(); });
open({ kinds: "dead_letter.*,inbound.dead,outbound.dead,outbound.unknown,outbound.parked", start, refresh });
