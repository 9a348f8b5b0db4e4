// Joins the page: login, the composer, what is on its way, and the connection.

import { Connection, newId, request } from "./connection.js";
import { Conversation, make, note } from "./conversation.js";
import { Presses } from "./presses.js";

const LONGEST_TEXT = 32_000; // characters, as gatewayd counts them
const STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
  offline: "Offline",
};
const TOLD_MS = 8_000;
const GROWS_BY_ITSELF = CSS.supports("field-sizing", "content");
const UNSENT_KEY = "gatewayd.unsent.";
const LOGGED_OUT = "You are logged out. What you have not sent yet is kept on this page.";

const [waiting, login, chat, reason, stateLine, composer, text, send, trouble, told] = [
  "waiting", "login", "chat", "login-reason", "state", "composer", "text", "send", "trouble", "told",
].map((id) => document.getElementById(id));
const touch = matchMedia("(pointer: coarse)");
const presses = new Presses({ tell, fail: complain, loggedOut: () => leave(LOGGED_OUT) });
const conversation = new Conversation((line, data, button) => presses.press(line, data, button));
const outgoing = new Map(); // message id -> { id, text, bubble, failed }
let lastPost = Promise.resolve(); // posts go one after the other, so that messages keep their order
let loggedInAs = null;
let missed = 0;
let toldTimer = 0;

const connection = new Connection({
  state(name, why) {
    stateLine.dataset.state = name;
    stateLine.textContent = STATES[name];
    stateLine.title = why;
    waiting.textContent = why ? `Not connected: ${why}. Trying again…` : STATES[name];
  },
  history(answer) {
    const first = enter(answer.name);
    conversation.showHistory(answer);
    if (!first) return;
    restoreUnsent();
    conversation.toEnd();
  },
  message(line) {
    conversation.showLine(line);
    if (line.from === "agent" && document.hidden) document.title = `(${++missed}) gatewayd`;
  },
  edit: (line) => conversation.showEdit(line),
  answer: (answer) => presses.answer(answer),
  draft: (draft) => conversation.showDraft(draft),
  typing: () => conversation.showTyping(),
  loggedOut: () => leave(loggedInAs === null ? "" : LOGGED_OUT),
});

// Login

async function logIn(code) {
  reason.textContent = "";
  try {
    await request("POST", "/v1/webchat/login", { code });
  } catch (error) {
    if (error.status === 0) return leave("gatewayd does not answer. Is it running?");
    return connectOr(error.message);
  }
  connection.start();
}

// A used link may be a reloaded bookmark of somebody who is logged in: then it does no harm.
async function connectOr(explanation) {
  try {
    await request("GET", "/v1/webchat/history?limit=1");
  } catch {
    return leave(explanation);
  }
  connection.start();
}

function enter(name) {
  if (loggedInAs !== null && loggedInAs !== name) showNothing();
  const first = chat.hidden;
  loggedInAs = name;
  document.getElementById("name").textContent = name;
  waiting.hidden = true;
  login.hidden = true;
  chat.hidden = false;
  fit(); // what is hidden has no height
  if (first && !touch.matches) text.focus(); // on a phone this would raise the keyboard over the conversation
  return first;
}

function leave(explanation) {
  connection.stop();
  waiting.hidden = true;
  chat.hidden = true;
  login.hidden = false;
  reason.textContent = explanation;
  document.getElementById("code").focus();
}

function showNothing() {
  outgoing.clear();
  conversation.removeAll();
}

function codeFromAddress() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) history.replaceState(null, "", location.pathname); // keep it out of the history and the screen
  return code;
}

document.getElementById("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("code");
  const entered = field.value.trim();
  field.value = "";
  logIn(/#code=([^&]+)/.exec(entered)?.[1] ?? entered); // people paste the whole link, too
});

document.getElementById("logout").addEventListener("click", async () => {
  try {
    await request("POST", "/v1/webchat/logout", {});
  } catch (error) {
    if (error.status !== 401) return complain(`You are still logged in: ${error.message}.`);
  }
  showNothing();
  saveUnsent();
  loggedInAs = null;
  leave("You are logged out.");
});

