// The dialog of a collection's documents, and files that are added: chosen, or dropped anywhere on the page.

import { $, Problem, UNUSABLE, apart, dotted, get, here, joined, nameOf, named, parsed, refusal, say, state, t, whole, wrong } from "./common.js";
import { make } from "./parts.js";
import { openSource } from "./source.js";

$("show-documents").addEventListener("click", open);
$("close-documents").addEventListener("click", () => $("documents").close());
$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => { upload([...$("files").files]); $("files").value = ""; });

export async function open() {
  if (!$("documents").open) $("documents").showModal();
  $("drop").hidden = !state.admin;
  await listDocuments();
}

async function listDocuments() {
  if (!state.collection) return $("document-list").replaceChildren(make("li", { className: "hint", textContent: t("Nothing is indexed yet.") }));
  try {
    const { documents, skipped } = await get(`${here()}/documents`);
    $("count").textContent = String(documents.length);
    $("count").hidden = !documents.length;
    const rows = documents.map((d) => {
      const title = make("button", { type: "button", className: "title" }, apart(d.title || d.source));
      title.addEventListener("click", () => { $("documents").close(); openSource({ document_id: d.id, start: 0, end: 0 }, null); });
      const facts = dotted(
        named(d) ? apart(d.source) : "", whole(t("Passages: {count}", { count: d.passages })), whole(nameOf(d.language)), whole(d.date));
      return make("li", {}, title, make("span", { className: "facts" }, ...facts));
    });
    const failed = skipped.map((s) => make("li", { className: "failed" },
      make("span", { className: "title" }, apart(s.source)),
      wrong(new Problem(UNUSABLE, { words: joined(s.reason, s.hint) }))));
    $("document-list").replaceChildren(...failed, ...rows);
  } catch (error) {
    $("document-list").replaceChildren(make("li", {}, wrong(error)));
  }
}

let page; // what it does when documents have changed

export function use(calls) {
  page = calls;
}

let uploads = Promise.resolve(); // one file after another, as a collection has one writer at a time

function upload(files) {
  uploads = uploads.then(() => uploadAll(files)).catch((error) => $("document-list").replaceChildren(make("li", {}, wrong(error))));
}

async function uploadAll(files) {
  const name = state.collection || "documents";
  for (const file of files) await uploadOne(name, file);
  await page.changed(name);
  if ($("documents").open) await listDocuments();
}

function uploadOne(collection, file) {
  const bar = make("progress", { max: 100, value: 0 });
  bar.setAttribute("aria-label", t("Adding {name}", { name: file.name }));
  const facts = make("span", { className: "facts", textContent: t("sending") });
  const row = make("li", {}, make("strong", {}, apart(file.name)), facts, bar);
  $("uploads").append(row);
  const finish = (text) => {
    facts.replaceChildren(apart(text));
    bar.remove();
    say(`${file.name}: ${text}`);
    setTimeout(() => row.remove(), 4000);
  };
  const fail = (problem) => {
    facts.replaceWith(wrong(problem));
    bar.remove();
    say(`${file.name}: ${t(problem.message)}`);
  };
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch cannot tell how much of a body was sent
    request.open("POST", `/api/collections/${encodeURIComponent(collection)}/documents?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("accept", "application/x-ndjson");
    if (state.key) request.setRequestHeader("authorization", `Bearer ${state.key}`);
    request.upload.onprogress = (event) => { bar.value = (event.loaded / event.total) * 60; };
    let passages = 0, seen = 0;
    const counted = (text) => `${text} · ${t("Passages: {count}", { count: passages })}`;
    request.onprogress = () => {
      const lines = request.responseText.split("\n");
      for (; seen < lines.length - 1; seen++) {
        const step = parsed(lines[seen]);
        if (step.step === "reading") {
          const { page, pages } = step;
          facts.textContent = page ? `${t("reading")} · ${t("page {page}", { page: `${page}/${pages}` })}` : t("reading");
          if (page) bar.value = 60 + (page / pages) * 35;
          else bar.removeAttribute("value");
        }
        if (step.step === "indexing") { passages += step.passages; facts.textContent = counted(t("indexing")); }
      }
    };
    request.onload = () => {
      const last = parsed(request.responseText.trim().split("\n").at(-1));
      const [skipped] = last.skipped ?? [];
      if (last.step !== "done") fail(refusal(last.error, { status: request.status === 200 ? 0 : request.status }));
      else if (skipped && !last.added.length && !last.changed.length) fail(new Problem(UNUSABLE, { words: joined(skipped.reason, skipped.hint) }));
      else finish(last.version ? counted(t("ready to be asked")) : t("already indexed"));
      resolve();
    };
    request.onerror = () => { fail(new Problem("the connection broke; nothing was changed")); resolve(); };
    request.send(file);
  });
}

// Files may be dropped anywhere on the page.
let depth = 0;
const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
addEventListener("dragenter", (event) => { if (carriesFiles(event) && state.admin) { depth++; $("dropping").hidden = false; } });
addEventListener("dragleave", (event) => { if (carriesFiles(event) && --depth <= 0) { depth = 0; $("dropping").hidden = true; } });
addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
addEventListener("drop", async (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  depth = 0;
  $("dropping").hidden = true;
  if (!state.admin) return;
  const files = [...event.dataTransfer.files];
  await open();
  upload(files);
});
