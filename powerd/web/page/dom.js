// The document is written to only where something changed. Text from outside is only ever set as text.
const byId = (id) => document.getElementById(id);
const rowsOf = new WeakMap();

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function parent(tag, className, ...children) {
  const made = element(tag, className);
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setClass(node, className) {
  if (node.className !== className) node.className = className;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

// Place something on a bar, in per cent of its length.
function setPlace(node, name, value, scale) {
  const place = `${Math.min(100, (100 * (value ?? 0)) / scale).toFixed(2)}%`;
  if (node.style.getPropertyValue(name) !== place) node.style.setProperty(name, place);
}

// One child for each item, kept by its key: made once, then filled; those of items that are gone go as well.
function keep(container, items, keyOf, make, fill) {
  const rows = rowsOf.get(container) ?? new Map();
  rowsOf.set(container, rows);
  const keys = new Set(items.map(keyOf));
  for (const [key, row] of rows) {
    if (!keys.has(key)) { row.remove(); rows.delete(key); }
  }
  items.forEach((item, position) => {
    const key = keyOf(item);
    if (!rows.has(key)) rows.set(key, make(item));
    const row = rows.get(key);
    if (container.children[position] !== row) container.insertBefore(row, container.children[position] ?? null);
    fill(row, item);
  });
}

// A list of lines: a mark, a heading, and smaller text behind it. `empty` is said where there is none.
function keepLines(list, lines, empty) {
  const shown = lines.length ? lines : [{ key: "", kind: "none", mark: "", text: empty, more: "" }];
  const times = new Map();
  // Two of the same key are two lines all the same.
  const keyed = shown.map((line) => {
    times.set(line.key, (times.get(line.key) ?? 0) + 1);
    return { ...line, key: `${line.key} ${times.get(line.key)}` };
  });
  keep(list, keyed, (line) => line.key, newLine, fillLine);
}

function newLine() {
  return parent("li", "", element("span", "mark"), element("span", "text"), element("span", "more"), element("code"), element("a"));
}

function fillLine(row, line) {
  const [mark, text, more, command, link] = row.children;
  setClass(row, line.kind);
  setText(mark, line.mark);
  setText(text, line.text);
  setText(more, line.more);
  setText(command, line.command ?? "");
  setHidden(mark, !line.mark);
  setHidden(command, !line.command);
  setHidden(link, !line.href);
  if (line.href) { setText(link, line.link); setAttribute(link, "href", line.href); }
}

// Of a group of buttons exactly one is pressed; `chosen` is called with its value when that changes.
function choice(group, name, chosen) {
  const buttons = [...group.querySelectorAll("button")];
  group.addEventListener("click", (pressed) => {
    const button = pressed.target.closest("button");
    if (!button) return;
    buttons.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    chosen(button.dataset[name]);
  });
}
