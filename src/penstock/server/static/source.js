// The panel beside the conversation: a document, open at the words that were quoted.

import { $, apart, call, dotted, get, headings, named, pageOf, problemOf, say, state, t, unitsAt, whole, wrong } from "./common.js";
import { make, press } from "./parts.js";

const WINDOW = 20000;
const TRIES = 5; // while the server draws another page
let opener = null;
let latest = 0; // counts what was opened and closed: what comes late is dropped

export async function openSource(citation, button) {
  const mine = ++latest;
  document.querySelectorAll("[aria-current]").forEach((node) => node.removeAttribute("aria-current"));
  button?.setAttribute("aria-current", "true");
  opener = button;
  const collection = citation.collection || state.collection;
  try {
    const found = await get(`/api/collections/${encodeURIComponent(collection)}/documents/${encodeURIComponent(citation.document_id)}`);
    if (mine !== latest) return;
    $("source-title").replaceChildren(apart(found.title || found.source));
    const place = [apart(headings(citation)), whole(pageOf(citation)), whole(found.date)];
    $("source-where").replaceChildren(...dotted(named(found) ? apart(found.source) : "", ...place));
    const start = unitsAt(found.text, citation.start);
    const end = unitsAt(found.text.slice(start), citation.end - citation.start) + start;
    $("source-text").replaceChildren();
    render(found.text, start, end, Math.max(0, start - WINDOW), Math.min(found.text.length, end + WINDOW));
    $("source").hidden = false;
    $("source").focus({ preventScroll: true });
    $("source-text").querySelector("mark")?.scrollIntoView({ block: "center" });
    if (citation.page && found.media_type === "application/pdf") print(found, collection, citation);
  } catch (error) {
    if (mine !== latest) return;
    say(t(problemOf(error).message));
    $("source-title").textContent = t("The source cannot be shown");
    $("source-where").replaceChildren(wrong(error));
    $("source-text").replaceChildren();
    $("source").hidden = false;
  }
}

// The pages of a PDF as they are printed, before its text: first the one with the quoted words, which are marked.
function print(found, collection, citation) {
  const opened = latest;
  const pages = found.metadata?.pages ?? citation.page;
  const [name, id] = [collection, found.id].map(encodeURIComponent);
  let page = citation.page;
  let turns = 0;
  let shown = make("p", { className: "hint", hidden: true });
  const back = press("", () => turn(page - 1), { className: "quiet" });
  const again = press("", () => turn(page), { className: "quiet" });
  const on = press("", () => turn(page + 1), { className: "quiet" });
  const here = make("span");
  const figure = make("figure", { className: "page" }, shown, make("figcaption", {}, back, here, again, on));
  const put = (node) => { shown.replaceWith(node); shown = node; };

  async function turn(to) {
    const mine = ++turns;
    const late = () => mine !== turns || opened !== latest;
    const focused = document.activeElement;
    page = to;
    for (const [button, number] of [[back, page - 1], [again, page], [on, page + 1]]) {
      button.textContent = t("page {page}", { page: number });
      button.hidden = number < 1 || number > pages;
    }
    here.textContent = again.textContent;
    failed(false);
    if (figure.contains(focused) && focused.hidden) ([on, back].find((button) => !button.hidden) ?? $("source-text")).focus();
    figure.setAttribute("aria-busy", "true");
    const { start, end } = page === citation.page ? citation : { start: 0, end: 0 };
    try {
      const response = await patient(`/api/collections/${name}/documents/${id}/pages/${page}?start=${start}&end=${end}`, late);
      const picture = make("img", { alt: t("Page {page} as it is printed", { page }), src: await dataOf(await response.blob()) });
      await picture.decode();
      if (late()) return;
      put(picture);
      const marked = Number(response.headers.get("x-penstock-marked"));
      $("source-text").scrollTop = Math.max(0, figure.offsetTop - $("source-text").offsetTop + marked * picture.height - $("source-text").clientHeight / 3);
      if (mine > 1) say(picture.alt);
    } catch {
      if (late()) return;
      put(make("p", { className: "hint", textContent: t("The page cannot be shown, its text can.") }));
      failed(true);
      say(shown.textContent);
      if (mine === 1) $("source-text").querySelector("mark")?.scrollIntoView({ block: "center" });
    }
    figure.removeAttribute("aria-busy");
  }

  // Where a page could not be shown, its number is a button that tries again.
  function failed(did) {
    again.hidden = !did;
    here.hidden = did;
  }

  $("source-text").prepend(figure);
  turn(page);
}

// What the server answers, asked again while it is busy.
async function patient(path, late) {
  for (let left = TRIES; ; left--) {
    try {
      return await call(path);
    } catch (error) {
      if (error.status !== 503 || left <= 1 || late()) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    }
  }
}

// As an address that holds the data, since the page's policy loads pictures from nowhere else.
const dataOf = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

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
  $("source-text").replaceChildren($("source-text").querySelector(".page") ?? "", ...nodes);
}

function closeSource() {
  latest++;
  $("source").hidden = true;
  document.querySelectorAll("[aria-current]").forEach((node) => node.removeAttribute("aria-current"));
  (opener?.isConnected ? opener : $("question")).focus();
}
$("close-source").addEventListener("click", closeSource);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("source").hidden && !document.querySelector("dialog[open]")) closeSource();
});
