// The panel beside the conversation: a document, open at the words that were quoted.

import { $, apart, dotted, get, headings, make, named, pageOf, problemOf, say, state, t, unitsAt, whole, wrong } from "./common.js";

const WINDOW = 20000;
let opener = null;

export async function openSource(citation, button) {
  document.querySelectorAll("[aria-current]").forEach((node) => node.removeAttribute("aria-current"));
  button?.setAttribute("aria-current", "true");
  opener = button;
  const collection = citation.collection || state.collection;
  try {
    const found = await get(`/api/collections/${encodeURIComponent(collection)}/documents/${encodeURIComponent(citation.document_id)}`);
    $("source-title").replaceChildren(apart(found.title || found.source));
    const place = [apart(headings(citation)), whole(pageOf(citation)), whole(found.date)];
    $("source-where").replaceChildren(...dotted(named(found) ? apart(found.source) : "", ...place));
    const start = unitsAt(found.text, citation.start);
    const end = unitsAt(found.text.slice(start), citation.end - citation.start) + start;
    render(found.text, start, end, Math.max(0, start - WINDOW), Math.min(found.text.length, end + WINDOW));
    $("source").hidden = false;
    $("source").focus({ preventScroll: true });
    $("source-text").querySelector("mark")?.scrollIntoView({ block: "center" });
  } catch (error) {
    say(t(problemOf(error).message));
    $("source-title").textContent = t("The source cannot be shown");
    $("source-where").replaceChildren(wrong(error));
    $("source-text").replaceChildren();
    $("source").hidden = false;
  }
}

// A long document is shown around the quote; the rest is one press away.
function render(text, start, end, from, to) {
  const nodes = [];
  const widen = (label, a, b) => {
    const button = make("button", { type: "button", className: "quiet cut", textContent: label });
    button.addEventListener("click", () => render(text, start, end, a, b));
    nodes.push(button);
  };
  if (from > 0) widen(t("Show what comes before"), Math.max(0, from - 5 * WINDOW), to);
  nodes.push(text.slice(from, start));
  if (end > start) nodes.push(make("mark", { textContent: text.slice(start, end) }));
  nodes.push(text.slice(end, to));
  if (to < text.length) widen(t("Show what comes after"), from, Math.min(text.length, to + 5 * WINDOW));
  $("source-text").replaceChildren(...nodes);
}

function closeSource() {
  $("source").hidden = true;
  document.querySelectorAll("[aria-current]").forEach((node) => node.removeAttribute("aria-current"));
  (opener?.isConnected ? opener : $("question")).focus();
}
$("close-source").addEventListener("click", closeSource);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("source").hidden && !document.querySelector("dialog[open]")) closeSource();
});
