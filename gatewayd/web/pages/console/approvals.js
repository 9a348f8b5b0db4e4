// Approvals that wait for an operator. Their texts come from agents: they are only set as text.

import { at, call, clock, count, looker, oneLine, open, visible } from "./console.js";

const RECENT = 20, EXCERPT = 300;
let shown = new Map(); // id -> its prompt

function pretty(text) {
  // Keys and numbers stay as they are: JSON.parse would change big numbers, so only a flat object of texts is indented.
  try {
    const value = JSON.parse(text);
    const flat = value !== null && typeof value === "object" && !Array.isArray(value) && Object.values(value).every((v) => typeof v === "string");
    return flat && JSON.stringify(value) === text ? JSON.stringify(value, null, 2) : text;
  } catch { return text; }
}

function fact(list, name, text) {
  const term = document.createElement("dt"), value = document.createElement("dd");
  term.textContent = name;
  value.textContent = text;
  value.dir = "auto";
  list.append(term, value);
}

// What "for this session" covers, as it was offered when the agent asked.
const covered = (approval) => approval.session_grant === "tool" ? `every use of ${oneLine(approval.tool)}` : "exactly this input";

function fill(prompt, approval) {
  prompt.querySelector(".agent").textContent = oneLine(approval.agent);
  prompt.querySelector(".tool").textContent = oneLine(approval.tool);
  prompt.querySelector(".input").textContent = visible(pretty(approval.input));
  prompt.querySelector(".input").setAttribute("aria-label", `Input of ${oneLine(approval.tool)}`);
  const facts = prompt.querySelector(".facts");
  facts.replaceChildren();
  fact(facts, "Asked", `${clock(approval.created_at)}, in ${oneLine(approval.origin)}${approval.asked_by ? `, for ${oneLine(approval.asked_by)}` : ""}`);
  fact(facts, "Expires", clock(approval.expires_at));
  fact(facts, "Id", `${approval.id} (${approval.code})`);
  const votes = approval.votes ?? [], quorum = approval.quorum ?? 1;
  if (quorum > 1) fact(facts, "Allowed by", `${votes.map((vote) => oneLine(vote.by)).join(", ") || "nobody"}; ${quorum} must allow it`);
}

function make(approval) {
  const prompt = at("prompt").content.firstElementChild.cloneNode(true);
  prompt.id = `approval-${approval.id}`;
  const session = prompt.querySelector("[data-answer=session]");
  if ((approval.session_grant ?? "off") === "off") session.remove();
  else session.textContent += `: ${covered(approval)}`;
  for (const button of prompt.querySelectorAll("button")) {
    const wanted = button.dataset.answer;
    button.setAttribute("aria-label", `${button.textContent}: ${oneLine(approval.tool)}`);
    button.addEventListener("click", () => decide(prompt, approval, wanted));
  }
  return prompt;
}

async function decide(prompt, approval, answer) {
  for (const button of prompt.querySelectorAll("button")) button.disabled = true;
  const body = { decision: answer === "deny" ? "deny" : "allow", scope: answer === "session" ? "session" : "once" };
  try {
    const row = await call("POST", `/v1/approvals/${encodeURIComponent(approval.id)}`, body);
    prompt.querySelector(".said").textContent = row.state === "pending" ? "Recorded. More people must allow it." : "";
    at("news").textContent = `${row.state}: ${oneLine(approval.tool)}`;
  } catch (error) {
    prompt.querySelector(".said").textContent = error.message;
    for (const button of prompt.querySelectorAll("button")) button.disabled = error.status === 409 && !/allow it once/.test(error.message);
  }
  refresh();
}

function showWaiting(rows) {
  const next = new Map();
  for (const row of rows) {
    const prompt = shown.get(row.id) ?? make(row);
    fill(prompt, row);
    next.set(row.id, prompt);
  }
  const fresh = rows.filter((row) => !shown.has(row.id));
  // The agent's text comes last, so that it cannot continue into our own words.
  if (fresh.length) at("news").textContent = `${count(fresh.length, "new request")}: ${fresh.map((row) => oneLine(row.tool)).join(", ")}`;
  for (const [id, prompt] of shown) if (!next.has(id)) prompt.remove();
  for (const prompt of next.values()) if (!prompt.isConnected) at("waiting").append(prompt);
  shown = next;
  at("none").hidden = rows.length > 0;
  document.title = rows.length ? `(${rows.length}) Approvals – gatewayd` : "Approvals – gatewayd";
}

function showRecent(rows) {
  at("recent").replaceChildren(...rows.filter((row) => row.state !== "pending").slice(0, RECENT).map((row) => {
    const line = document.createElement("li"), outcome = document.createElement("span"), what = document.createElement("code");
    outcome.className = "outcome";
    outcome.dataset.state = row.state;
    outcome.textContent = row.state + (row.scope === "session" ? ` for the session (${covered(row)})` : "");
    const whole = oneLine(`${row.tool} ${row.input}`), more = whole.length - EXCERPT;
    what.textContent = whole.slice(0, EXCERPT);
    line.append(outcome, ` by ${oneLine(row.decided_by ?? "nobody")}, ${clock(row.decided_at ?? row.created_at)}: `, what);
    if (more > 0) line.append(` … and ${count(more, "character")} more`);
    return line;
  }));
}

const refresh = looker(async () => {
  const [waiting, all] = await Promise.all([
    call("GET", "/v1/approvals?state=pending&limit=200"), call("GET", "/v1/approvals?state=all&limit=60"),
  ]);
  showWaiting(waiting.approvals);
  showRecent(all.approvals);
});

open({ kinds: "approval.*", refresh });
