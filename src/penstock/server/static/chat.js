// The chat page. Plain DOM, no framework; everything that comes from documents or people is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const state = { collections: [], collection: "", history: [], busy: null, key: sessionStorage.getItem("penstock-key") || "", admin: false };
const SUGGESTIONS = {
  "penstock-docs": ["How do I go back to an earlier version of the index?", "Which file formats can be read?", "Who may read a document?", "What is the capital of France?"],
};

// ---------------------------------------------------------------- the server

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (state.key) headers.authorization = `Bearer ${state.key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const problem = (await response.json().catch(() => ({}))).error || {};
  if (response.status === 401) {
    await askForKey(state.key ? problem.message : "");
    return call(path, options);
  }
  throw new Error([problem.message || `The server answered ${response.status}.`, problem.hint].filter(Boolean).join(" — "));
}

const get = async (path) => (await call(path)).json();
const here = () => `/api/collections/${encodeURIComponent(state.collection)}`;

function askForKey(problem) {
  $("key-problem").textContent = problem ? `${problem}.` : "";
  $("key-problem").hidden = !problem;
  $("key").showModal();
  return new Promise((resolve) => {
    $("key-form").onsubmit = () => {
      state.key = $("key-value").value.trim();
      sessionStorage.setItem("penstock-key", state.key);
      $("key-value").value = "";
      resolve();
    };
  });
}
$("key").addEventListener("cancel", (event) => event.preventDefault());

// ---------------------------------------------------------------- small things

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

function say(text) {
  $("status").textContent = "";
  requestAnimationFrame(() => { $("status").textContent = text; });
}

// A quote's light markup as elements: **strong**, `code`, [text](address). The words stay the source's words.
function inline(text) {
  const nodes = [];
  for (const part of text.split(/(\*\*[^*\n]+\*\*|`[^`\n]+`|\[[^\]\n]+\]\([^)\s]+\))/)) {
    if (/^\*\*.+\*\*$/.test(part)) nodes.push(make("strong", { textContent: part.slice(2, -2) }));
    else if (/^`.+`$/.test(part)) nodes.push(make("code", { textContent: part.slice(1, -1) }));
    else if (/^\[.+\]\(.+\)$/.test(part)) nodes.push(part.slice(1, part.indexOf("](")));
    else if (part) nodes.push(part);
  }
  return nodes;
}

const headings = (c) => (c.section || []).filter((heading, n) => n || heading !== c.title).join(" › ");
const placeOf = (c) => [headings(c), c.page ? `page ${c.page}` : "", c.date].filter(Boolean).join(" · ");
const named = (d) => d.title && d.title !== d.source;
const whole = (text) => (text ? make("span", { className: "whole", textContent: text }) : "");
const many = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;

// Facts beside each other, as text or elements, with a dot between.
function dotted(...facts) {
  return facts.filter(Boolean).flatMap((fact, n) => (n ? [" · ", fact] : [fact]));
}

// The server counts characters, JavaScript counts UTF-16 units: an emoji is one of the first and two of the second.
function unitsAt(text, characters) {
  let units = 0;
  for (let n = 0; n < characters && units < text.length; n++) units += text.codePointAt(units) > 0xffff ? 2 : 1;
  return units;
}

// ---------------------------------------------------------------- asking

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.busy) return state.busy.abort();
  const question = $("question").value.trim();
  if (question) ask(question);
});

$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
$("question").addEventListener("input", grow);

function grow() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

