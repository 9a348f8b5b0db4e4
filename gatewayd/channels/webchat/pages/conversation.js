// The conversation on the page. The id of a line ("in-12", "out-7") is the number of its row in the store; each line is shown once.

import { patch, selectIn, selectedIn } from "./patch.js";

const MOST_LINES = 500;
const TYPING_MS = 12_000; // longer than gatewayd's pause between two typing events
const NEAR_END_PX = 80;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const NOTES = { dropped: "The agent did not get this message." }; // for other failures there is a reply

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export class Conversation {
  #log = document.getElementById("log");
  #waiting = document.getElementById("unsent");
  #draft = document.getElementById("draft");
  #draftBody = this.#draft.querySelector(".body");
  #activity = document.getElementById("activity");
  #scroller = document.getElementById("scroller");
  #newer = document.getElementById("newer");
  #empty = document.getElementById("empty");
  #lines = new Map(); // id -> its element
  #looks = new WeakMap(); // element -> its content, as JSON
  #press;
  #lastDay = "";
  #quietTimer = 0;
  #following = true; // the page scrolls with new lines
  #size = ""; // of the conversation and its window at the last scroll

  // ``press(line id, data, button element)`` is called when a button under a line is pressed.
  constructor(press) {
    this.#press = press;
    this.#scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
      const size = `${scrollHeight} ${clientHeight}`;
      const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
      // When the size changed, too (a turned phone, a shorter line), the person did not scroll away.
      if (atEnd || size === this.#size) this.#following = atEnd;
      this.#size = size;
      if (atEnd) this.#newer.hidden = true;
    });
    this.#newer.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.#scroller.firstElementChild);
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.#scroller);
  }

  // Shows all lines without announcing them to screen readers. Returns the number of new lines of the agent.
  showHistory({ lines, more }) {
    this.quiet(); // the draft may be finished among these lines; if not, gatewayd sends it again
    this.#log.setAttribute("aria-busy", "true");
    const fresh = lines.filter(({ id, from }) => from === "agent" && !this.#lines.has(id)).length;
    lines.forEach((line) => this.#show(line));
    document.getElementById("earlier").hidden = !more;
    this.#settle();
    requestAnimationFrame(() => {
      this.#log.setAttribute("aria-busy", "false");
      this.#log.setAttribute("aria-live", "polite");
    });
    return fresh;
  }

  showLine(line) {
    const selected = selectedIn(this.#draftBody);
    if (line.from === "agent") this.quiet();
    this.#show(line);
    if (selected && line.from === "agent") selectIn(this.#lines.get(line.id).querySelector(".body"), selected);
    this.#settle();
  }

  // Shows an edited line; a line that is not on the page is ignored.
  showEdit(line) {
    const element = this.#lines.get(line.id);
    if (element) this.#fill(element, line);
    if (this.#following) this.toEnd();
  }

  showDraft({ html }) {
    this.#work();
    patch(this.#draftBody, rendered(html));
    this.#settle();
  }

  showTyping() {
    this.#work();
    this.#settle();
  }

  // The agent is not writing.
  quiet() {
    clearTimeout(this.#quietTimer);
    this.#draft.hidden = true;
    this.#draftBody.replaceChildren();
    this.#activity.textContent = "";
  }

  // Shows an outgoing message below the lines until gatewayd has stored it.
  addOutgoing(text) {
    const bubble = lineElement("you", text);
    this.#waiting.append(bubble);
    this.#settle();
    this.toEnd();
    return bubble;
  }

  removeAll() {
    this.quiet();
    this.#lines.clear();
    this.#lastDay = "";
    this.#log.replaceChildren();
    this.#log.setAttribute("aria-live", "off");
  }

  toEnd() {
    this.#following = true;
    this.#newer.hidden = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #work() {
    clearTimeout(this.#quietTimer);
    this.#quietTimer = setTimeout(() => this.quiet(), TYPING_MS);
    if (this.#draft.hidden) this.#activity.textContent = "The agent is writing";
    this.#draft.hidden = false;
  }

  #show(line) {
    const known = this.#lines.get(line.id);
    if (known) {
      note(known, NOTES[line.state]);
      if (line.from === "agent") this.#fill(known, line);
      return;
    }
    const at = new Date(line.at * 1000);
    this.#markDay(at);
    const element = lineElement(line.from, line.text, at);
    if (line.from === "agent") this.#fill(element, line);
    note(element, line.from === "you" ? NOTES[line.state] : undefined);
    this.#lines.set(line.id, element);
    this.#log.append(element);
    this.#bound();
  }

  // Fills a line of the agent and its buttons. If a removed button had the focus, the line gets it.
  #fill(element, { id, html, buttons = [] }) {
    const looks = JSON.stringify([html, buttons]);
    if (this.#looks.get(element) === looks) return;
    this.#looks.set(element, looks);
    const hadFocus = element.contains(document.activeElement);
    const body = element.querySelector(".body");
    patch(body, rendered(html));
    element.querySelector(".choices")?.remove();
    element.classList.toggle("asking", buttons.length > 0);
    if (buttons.length) body.after(choices(buttons, (data, button) => this.#press(id, data, button)));
    if (!hadFocus) return;
    element.tabIndex = -1;
    element.focus({ preventScroll: true });
  }

  #markDay(at) {
    const day = calendar.format(at);
    if (day === this.#lastDay) return;
    this.#lastDay = day;
    this.#log.append(make("p", { className: "day", textContent: day === calendar.format(new Date()) ? "Today" : day }));
  }

  #bound() {
    while (this.#lines.size > MOST_LINES) {
      const [id, element] = this.#lines.entries().next().value;
      this.#lines.delete(id);
      element.remove();
    }
  }

  #settle() {
    this.#empty.hidden = this.#lines.size > 0 || this.#waiting.childElementCount > 0 || !this.#draft.hidden;
    if (this.#following) this.toEnd();
    else this.#newer.hidden = false;
  }
}

function lineElement(from, text = "", at = undefined) {
  const body = make("div", { className: "body", dir: "auto", textContent: text });
  const who = make("span", { className: "visually-hidden", textContent: from === "agent" ? "Agent:" : "You:" });
  const element = make("article", { className: `line ${from}` }, who, body);
  if (at) element.append(make("time", { dateTime: at.toISOString(), textContent: clock.format(at), title: at.toLocaleString() }));
  return element;
}

function choices(rows, press) {
  const group = make("div", { className: "choices" });
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Choices");
  for (const row of rows) {
    const line = make("div", { className: "choice-row" });
    for (const { label, data } of row) {
      const button = make("button", { type: "button", className: "choice", textContent: label, dir: "auto" });
      button.addEventListener("click", () => press(data, button));
      line.append(button);
    }
    group.append(line);
  }
  return group;
}

export function note(element, text, ...more) {
  element.querySelector(".note")?.remove();
  const words = make("p", { className: "note" }, text ?? "", ...more);
  if (text) element.append(words);
  return words;
}

// The text of an agent. kit/html.py makes the HTML with safe tags only, and the CSP forbids scripts, too.
function rendered(html) {
  const body = make("div", { innerHTML: html });
  dressCode(body);
  return body;
}

// Code blocks get their language and a copy button, and scroll by keyboard.
function dressCode(body) {
  for (const pre of body.querySelectorAll("pre")) {
    const language = /language-(\S+)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "code";
    const button = make("button", { type: "button", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy the ${language === "code" ? "" : `${language} `}code`);
    button.addEventListener("click", () => copy(pre, button));
    const frame = make("div", { className: "code" }, make("div", { className: "head" }, make("span", { textContent: language }), button));
    pre.replaceWith(frame);
    pre.tabIndex = 0;
    frame.append(pre);
  }
}

async function copy(pre, button) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(pre.textContent); // needs https, except on localhost
  } catch {
    getSelection().selectAllChildren(pre);
    copied = document.execCommand("copy");
  }
  button.textContent = copied ? "Copied" : "Press Ctrl+C";
  setTimeout(() => (button.textContent = "Copy"), 2000);
}
