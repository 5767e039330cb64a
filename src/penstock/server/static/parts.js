// What pages make elements of, the words they say, and how they read what the server streams. Text is set as text, never as HTML.

// A phrase of the page in the reader's language. What is filled in may run the other way, so it is set apart.
export const words = { phrases: {} };
export function t(phrase, values = {}) {
  const said = words.phrases[phrase] ?? phrase;
  return said.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? values[name] : `\u2068${values[name]}\u2069`));
}

// Once, to whoever cannot see the page.
export function say(text) {
  const status = document.getElementById("status");
  status.textContent = "";
  requestAnimationFrame(() => { status.textContent = text; });
}

export const newId = () => crypto.getRandomValues(new Uint8Array(16)).reduce((id, byte) => id + byte.toString(16).padStart(2, "0"), "");

export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

export function press(text, action, properties = {}) {
  const button = make("button", { type: "button", textContent: text, ...properties });
  button.addEventListener("click", action);
  return button;
}

export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(svg.namespaceURI, "path"));
  svg.firstChild.setAttribute("d", path);
  return svg;
}

// Light markup as elements: **strong**, `code`, [text](address). The words stay the source's words. A date is set apart, as its
// parts would change places among Arabic words.
export function inline(text) {
  return text.split(/(\*\*[^*\n]+\*\*|`[^`\n]+`|\[[^\]\n]+\]\([^)\s]+\)|\b\d{4}-\d\d-\d\d\b)/).filter(Boolean).map((part) => {
    if (/^\*\*.+\*\*$/.test(part)) return make("strong", { textContent: part.slice(2, -2) });
    if (/^`.+`$/.test(part)) return make("code", { textContent: part.slice(1, -1) });
    if (/^\d{4}-\d\d-\d\d$/.test(part)) return make("bdi", { className: "whole", textContent: part });
    return /^\[.+\]\(.+\)$/.test(part) ? part.slice(1, part.indexOf("](")) : part;
  });
}

// Text and elements of an answer in which lines that begin with "- " become the items of lists. Breaks inside of an element stay its own.
export function listed(nodes) {
  const lines = [[]];
  for (const node of nodes) {
    const [first, ...others] = typeof node === "string" ? node.split("\n") : [node];
    lines.at(-1).push(first);
    for (const other of others) lines.push([other]);
  }
  const isItem = ([first]) => typeof first === "string" && first.startsWith("- ");
  const shown = [];
  lines.forEach((line, n) => {
    if (!isItem(line)) return shown.push(...(n && !isItem(lines[n - 1]) ? ["\n"] : []), ...line);
    if (!n || !isItem(lines[n - 1])) shown.push(make("ul", { className: "items" }));
    return shown.at(-1).append(make("li", {}, line[0].slice(2), ...line.slice(1)));
  });
  return shown;
}

// A quote and the button of its source, with no end of line between the two.
export function numbered(text, button) {
  const nodes = inline(text);
  const last = nodes.pop() ?? "";
  const ending = typeof last === "string" ? last.match(/\S{1,12}\s*$/u)?.[0] ?? "" : last;
  if (typeof last === "string") nodes.push(last.slice(0, last.length - ending.length));
  return make("bdi", { className: "quote" }, ...nodes, make("span", { className: "whole" }, ending, button));
}

// Where a question is written: Enter sends it, or stops what is asked already, and the box grows with it. Returns how to let it grow.
export function composing(form, box, { busy, ask }) {
  const grow = () => {
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight + 2}px`;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (busy()) return busy().abort();
    const question = box.value.trim();
    if (question) ask(question);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  box.addEventListener("input", grow);
  return grow;
}

// Server-sent events, each parsed. cut: what is thrown where they break off.
export async function* events(response, cut) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => { throw error.name === "AbortError" ? error : cut(error); });
    if (done) return;
    waiting += value;
    for (let end; (end = waiting.indexOf("\n\n")) >= 0; waiting = waiting.slice(end + 2)) {
      const data = waiting.slice(0, end).replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}