async function ask(question) {
  if (!state.collection) return openDocuments();
  $("welcome").hidden = true;
  $("question").value = "";
  grow();
  const said = make("div", { className: "said" });
  const answer = make("article", { className: "answer waiting", ariaLabel: "Answer" }, said);
  const turn = make("li", {}, make("p", { className: "question", textContent: question }), answer);
  $("turns").append(turn);
  turn.scrollIntoView({ block: "end" });
  state.busy = new AbortController();
  $("send").textContent = "Stop";
  try {
    const messages = [...state.history, { role: "user", content: question }];
    const body = JSON.stringify({ model: state.collection, stream: true, messages });
    const response = await call("/v1/chat/completions", {
      method: "POST", headers: { "content-type": "application/json" }, body, signal: state.busy.signal,
    });
    let found = null;
    for await (const data of events(response)) {
      if (data.error) throw new Error([data.error.message, data.error.hint].filter(Boolean).join(" — "));
      const delta = data.choices?.[0]?.delta;
      if (delta?.content) {
        answer.classList.remove("waiting");
        said.append(delta.content);
      }
      if (data.penstock) found = data.penstock;
    }
    if (!found) throw new Error("The answer ended early.");
    show(turn, answer, question, found);
    state.history.push({ role: "user", content: question }, { role: "assistant", content: found.text });
  } catch (error) {
    const stopped = error.name === "AbortError";
    said.replaceChildren(make("span", { className: stopped ? "hint" : "problem", textContent: stopped ? "Stopped." : error.message }));
    say(stopped ? "Stopped." : error.message);
  } finally {
    answer.classList.remove("waiting");
    state.busy = null;
    $("send").textContent = "Ask";
    $("question").focus();
  }
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    for (let end; (end = waiting.indexOf("\n\n")) >= 0; waiting = waiting.slice(end + 2)) {
      const data = waiting.slice(0, end).replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

// ---------------------------------------------------------------- showing an answer

function show(turn, answer, question, found) {
  if (found.question && found.question !== question) {
    turn.insertBefore(make("p", { className: "understood", textContent: `understood as: ${found.question}` }), answer);
  }
  const parts = [];
  answer.classList.toggle("refused", ["not_found", "refused"].includes(found.status));
  if (found.status === "related") parts.push(make("span", { className: "label", textContent: "Possibly related" }));
  const said = make("div", { className: "said" });
  const quoted = found.quoted.map((n) => found.citations[n].quote).join(" ");
  const opening = found.quoted.length ? (found.text.endsWith(quoted) ? found.text.slice(0, -quoted.length) : "") : found.text;
  if (found.written_by) said.append(...written(found));
  else if (found.status !== "related") said.append(opening);
  for (const n of found.quoted) said.append(...numbered(found.citations[n], n + 1));
  parts.push(said);
  if (found.quoted.length) parts.push(list(found.quoted.map((n) => [found.citations[n], n + 1]), { words: false }));
  const rest = found.citations.map((c, n) => [c, n + 1]).filter(([, n]) => !found.quoted.includes(n - 1));
  if (rest.length) parts.push(fold(found.written_by ? "Sources" : "More from your documents", rest));
  if (found.nearest.length) parts.push(fold("Nearest passages", found.nearest.map((c, n) => [c, n + 1])));
  if (found.withheld.length) parts.push(fold("Withheld: these passages give orders to the model", found.withheld.map((c, n) => [c, n + 1])));
  if (!["not_found", "refused"].includes(found.status)) parts.push(foot(found));
  answer.replaceChildren(...parts);
  const last = turn.getBoundingClientRect();
  turn.scrollIntoView({ block: last.height > $("scroll").clientHeight ? "start" : "end" });
  say(`${found.text} ${many(found.citations.length, "source")}.`);
}

// The words of a model, with a button for each source they name.
function written(found) {
  return found.text.split(/(\[\d{1,3}\])/).flatMap((part) => {
    const n = Number(part.match(/^\[(\d+)\]$/)?.[1] ?? 0);
    return n && found.citations[n - 1] ? [citeButton(found.citations[n - 1], n)] : inline(part);
  });
}

// A quote and its number, with no end of line between the two.
function numbered(citation, n) {
  const nodes = inline(citation.quote);
  const last = nodes.pop();
  const ending = typeof last === "string" ? last.match(/\S{1,12}\s*$/u)?.[0] ?? "" : last;
  if (typeof last === "string") nodes.push(last.slice(0, last.length - ending.length));
  return [...nodes, make("span", { className: "whole" }, ending, citeButton(citation, n)), " "];
}

function citeButton(citation, n) {
  const button = make("button", { type: "button", className: "cite", textContent: String(n) });
  button.setAttribute("aria-label", `Source ${n}: ${citation.title || citation.source}`);
  button.addEventListener("click", () => openSource(citation, button));
  return button;
}

function list(citations, { words = true } = {}) {
  return make("ul", { className: "citations" }, ...citations.map(([c, n]) => {
    const place = make("span", { className: "place" }, ...dotted(
      named(c) ? c.source : "", headings(c), c.page ? whole(`page ${c.page}`) : "", whole(c.date),
      c.stale ? make("span", { className: "stale", textContent: "out of date" }) : "",
      c.also_in.length ? `also in ${c.also_in.join(", ")}` : ""));
    const button = make("button", { type: "button" },
      make("span", { className: "n", textContent: String(n) }),
      make("span", {}, make("span", { className: "name", textContent: c.title || c.source }), " ", place),
      words ? make("span", { className: "words" }, ...inline(c.quote)) : "");
    button.addEventListener("click", () => openSource(c, button));
    return make("li", {}, button);
  }));
}

function fold(title, citations) {
  const more = make("details", { className: "more" }, make("summary", { textContent: `${title} (${citations.length})` }), list(citations));
  more.addEventListener("toggle", () => { if (more.open) more.scrollIntoView({ block: "nearest" }); });
  return more;
}

function foot(found) {
  const percent = Math.round(found.confidence * 100);
  const meter = make("meter", { className: "meter", min: 0, max: 100, low: 20, high: 50, optimum: 100, value: percent });
  meter.setAttribute("aria-label", "Confidence");
  const copy = make("button", { type: "button", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    const sources = found.quoted.map((n) => `[${n + 1}] ${found.citations[n].source} ${placeOf(found.citations[n])}`.trim());
    await navigator.clipboard.writeText([found.text, ...sources].join("\n"));
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  const by = found.written_by ? whole(`written by ${found.written_by}, not checked`) : "";
  return make("p", { className: "foot" }, meter, `${percent}% sure`, by, navigator.clipboard ? copy : ""); // none without https
}

// ---------------------------------------------------------------- the source panel

const WINDOW = 20000;
let opener = null;

async function openSource(citation, button) {
  document.querySelectorAll("[aria-current]").forEach((node) => node.removeAttribute("aria-current"));
  button?.setAttribute("aria-current", "true");
  opener = button;
  const collection = citation.collection || state.collection;
  try {
    const found = await get(`/api/collections/${encodeURIComponent(collection)}/documents/${encodeURIComponent(citation.document_id)}`);
    $("source-title").textContent = found.title || found.source;
    const page = citation.page ? whole(`page ${citation.page}`) : "";
    $("source-where").replaceChildren(...dotted(named(found) ? found.source : "", headings(citation), page, whole(found.date)));
    const start = unitsAt(found.text, citation.start);
    const end = unitsAt(found.text.slice(start), citation.end - citation.start) + start;
    render(found.text, start, end, Math.max(0, start - WINDOW), Math.min(found.text.length, end + WINDOW));
    $("source").hidden = false;
    $("source").focus({ preventScroll: true });
    $("source-text").querySelector("mark")?.scrollIntoView({ block: "center" });
  } catch (error) {
    say(error.message);
    $("source-title").textContent = "The source cannot be shown";
    $("source-where").textContent = error.message;
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
  if (from > 0) widen("Show what comes before", Math.max(0, from - 5 * WINDOW), to);
  nodes.push(text.slice(from, start));
  if (end > start) nodes.push(make("mark", { textContent: text.slice(start, end) }));
  nodes.push(text.slice(end, to));
  if (to < text.length) widen("Show what comes after", from, Math.min(text.length, to + 5 * WINDOW));
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

// ---------------------------------------------------------------- documents

$("show-documents").addEventListener("click", openDocuments);
$("close-documents").addEventListener("click", () => $("documents").close());
$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => { upload([...$("files").files]); $("files").value = ""; });

async function openDocuments() {
  if (!$("documents").open) $("documents").showModal();
  $("drop").hidden = !state.admin;
  await listDocuments();
}

async function listDocuments() {
  if (!state.collection) return $("document-list").replaceChildren(make("li", { className: "hint", textContent: "Nothing is indexed yet." }));
  try {
    const { documents, skipped } = await get(`${here()}/documents`);
    $("count").textContent = String(documents.length);
    $("count").hidden = !documents.length;
    const rows = documents.map((d) => {
      const title = make("button", { type: "button", className: "title", textContent: d.title || d.source });
      title.addEventListener("click", () => { $("documents").close(); openSource({ document_id: d.id, start: 0, end: 0 }, null); });
      const facts = dotted(named(d) ? d.source : "", whole(many(d.passages, "passage")), d.language, whole(d.date));
      return make("li", {}, title, make("span", { className: "facts" }, ...facts));
    });
    const failed = skipped.map((s) => make("li", { className: "failed" },
      make("span", { className: "title", textContent: s.source }),
      make("span", { className: "facts", textContent: [s.reason, s.hint].filter(Boolean).join(" — ") })));
    $("document-list").replaceChildren(...failed, ...rows);
  } catch (error) {
    $("document-list").replaceChildren(make("li", { className: "problem", textContent: error.message }));
  }
}

let uploads = Promise.resolve(); // one file after another, as a collection has one writer at a time

function upload(files) {
  uploads = uploads.then(() => uploadAll(files));
}

async function uploadAll(files) {
  const name = state.collection || "documents";
  for (const file of files) await uploadOne(name, file);
  await load(name);
  if ($("documents").open) await listDocuments();
}

function uploadOne(collection, file) {
  const bar = make("progress", { max: 100, value: 0 });
  bar.setAttribute("aria-label", `Adding ${file.name}`);
  const facts = make("span", { className: "facts", textContent: "sending" });
  const row = make("li", {}, make("strong", { textContent: file.name }), facts, bar);
  $("uploads").append(row);
  const finish = (text, failed) => {
    facts.textContent = text;
    facts.classList.toggle("problem", failed);
    bar.remove();
    say(`${file.name}: ${text}`);
    if (!failed) setTimeout(() => row.remove(), 4000);
  };
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch cannot tell how much of a body was sent
    request.open("POST", `/api/collections/${encodeURIComponent(collection)}/documents?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("accept", "application/x-ndjson");
    if (state.key) request.setRequestHeader("authorization", `Bearer ${state.key}`);
    request.upload.onprogress = (event) => { bar.value = (event.loaded / event.total) * 60; };
    let passages = 0, seen = 0;
    request.onprogress = () => {
      const lines = request.responseText.split("\n");
      for (; seen < lines.length - 1; seen++) {
        const step = JSON.parse(lines[seen]);
        if (step.step === "reading") { facts.textContent = "reading"; bar.removeAttribute("value"); }
        if (step.step === "indexing") { passages += step.passages; facts.textContent = `indexing, ${many(passages, "passage")}`; }
      }
    };
    request.onload = () => {
      const lines = request.responseText.trim().split("\n");
      const last = JSON.parse(lines[lines.length - 1] || "{}");
      if (last.error) finish([last.error.message, last.error.hint].filter(Boolean).join(" — "), true);
      else if (last.skipped?.length && !last.added.length && !last.changed.length) finish(last.skipped[0].reason, true);
      else finish(last.version ? `ready to be asked (${many(passages, "passage")})` : "already indexed", false);
      resolve();
    };
    request.onerror = () => { finish("the connection broke; nothing was changed", true); resolve(); };
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
  await openDocuments();
  upload(files);
});

// ---------------------------------------------------------------- starting

$("collection").addEventListener("change", () => choose($("collection").value));
$("new").addEventListener("click", () => {
  state.history = [];
  $("turns").replaceChildren();
  $("welcome").hidden = false;
  $("source").hidden = true;
  $("question").focus();
});

function choose(name) {
  if (name !== state.collection) {
    state.history = [];
    $("turns").replaceChildren();
    $("welcome").hidden = false;
  }
  state.collection = name;
  const found = state.collections.find((c) => c.name === name);
  $("count").textContent = String(found?.documents ?? 0);
  $("count").hidden = !found;
  const ready = found?.version;
  $("question").placeholder = ready ? `Ask ${name}…` : "Add documents first…";
  $("welcome-text").textContent = ready
    ? "Answers are quoted word for word, each with its source. What is not there is not answered."
    : `There is nothing to ask yet. ${state.admin ? "Drop files anywhere on this page to begin." : "Whoever runs this server can add documents."}`;
  const tries = ready ? (SUGGESTIONS[name] || []).map((question) => press(question, () => ask(question))) : [];
  if (!ready && state.admin) tries.push(press("Add documents", openDocuments, "primary"));
  $("suggestions").replaceChildren(...tries.map((button) => make("li", {}, button)));
  $("suggestions").hidden = !tries.length;
}

function press(text, action, className = "") {
  const button = make("button", { type: "button", className, textContent: text });
  button.addEventListener("click", action);
  return button;
}

async function load(wanted) {
  const { collections, admin } = await get("/api/collections");
  state.collections = collections;
  state.admin = admin;
  $("collection").replaceChildren(...collections.map((c) => make("option", { value: c.name, textContent: c.name })));
  $("collection").parentElement.hidden = !collections.length;
  const name = [wanted, state.collection].find((n) => collections.some((c) => c.name === n)) || collections[0]?.name || "";
  $("collection").value = name;
  choose(name);
}

async function start() {
  const address = new URLSearchParams(location.search);
  try {
    await load(address.get("collection"));
    if (address.get("document")) {
      const [start, end] = ["start", "end"].map((name) => Number(address.get(name)) || 0);
      await openSource({ collection: address.get("collection"), document_id: address.get("document"), start, end }, null);
    }
  } catch (error) {
    $("welcome-text").textContent = error.message;
  }
  $("question").focus();
}

start();
