// The page of the web chat: login, composer, outgoing messages and connection. Every request names the person whom the page shows,
// and typed texts are stored under that name: they are never sent or shown as another person's.

import { Buttons } from "./buttons.js";
import { Connection, request } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Outgoing } from "./outgoing.js";

const LONGEST_TEXT = 32_000; // characters, as gatewayd counts them
const STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
  offline: "Offline",
};
const TOLD_MS = 8_000;
const GROWS_BY_ITSELF = CSS.supports("field-sizing", "content");
const LOGIN_KEY = "gatewayd.login"; // written at each login and logout, to notify the other pages of this browser
const DRAFT_KEY = "gatewayd.draft."; // of this tab, by name
const LOGGED_OUT = "You are logged out. Your unsent messages are kept in this browser: log in to send them.";

const [waiting, login, chat, reason, stateLine, composer, text, send, trouble, told] = [
  "waiting", "login", "chat", "login-reason", "state", "composer", "text", "send", "trouble", "told",
].map((id) => document.getElementById(id));
const touch = matchMedia("(pointer: coarse)");
const buttons = new Buttons({ tell, fail: complain, shown: () => shown, loggedOut });
const conversation = new Conversation((line, data, button) => buttons.press(line, data, button));
const outgoing = new Outgoing(conversation, { taken: () => connection.hurry(), loggedOut });
let shown = null; // the name of the person whom the page shows
let missed = 0;
let toldTimer = 0;

const connection = new Connection({
  state(name, why) {
    stateLine.dataset.state = name;
    stateLine.textContent = STATES[name];
    stateLine.title = why;
    waiting.textContent = why ? `Not connected: ${why}. Trying again…` : STATES[name];
    if (name === "connected") outgoing.hurry();
  },
  history(answer) {
    const first = enter(answer.name);
    const fresh = conversation.showHistory(answer);
    outgoing.open(answer.name);
    outgoing.caughtUp();
    answer.lines.forEach((line) => outgoing.arrived(line));
    outgoing.hurry();
    if (first) conversation.toEnd();
    else miss(fresh);
  },
  message(line) {
    outgoing.arrived(line);
    conversation.showLine(line);
    miss(line.from === "agent" ? 1 : 0);
  },
  edit: (line) => conversation.showEdit(line),
  answer: (answer) => buttons.answer(answer),
  draft: (draft) => conversation.showDraft(draft),
  typing: () => conversation.showTyping(),
  loggedOut,
});

function miss(count) {
  if (count && document.hidden) document.title = `(${(missed += count)}) gatewayd`;
}

// Login

async function logIn(code) {
  reason.textContent = "";
  try {
    await request("POST", "login", { code });
  } catch (error) {
    if (error.status === 0) return leave("gatewayd does not answer. Is it running?");
    return connectOr(error.message);
  }
  tellOthers();
  connection.start();
}

// A used link may be a reloaded bookmark of a person who is logged in: then it is no error.
async function connectOr(explanation) {
  try {
    await request("GET", "history", undefined, null, { limit: 1 });
  } catch {
    return leave(explanation);
  }
  connection.start();
}

function enter(name) {
  const first = chat.hidden;
  if (shown !== name) {
    showNothing();
    shown = name;
    text.value = sessionStorage.getItem(DRAFT_KEY + name) ?? "";
  }
  Object.assign(document.getElementById("name"), { textContent: name, title: name });
  waiting.hidden = true;
  login.hidden = true;
  chat.hidden = false;
  fit(); // a hidden element has no height
  if (first && !touch.matches) text.focus(); // on a phone this would raise the keyboard over the conversation
  return first;
}

function leave(explanation) {
  connection.stop();
  outgoing.close();
  waiting.hidden = true;
  chat.hidden = true;
  login.hidden = false;
  reason.textContent = explanation;
  document.getElementById("code").focus();
}

// Nobody or another person is logged in: the page starts again with that person.
function loggedOut(error) {
  if (error.code !== "other_login") return leave(shown === null ? "" : LOGGED_OUT);
  const before = shown;
  showNothing();
  chat.hidden = true;
  waiting.hidden = false;
  complain(`Another person has logged in with this browser. The unsent messages of ${before} are kept until ${before} logs in again.`);
  connection.start();
}

function showNothing() {
  shown = null;
  text.value = "";
  tell("");
  outgoing.close();
  conversation.removeAll();
}

function tellOthers() {
  localStorage.setItem(LOGIN_KEY, `${Date.now()} ${Math.random()}`);
}

function codeFromAddress() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) history.replaceState(null, "", location.pathname); // keep the code out of the history and off the screen
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
    await request("POST", "logout", {}, shown);
  } catch (error) {
    if (error.code === "other_login") return loggedOut(error);
    if (error.status !== 401) return complain(`You are still logged in: ${error.message}.`);
  }
  sessionStorage.removeItem(DRAFT_KEY + shown);
  outgoing.erase();
  showNothing();
  complain("");
  tellOthers();
  leave("You are logged out.");
});

addEventListener("hashchange", () => {
  const code = codeFromAddress();
  if (code) logIn(code);
});

addEventListener("storage", ({ key }) => key === LOGIN_KEY && connection.check());

// Sending

function submit() {
  const value = text.value.trim().replace(/\p{Cs}/gu, "\uFFFD"); // half an emoji is no text
  if (!value) return;
  if ([...value].length > LONGEST_TEXT) {
    return complain(`This is too long: ${[...value].length.toLocaleString()} of at most ${LONGEST_TEXT.toLocaleString()} characters.`);
  }
  if (!outgoing.add(value)) return complain("Too many messages wait to be sent: wait until some are sent.");
  complain("");
  write("");
}

// The composer

// An unsent text survives a reload.
function write(value = text.value) {
  if (text.value !== value) text.value = value;
  fit();
  try {
    sessionStorage.setItem(DRAFT_KEY + shown, value);
  } catch {
    // storage is full or forbidden: the page works without
  }
}

function fit() {
  send.disabled = !text.value.trim();
  if (GROWS_BY_ITSELF) return;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

function complain(words) {
  trouble.textContent = words;
}

// Show the outcome of a button press for a while.
function tell(words) {
  clearTimeout(toldTimer);
  told.textContent = words;
  toldTimer = setTimeout(() => (told.textContent = ""), TOLD_MS);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
  text.focus();
});
text.addEventListener("input", () => write());
text.addEventListener("keydown", (event) => {
  // 229 is an input method's key (UI Events, section 8.3.1); Safari sends it after the end of the composition.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229 || touch.matches) return;
  event.preventDefault();
  submit();
});
for (const chip of document.querySelectorAll("[data-fill]")) {
  chip.addEventListener("click", () => {
    write(chip.dataset.fill);
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
