// The panel beside the conversation: a document, open at the words that were quoted.

import { $, apart, call, dotted, get, headings, named, pageOf, problemOf, say, state, t, unitsAt, whole, wrong } from "./common.js";
import { make, press } from "./parts.js";

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
    if (citation.page && found.media_type === "application/pdf") await print(found, collection, citation, citation.page);
  } catch (error) {
    say(t(problemOf(error).message));
    $("source-title").textContent = t("The source cannot be shown");
    $("source-where").replaceChildren(wrong(error));
    $("source-text").replaceChildren();
    $("source").hidden = false;
  }
}

// A page of a PDF as it is printed, before its text, with the quoted words marked.
async function print(found, collection, citation, page) {
  const pages = found.metadata?.pages ?? page;
  const { start, end } = page === citation.page ? citation : { start: 0, end: 0 };
  const figure = make("figure", { className: "page" });
  const turn = (to) => (to < 1 || to > pages ? "" : press(t("page {page}", { page: to }), () => print(found, collection, citation, to), { className: "quiet" }));
  $("source-text").querySelector(".page")?.remove();
  $("source-text").prepend(figure);
  try {
    const [name, id] = [collection, found.id].map(encodeURIComponent);
    const response = await call(`/api/collections/${name}/documents/${id}/pages/${page}?start=${start}&end=${end}`);
    const picture = make("img", { alt: t("Page {page} as it is printed", { page }), src: await dataOf(await response.blob()) });
    await picture.decode();
    figure.append(picture, make("figcaption", {}, turn(page - 1), make("span", { textContent: t("page {page}", { page }) }), turn(page + 1)));
    const marked = Number(response.headers.get("x-penstock-marked"));
    $("source-text").scrollTop = Math.max(0, figure.offsetTop - $("source-text").offsetTop + marked * picture.height - $("source-text").clientHeight / 3);
  } catch {
    figure.append(make("figcaption", { textContent: t("The page cannot be shown, its text can.") }));
    $("source-text").querySelector("mark")?.scrollIntoView({ block: "center" });
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