addEventListener("hashchange", () => {
  const code = codeFromAddress();
  if (code) logIn(code);
});

// Sending

function submit() {
  const value = text.value.trim();
  if (!value) return;
  if ([...value].length > LONGEST_TEXT) {
    return complain(`This is too long: ${[...value].length.toLocaleString()} of at most ${LONGEST_TEXT.toLocaleString()} characters.`);
  }
  complain("");
  text.value = "";
  fit();
  text.focus();
  const message = { id: newId(), text: value, bubble: null, failed: false };
  keep(message);
  post(message);
}

function keep(message) {
  message.bubble = conversation.addOutgoing(message);
  outgoing.set(message.id, message);
  saveUnsent();
}

function post(message) {
  message.failed = false;
  message.bubble.classList.remove("unsent");
  message.bubble.classList.add("sending");
  note(message.bubble, "");
  lastPost = lastPost.then(async () => {
    let answer;
    try {
      answer = await request("POST", "/v1/webchat/messages", { id: message.id, text: message.text });
    } catch (error) {
      if (error.status === 401) leave(LOGGED_OUT);
      return failed(message, error);
    }
    outgoing.delete(message.id);
    saveUnsent();
    conversation.confirmOutgoing(message.bubble, answer.id);
  });
}

function failed(message, error) {
  if (!outgoing.has(message.id)) return;
  message.bubble.classList.replace("sending", "unsent");
  const retry = make("button", { type: "button", textContent: "Retry" });
  retry.addEventListener("click", () => {
    post(message);
    text.focus();
  });
  note(message.bubble, `Not sent: ${error.message}.`, retry).setAttribute("role", "alert");
  message.failed = true;
  saveUnsent();
}

// Only this tab's and this login's: what was typed but perhaps never reached gatewayd survives a reload.
function saveUnsent() {
  const stored = [...outgoing.values()].map(({ id, text, failed }) => ({ id, text, failed }));
  try {
    sessionStorage.setItem(UNSENT_KEY + loggedInAs, JSON.stringify(stored));
  } catch {
    // storage is full or forbidden: the page works without
  }
}

// What was under way is posted again, which is harmless under its id; what had failed waits for the person.
function restoreUnsent() {
  let stored = [];
  try {
    stored = JSON.parse(sessionStorage.getItem(UNSENT_KEY + loggedInAs) ?? "[]");
  } catch {
    return;
  }
  for (const { id, text, failed: hadFailed } of stored) {
    if (outgoing.has(id)) continue;
    const message = { id, text, bubble: null, failed: hadFailed };
    keep(message);
    if (hadFailed) failed(message, new Error("gatewayd did not answer"));
    else post(message);
  }
}

// The composer

function fit() {
  send.disabled = !text.value.trim();
  if (GROWS_BY_ITSELF) return;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

function complain(words) {
  trouble.textContent = words;
}

// What has become of a press, for a while.
function tell(words) {
  clearTimeout(toldTimer);
  told.textContent = words;
  toldTimer = setTimeout(() => (told.textContent = ""), TOLD_MS);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
text.addEventListener("input", fit);
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || touch.matches) return;
  event.preventDefault();
  submit();
});
for (const chip of document.querySelectorAll("[data-fill]")) {
  chip.addEventListener("click", () => {
    text.value = chip.dataset.fill;
    fit();
    text.focus();
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  missed = 0;
  document.title = "gatewayd";
});

// Safari lays the keyboard over the page instead of making the page smaller.
visualViewport?.addEventListener("resize", () => {
  const height = Math.round(visualViewport.height * visualViewport.scale); // pinching to zoom is not a keyboard
  document.documentElement.style.setProperty("--visible-height", height < innerHeight ? `${height}px` : "");
});

fit();
const code = codeFromAddress();
if (code) logIn(code);
else connection.start();
