// The trace of one message. Its texts come from outside: they are only set as text.

import { at, call, looker, make, open, readable } from "./console.js";

const FOUND = 30, DETAIL = 4_000;
const day = new Intl.DateTimeFormat([], { dateStyle: "full" });
const clock = new Intl.DateTimeFormat([], { timeStyle: "medium" });
const asked = () => new URLSearchParams(location.search).get("id") ?? "";

const refresh = looker(async () => {
  const id = asked();
  if (!id) return show(null);
  try {
    const trace = await call("GET", `/v1/messages/${id.split("/").map(encodeURIComponent).join("/")}`);
    if (id === asked()) show(trace);
  } catch (error) {
    if (error.status === 404 && id === asked()) show(null);
    throw error;
  }
});

function show(trace) {
  at("trace").hidden = trace === null;
  document.title = trace ? `${readable(trace.id)} – Trace – gatewayd` : "Trace – gatewayd";
  if (trace === null) return;
  const verdict = readable(trace.verdict);
  if (at("verdict").textContent !== verdict) at("verdict").textContent = verdict;
  at("found").replaceChildren("Of ", ...trace.found.slice(0, FOUND).flatMap((ref, index) => [index ? ", " : "", link(ref)]));
  if (trace.found.length > FOUND) at("found").append(` and ${trace.found.length - FOUND} more`);
  at("more").hidden = !trace.more;
  const written = JSON.stringify(trace.entries);
  if (at("entries").dataset.written === written) return;
  at("entries").dataset.written = written;
  at("entries").replaceChildren(...rows(trace.entries));
}

function rows(entries) {
  let date = "", before = null;
  return entries.flatMap((entry) => {
    const today = day.format(entry.at * 1000), items = [];
    if (today !== date) items.push(make("li", today, { class: "day-of" }));
    items.push(row(entry, before === null ? "" : gap(entry.at - before)));
    [date, before] = [today, entry.at];
    return items;
  });
}

function row(entry, after) {
  const item = make("li", "", { class: "entry", "data-state": entry.what }), when = make("p", "", { class: "when" }), said = make("div");
  when.append(make("time", clock.format(entry.at * 1000), { datetime: new Date(entry.at * 1000).toISOString() }), " ", make("span", after, { class: "gap" }));
  const head = make("p", "", { class: "said-of" });
  head.append(make("span", entry.what.replaceAll("_", " "), { class: "badge" }), " ", make("bdi", readable(entry.text)), " ", link(entry.ref));
  said.append(head);
  if (entry.detail) said.append(make("p", readable(entry.detail.slice(0, DETAIL)), { class: "detail", dir: "auto" }));
  item.append(when, said);
  return item;
}

function link(ref) {
  return make("a", readable(ref), { href: `/trace?id=${encodeURIComponent(ref)}` });
}

function gap(seconds) {
  const size = Math.abs(seconds), sign = seconds < 0 ? "−" : "+";
  if (size < 10) return `${sign}${size.toFixed(1)} s`;
  for (const [unit, name] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) if (size >= unit) return `${sign}${Math.floor(size / unit)} ${name}`;
  return `${sign}${Math.floor(size)} s`;
}

function look(id) {
  at("id").value = id;
  at("trouble").textContent = "";
  refresh();
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = at("id").value.trim();
  if (id !== asked()) history.pushState(null, "", `/trace?id=${encodeURIComponent(id)}`);
  look(id);
});
// A link within the trace does not reload the page, so that the login and the stream stay.
document.addEventListener("click", (event) => {
  const target = event.target.closest?.("a[href^='/trace?id=']");
  if (!target || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", target.getAttribute("href"));
  look(asked());
});
addEventListener("popstate", () => look(asked()));
at("id").value = asked();
open({ kinds: "inbound.*,outbound.*,approval.*,question.*,dead_letter.*", refresh });
