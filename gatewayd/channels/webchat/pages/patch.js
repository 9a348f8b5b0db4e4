// Changes the shown elements into the wanted ones by the least change: unchanged ones keep selection, focus and listeners.

export function patch(shown, wanted) {
  const fresh = [...wanted.childNodes];
  fresh.forEach((node, index) => {
    const old = shown.childNodes[index];
    if (!old) return shown.append(node);
    if (old.nodeType !== node.nodeType || old.nodeName !== node.nodeName) return old.replaceWith(node);
    if (old.nodeType === Node.TEXT_NODE) return rewrite(old, node.data);
    dress(old, node);
    if (old.nodeName !== "BUTTON") patch(old, node); // a button keeps its own label (Copied)
  });
  while (shown.childNodes.length > fresh.length) shown.lastChild.remove();
}

function dress(old, node) {
  for (const { name } of [...old.attributes]) if (!node.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

function rewrite(old, text) {
  let same = 0;
  while (same < text.length && text[same] === old.data[same]) same++;
  if (same < Math.max(text.length, old.length)) old.replaceData(same, old.length - same, text.slice(same));
}

// The selected text within `root` and its offset; null without a selection.
export function selectedIn(root) {
  const selection = getSelection();
  if (selection.isCollapsed || !root.contains(selection.anchorNode) || !root.contains(selection.focusNode)) return null;
  const range = selection.getRangeAt(0), before = document.createRange();
  before.setStart(root, 0);
  before.setEnd(range.startContainer, range.startOffset);
  return { from: before.toString().length, words: range.toString() };
}

// Selects that text in `root`, if it is at the same offset.
export function selectIn(root, { from, words }) {
  if (root.textContent.substr(from, words.length) !== words) return;
  const range = document.createRange();
  range.selectNodeContents(root);
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let at = 0; walker.nextNode(); at += walker.currentNode.length) {
    const [start, end] = [from - at, from + words.length - at];
    if (start >= 0 && start < walker.currentNode.length) range.setStart(walker.currentNode, start);
    if (end > 0 && end <= walker.currentNode.length) range.setEnd(walker.currentNode, end);
  }
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}
