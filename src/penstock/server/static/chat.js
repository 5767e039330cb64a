// The chat page. Plain DOM, no framework; everything that comes from documents or people is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const state = {
  collections: [], collection: "", history: [], shown: [], busy: null, key: sessionStorage.getItem("penstock-key") || "", admin: false,
  languages: [], phrases: {},
};
const SUGGESTIONS = {
  "penstock-docs": ["How do I go back to an earlier version of the index?", "Which file formats can be read?", "Who may read a document?", "What is the capital of France?"],
};

// ---------------------------------------------------------------- the reader's language

const SAME = { nb: "no", nn: "no" }; // browsers name the two ways to write Norwegian

// A phrase of this page in the reader's language. What is filled in may run the other way, so it is set apart.
function t(phrase, values = {}) {
  const said = state.phrases[phrase] ?? phrase;
  return said.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? values[name] : `\u2068${values[name]}\u2069`));
}

// What stands in the page from the beginning: the English words, and how to put others in their place.
const printed = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text; (text = texts.nextNode());) {
  const [, before, english, after] = text.data.match(/^(\s*)(.*?)(\s*)$/s);
  if (english) printed.push([english, (said) => { text.data = before + said + after; }]);
}
for (const name of ["aria-label", "title", "placeholder"]) {
  for (const node of document.body.querySelectorAll(`[${name}]`)) {
    printed.push([node.getAttribute(name), (said) => node.setAttribute(name, said)]);
  }
}

// The first language that somebody asked for and that there are words in: the address, the reader, their browser.
function wanted() {
  const tags = [new URLSearchParams(location.search).get("lang"), localStorage.getItem("penstock-language"), ...navigator.languages];
  for (const tag of tags.filter(Boolean)) {
    const base = tag.toLowerCase().split(/[-_]/)[0];
    const found = [tag, base, SAME[base]].find((code) => state.languages.some((one) => one.language === code));
    if (found) return found;
  }
  return "en";
}

async function speak(language) {
  const found = language === "en" ? null : await get(`/static/phrases/${language}.json`).catch(() => null);
  state.phrases = found?.phrases ?? {};
  document.documentElement.lang = found?.language ?? "en";
  document.documentElement.dir = found?.direction ?? "ltr";
  for (const [english, put] of printed) put(t(english));
  $("language").value = document.documentElement.lang;
}

async function greet() {
  state.languages = await get("/static/phrases.json").catch(() => []);
  const options = state.languages.map(({ language, name }) => make("option", { value: language, lang: language, textContent: name }));
  $("language").replaceChildren(...options);
  $("language").parentElement.hidden = !state.languages.length;
  await speak(wanted());
  document.documentElement.dataset.ready = "";
}

$("language").addEventListener("change", async () => {
  localStorage.setItem("penstock-language", $("language").value);
  const address = new URL(location);
  address.searchParams.delete("lang");
  history.replaceState(null, "", address);
  await speak($("language").value);
  $("send").textContent = t(state.busy ? "Stop" : "Ask");
  $("source").hidden = true;
  choose(state.collection);
  for (const show of state.shown) show();
});

const directionOf = (language) => state.languages.find((one) => one.language === language)?.direction ?? "auto";

function nameOf(language) {
  try {
    return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(language);
  } catch {
    return language; // none, or one that the browser has never heard of
  }
}

// ---------------------------------------------------------------- what goes wrong

const BUSY = "This server is busy at the moment. Try again in a minute.";
const CUT = "The answer ended early.";
const LARGE = "This is too large.";
const LIMITED = "Too many requests in a short time. Try again a little later.";
const NO_MODEL = "The model does not answer at the moment. Try again in a minute.";
const NO_SERVER = "The server does not answer. Is it still running?";
const NOT_ALLOWED = "This is not allowed. Whoever runs this server can allow it.";
const NOT_FOUND = "This was not found. It may have been removed.";
const UNUSABLE = "This file cannot be used.";
const WRONG = "Something went wrong. If it happens again, whoever runs this server can help.";

// By the code of an error; by the status where it has none, as what stands between this page and the server knows no codes of ours.
const PROBLEMS = new Map([
  ["rate_limit_exceeded", LIMITED], [429, LIMITED], ["insufficient_quota", "The budget for this is used up."],
  ["upstream_error", NO_MODEL], ["upstream_busy", NO_MODEL], ["upstream_timeout", NO_MODEL], ["upstream_resting", NO_MODEL],
  ["needs_key", NOT_ALLOWED], [401, NOT_ALLOWED], ["not_allowed", NOT_ALLOWED], [403, NOT_ALLOWED],
  ["not_found", NOT_FOUND], [404, NOT_FOUND], ["too_large", LARGE], [413, LARGE], ["context_length_exceeded", LARGE],
  ["unreadable", UNUSABLE], ["not_ready", BUSY], ["overloaded", BUSY], ["conflict", BUSY], [503, BUSY],
  [502, NO_SERVER], [504, NO_SERVER],
]);
const OF_A_QUESTION = new Map([
  ["bad_request", "The question is empty or too long."], ["blocked_by_guard", "This question was stopped by a rule of this service."],
]);

// A phrase of this page, and for whoever runs the server the status and its own words, which are English.
class Problem extends Error {
  constructor(phrase, { status = 0, words = "" } = {}) {
    super(phrase);
    this.status = status;
    this.words = words;
  }
}

function refusal(error, { status = 0, asking = false } = {}) {
  const { code, message, hint } = Object(error);
  const phrase = (asking && OF_A_QUESTION.get(code)) || PROBLEMS.get(code) || (!code && PROBLEMS.get(status)) || WRONG;
  return new Problem(phrase, { status, words: joined(message, hint) });
}

const joined = (message, hint) => [message, hint].filter(Boolean).join(" — ");
const problemOf = (error) => (error instanceof Problem ? error : new Problem(WRONG, { words: error.message }));

// A problem as an element: the phrase, and the rest folded away.
function wrong(error) {
  const { message, status, words } = problemOf(error);
  const more = make("details", {}, make("summary", { textContent: t("Details") }),
    status ? make("p", { textContent: t("The server answered {status}.", { status }) }) : "",
    words ? make("p", { lang: "en", dir: "ltr", textContent: words }) : "");
  more.addEventListener("toggle", () => { if (more.open) more.scrollIntoView({ block: "nearest" }); });
  return make("div", { className: "wrong" }, make("p", { className: "problem", textContent: t(message) }), status || words ? more : "");
}

// One line of what the server tells, or nothing where it is a line of somebody else, or cut off.
function parsed(line) {
  try {
    return Object(JSON.parse(line));
  } catch {
    return {};
  }
}

// ---------------------------------------------------------------- the server

const CHAT = "/v1/chat/completions";

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (state.key) headers.authorization = `Bearer ${state.key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(NO_SERVER);
  }
  if (response.ok) return response;
  const { error } = parsed(await response.text().catch(() => ""));
  const { status } = response;
  if (status === 401) {
    await askForKey(state.key ? new Problem("This key is not accepted.", { words: error?.message }) : null);
    return call(path, options);
  }
  throw refusal(error, { status, asking: path === CHAT });
}

const get = async (path) => (await call(path)).json();
const here = () => `/api/collections/${encodeURIComponent(state.collection)}`;

function askForKey(problem) {
  $("key-problem").replaceChildren(problem ? wrong(problem) : "");
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

// A quote's light markup as elements: **strong**, `code`, [text](address). The words stay the source's words. A date is set
// apart, as its parts would change places among Arabic words.
function inline(text) {
  const nodes = [];
  for (const part of text.split(/(\*\*[^*\n]+\*\*|`[^`\n]+`|\[[^\]\n]+\]\([^)\s]+\)|\b\d{4}-\d\d-\d\d\b)/)) {
    if (/^\*\*.+\*\*$/.test(part)) nodes.push(make("strong", { textContent: part.slice(2, -2) }));
    else if (/^`.+`$/.test(part)) nodes.push(make("code", { textContent: part.slice(1, -1) }));
    else if (/^\[.+\]\(.+\)$/.test(part)) nodes.push(part.slice(1, part.indexOf("](")));
    else if (/^\d{4}-\d\d-\d\d$/.test(part)) nodes.push(whole(part));
    else if (part) nodes.push(part);
  }
  return nodes;
}

const headings = (c) => (c.section || []).filter((heading, n) => n || heading !== c.title).join(" › ");
const pageOf = (c) => (c.page ? t("page {page}", { page: c.page }) : "");
const placeOf = (c) => [headings(c), pageOf(c), c.date].filter(Boolean).join(" · ");
const named = (d) => d.title && d.title !== d.source;
const apart = (text, className = "") => (text ? make("bdi", { className, textContent: text }) : ""); // may run the other way
const whole = (text) => apart(text, "whole");

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
  const said = make("div", { className: "said", dir: "auto" });
  const answer = make("article", { className: "answer waiting", ariaLabel: t("Answer") }, said);
  const turn = make("li", {}, make("p", { className: "question", textContent: question }), answer);
  $("turns").append(turn);
  turn.scrollIntoView({ block: "end" });
  state.busy = new AbortController();
  $("send").textContent = t("Stop");
  try {
    const messages = [...state.history, { role: "user", content: question }];
    const body = JSON.stringify({ model: state.collection, stream: true, messages });
    const response = await call(CHAT, {
      method: "POST", headers: { "content-type": "application/json" }, body, signal: state.busy.signal,
    });
    let found = null;
    for await (const data of events(response)) {
      if (data.error) throw refusal(data.error, { asking: true });
      const delta = data.choices?.[0]?.delta;
      if (delta?.content) {
        answer.classList.remove("waiting");
        said.append(delta.content);
      }
      if (data.penstock) found = data.penstock;
    }
    if (!found) throw new Problem(CUT);
    const opinion = { request: response.headers.get("x-request-id"), thumb: "", reasons: [], correction: "", csat: 0, person: {} };
    const draw = () => show(turn, question, found, opinion);
    draw();
    state.shown.push(draw);
    const { height } = turn.getBoundingClientRect();
    turn.scrollIntoView({ block: height > $("scroll").clientHeight ? "start" : "end" });
    say(`${found.text} ${t("Sources: {count}", { count: found.citations.length })}`);
    state.history.push({ role: "user", content: question }, { role: "assistant", content: found.text });
  } catch (error) {
    const stopped = error.name === "AbortError";
    const draw = () => said.replaceChildren(stopped ? make("span", { className: "hint", textContent: t("Stopped.") }) : wrong(error));
    draw();
    state.shown.push(draw);
    turn.scrollIntoView({ block: "end" });
    say(stopped ? t("Stopped.") : t(problemOf(error).message));
  } finally {
    answer.classList.remove("waiting");
    state.busy = null;
    $("send").textContent = t("Ask");
    $("question").focus();
  }
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Problem(CUT, { words: error.message });
    });
    if (done) return;
    waiting += value;
    for (let end; (end = waiting.indexOf("\n\n")) >= 0; waiting = waiting.slice(end + 2)) {
      const data = waiting.slice(0, end).replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

// ---------------------------------------------------------------- showing an answer

const SILENT = ["not_found", "refused", "handed_over"];
const LINES = { not_found: "not in the sources", contradicted: "the sources say otherwise", copied: "nearly word for word from a source" };

function show(turn, question, found, opinion) {
  const understood = found.question && found.question !== question ? t("understood as: {question}", { question: found.question }) : "";
  const silent = SILENT.includes(found.status);
  const said = make("div", { className: "said", lang: found.language, dir: directionOf(found.language) }, ...worded(found));
  const quoted = inText(found);
  const numbers = found.citations.map((c, n) => [c, n + 1]);
  const more = found.written_by ? numbers : numbers.filter(([, n]) => !quoted.includes(n - 1));
  const answer = make("article", { className: silent ? "answer refused" : "answer", ariaLabel: t("Answer") },
    found.status === "related" ? make("span", { className: "label", textContent: t("Possibly related") }) : "",
    said,
    quoted.length && !found.written_by ? list(quoted.map((n) => numbers[n]), { words: false }) : "",
    more.length ? fold(t(found.written_by ? "Sources" : "More from your documents"), more) : "",
    found.nearest.length ? fold(t("Nearest passages"), found.nearest.map((c, n) => [c, n + 1])) : "",
    found.withheld.length ? fold(t("Withheld: these passages give orders to the model"), found.withheld.map((c, n) => [c, n + 1])) : "",
    make("div", { className: "below" }, silent ? "" : foot(found), why(opinion.request), opinion.request ? opinionOn(opinion) : "",
      state.people ? person(question, opinion) : ""));
  turn.replaceChildren(
    make("p", { className: "question", textContent: question }),
    ...(understood ? [make("p", { className: "understood", textContent: understood })] : []),
    answer);
}

// The citations whose quotes stand in the text, in its order. Sources that disagree stand there by date, the newest first.
function inText({ citations, quoted, conflicts }) {
  const date = (n) => citations[n].date;
  return conflicts.length ? [...new Set(conflicts.flat())].sort((a, b) => (date(a) < date(b)) - (date(a) > date(b))) : quoted;
}

// Where the quotes stand. Looked for from the end, as a translation before them may hold the same words.
function quotesIn(found) {
  const places = [];
  let before = found.text;
  for (const n of [...inText(found)].reverse()) {
    const { quote } = found.citations[n];
    const words = found.written_by ? `“${quote}”` : quote;
    const start = before.lastIndexOf(words);
    if (start < 0) continue;
    places.unshift({ start, end: start + words.length, n });
    before = before.slice(0, start);
  }
  return places;
}

// The text as elements: a button behind each quote and for each number that a model wrote, and a line under what is not in
// the sources or copied from them.
function worded(found) {
  const { text, citations } = found;
  const button = (n) => citeButton(citations[n], n + 1);
  const quotes = quotesIn(found);
  const cited = quotes.map(({ start, end, n }) => ({ start, end, show: () => numbered(text.slice(start, end), button(n)) }));
  for (const mark of found.written_by ? text.matchAll(/\[(\d{1,3})\]/g) : []) {
    const n = mark[1] - 1;
    if (citations[n]) cited.push({ start: mark.index, end: mark.index + mark[0].length, show: () => button(n) });
  }
  const lined = [...(found.verdict?.claims ?? []), ...found.copied.map((one) => ({ ...one, label: "copied" }))]
    .filter(({ label }) => label in LINES)
    .map(({ start, end, label }) => ({ start: unitsAt(text, start), end: unitsAt(text, end), label }));
  const opening = quotes.length ? text.slice(0, quotes[0].start) : "";
  const from = found.status === "related" && !opening.includes("\n\n") ? opening.length : 0; // the label says so already
  const cuts = [from, text.length, ...[...cited, ...lined].flatMap(({ start, end }) => [start, end])]
    .filter((cut) => cut >= from && !cited.some(({ start, end }) => start < cut && cut < end))
    .sort((a, b) => a - b);
  const nodes = cuts.slice(1).flatMap((end, n) => {
    const covers = (one) => one.start <= cuts[n] && end <= one.end && cuts[n] < end;
    const whole = cited.find(covers);
    if (whole) return [whole.show()];
    const words = inline(text.slice(cuts[n], end));
    const labels = lined.filter(covers).map(({ label }) => label);
    if (!labels.length) return words;
    return [make("span", { className: labels.join(" "), title: labels.map((label) => t(LINES[label])).join(", ") }, ...words)];
  });
  const placed = new Set(quotes.map(({ n }) => n));
  const lost = found.written_by ? [] : inText(found).filter((n) => !placed.has(n)); // their words were masked on the way out
  return [...nodes, ...lost.map(button)];
}

// A quote and its number, with no end of line between the two.
function numbered(words, button) {
  const nodes = inline(words);
  const last = nodes.pop();
  const ending = typeof last === "string" ? last.match(/\S{1,12}\s*$/u)?.[0] ?? "" : last;
  if (typeof last === "string") nodes.push(last.slice(0, last.length - ending.length));
  return make("bdi", { className: "quote" }, ...nodes, make("span", { className: "whole" }, ending, button));
}

function citeButton(citation, n) {
  const button = make("button", { type: "button", className: "cite", textContent: String(n) });
  button.setAttribute("aria-label", t("Source {number}: {title}", { number: n, title: citation.title || citation.source }));
  button.addEventListener("click", () => openSource(citation, button));
  return button;
}

function list(citations, { words = true } = {}) {
  return make("ul", { className: "citations" }, ...citations.map(([c, n]) => {
    const place = make("span", { className: "place" }, ...dotted(
      named(c) ? apart(c.source) : "", apart(headings(c)), whole(pageOf(c)), whole(c.date),
      c.stale ? make("span", { className: "stale", textContent: t("out of date") }) : "",
      c.also_in.length ? t("also in {sources}", { sources: c.also_in.join(", ") }) : ""));
    const button = make("button", { type: "button" },
      make("span", { className: "n", textContent: String(n) }),
      make("span", {}, make("span", { className: "name" }, apart(c.title || c.source)), " ", place),
      words ? make("span", { className: "words" }, make("bdi", {}, ...inline(c.quote))) : "");
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
  meter.setAttribute("aria-label", t("Confidence"));
  const copy = make("button", { type: "button", textContent: t("Copy") });
  copy.addEventListener("click", async () => {
    const sources = inText(found).map((n) => `[${n + 1}] ${found.citations[n].source} ${placeOf(found.citations[n])}`.trim());
    await navigator.clipboard.writeText([found.text, ...sources].join("\n"));
    copy.textContent = t("Copied");
    setTimeout(() => { copy.textContent = t("Copy"); }, 1500);
  });
  const checked = found.verdict && found.verdict.label !== "unscored";
  const written = checked ? "written by {model}, checked against the sources" : "written by {model}, not checked";
  const by = found.written_by ? make("span", { textContent: t(written, { model: found.written_by }) }) : "";
  const copied = found.copied.length ? make("span", {}, make("span", { className: "copied", textContent: t(LINES.copied) })) : "";
  const sure = make("span", { textContent: t("{percent}% sure", { percent }) });
  return make("p", { className: "foot" }, meter, sure, by, copied, navigator.clipboard ? copy : ""); // none without https
}

// The rooms that an answer passed through, for those who may see them.
function why(request) {
  if (!request || !state.admin) return "";
  return make("a", { className: "why-link", href: `/console/requests/${encodeURIComponent(request)}`, textContent: t("Why this answer?") });
}

// ---------------------------------------------------------------- what people think of an answer

const THUMBS = [["up", "This helped"], ["down", "This did not help"]];
const THUMB = "M7 11v9H3v-9zM9 20V10l4-7c1.7 0 2.5 1.2 2.2 2.7L14.5 9H20a1.6 1.6 0 0 1 1.6 1.9l-1.5 7.6A1.9 1.9 0 0 1 18.2 20z";
const REASONS = [
  ["wrong", "It is wrong"], ["incomplete", "Something is missing"], ["outdated", "It is out of date"],
  ["off_topic", "It does not answer my question"], ["unclear", "I do not understand it"],
];
const JOURNAL_MS = 1500; // after which another process of the server knows of an answer too

// Thumbs, then how satisfied, and after a thumb down why. Said again is taken back. opinion: what the server knows, which it is sent whole.
function opinionOn(opinion) {
  const node = make("div", { className: "opinion" });
  const told = make("span", { className: "hint" });
  const send = async (changes, then = "") => {
    const body = { method: "POST", headers: { "content-type": "application/json" } };
    const give = (said) => call("/v1/feedback", { ...body, body: JSON.stringify({ request: opinion.request, ...said }) });
    const { thumb, reasons, correction, csat } = { ...opinion, ...changes };
    const said = { thumb: thumb || null, reasons, correction: correction || null, csat: csat || null };
    try {
      await give(said).catch(async (error) => {
        if (error.status !== 404) throw error;
        await new Promise((resolve) => { setTimeout(resolve, JOURNAL_MS); });
        return give(said);
      });
      Object.assign(opinion, changes);
      draw();
      told.textContent = then && t(then);
      if (then) say(t(then));
    } catch (error) {
      told.replaceChildren(wrong(error));
      say(t(problemOf(error).message));
    }
  };
  const toggle = (className, on, label, changes) => {
    const button = make("button", { type: "button", className, ariaPressed: String(on) });
    button.addEventListener("click", () => send(changes, "Thank you. It is noted."));
    return Object.assign(button, label);
  };
  const draw = () => {
    const typed = node.querySelector("textarea")?.value ?? opinion.correction;
    const at = [...node.querySelectorAll("button, textarea")].indexOf(document.activeElement);
    const thumbs = THUMBS.map(([thumb, phrase]) => {
      const on = opinion.thumb === thumb;
      const changes = { thumb: on ? "" : thumb, reasons: [], correction: "", csat: 0 };
      const button = toggle(`thumb ${thumb}`, on, { title: t(phrase), ariaLabel: t(phrase) }, changes);
      button.append(icon(THUMB));
      return button;
    });
    node.replaceChildren(make("span", { className: "thumbs" }, ...thumbs), told,
      opinion.thumb ? how() : "", opinion.thumb === "down" ? why(typed) : "");
    if (at >= 0) node.querySelectorAll("button, textarea")[at]?.focus({ preventScroll: true });
  };
  const how = () => {
    const rated = [1, 2, 3, 4, 5].map((csat) => {
      const on = opinion.csat === csat;
      return toggle("rating", on, { textContent: csat }, { csat: on ? 0 : csat });
    });
    const asked = t("How satisfied are you with it, from 1 (not at all) to 5 (very)?");
    return make("fieldset", {}, make("legend", { textContent: asked }), ...rated);
  };
  const why = (typed) => {
    const reasons = REASONS.map(([reason, phrase]) => {
      const on = opinion.reasons.includes(reason);
      const others = opinion.reasons.filter((one) => one !== reason);
      return toggle("reason", on, { textContent: t(phrase) }, { reasons: on ? others : [...others, reason] });
    });
    const right = make("textarea", { rows: 2, dir: "auto", maxLength: 4000, value: typed });
    const form = make("form", { className: "why" },
      make("fieldset", {}, make("legend", { textContent: t("What was wrong with it?") }), ...reasons),
      make("label", {}, t("What would have been right?"), right),
      make("button", { type: "submit", textContent: t("Send") }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send({ correction: right.value.trim() }, "Thank you. It is noted.");
    });
    return form;
  };
  draw();
  return node;
}

// ---------------------------------------------------------------- asking a person

const WAIT_S = 30; // that the server may take to say that nobody has replied yet
const AGAIN_MS = 5000; // after which it is asked again where it could not be reached

// A person is asked, and what they reply stands where the question was.
function person(question, opinion) {
  const node = make("div", { className: "person", role: "status" });
  const asked = opinion.person;
  const draw = () => {
    if (!asked.state) node.replaceChildren(press(t("Ask a person"), ask));
    else if (asked.state === "pending") node.replaceChildren(make("p", { className: "hint", textContent: t("A person was asked. The reply will appear here.") }));
    else if (asked.text) {
      node.replaceChildren(make("p", { className: "hint", textContent: t("A person replies:") }), make("p", { className: "said", dir: "auto", textContent: asked.text }));
    } else node.replaceChildren(make("p", { className: "hint", textContent: t("Nobody replied. You can ask again.") }), press(t("Ask a person"), ask));
  };
  const ask = async () => {
    const post = { method: "POST", headers: { "content-type": "application/json" } };
    const give = (more) => call("/v1/review/hand-overs", { ...post, body: JSON.stringify({ question, history: state.history.slice(-8), ...more }) });
    try {
      const made = await give({ request: opinion.request }).catch((error) => {
        if (error.status !== 404) throw error;
        return give({}); // the journal does not know of it yet
      });
      Object.assign(asked, await made.json());
      draw();
      await wait();
    } catch (error) {
      node.replaceChildren(wrong(error), press(t("Ask a person"), ask));
    }
  };
  const wait = async () => {
    asked.waiting = true;
    while (asked.state === "pending") {
      const found = await get(`/v1/review/replies/${encodeURIComponent(asked.id)}?wait=${WAIT_S}`).catch((error) => {
        if (error.status && error.status !== 503) throw error;
        return new Promise((resolve) => { setTimeout(resolve, AGAIN_MS, {}); });
      });
      Object.assign(asked, found);
    }
    for (const show of state.shown) show();
    say(asked.text || t("Nobody replied. You can ask again."));
  };
  draw();
  return node;
}

function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(svg.namespaceURI, "path"));
  svg.firstChild.setAttribute("d", path);
  return svg;
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

let uploads = Promise.resolve(); // one file after another, as a collection has one writer at a time

function upload(files) {
  uploads = uploads.then(() => uploadAll(files)).catch((error) => $("document-list").replaceChildren(make("li", {}, wrong(error))));
}

async function uploadAll(files) {
  const name = state.collection || "documents";
  for (const file of files) await uploadOne(name, file);
  await load(name);
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
        if (step.step === "reading") { facts.textContent = t("reading"); bar.removeAttribute("value"); }
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
  await openDocuments();
  upload(files);
});

// ---------------------------------------------------------------- starting

$("collection").addEventListener("change", () => choose($("collection").value));
$("new").addEventListener("click", () => {
  begin();
  $("source").hidden = true;
  $("question").focus();
});

function begin() {
  state.history = [];
  state.shown = [];
  $("turns").replaceChildren();
  $("welcome").hidden = false;
}

function choose(name) {
  if (name !== state.collection) begin();
  state.collection = name;
  const found = state.collections.find((c) => c.name === name);
  $("count").textContent = String(found?.documents ?? 0);
  $("count").hidden = !found;
  const ready = found?.version;
  $("question").placeholder = ready ? t("Ask {name}…", { name }) : t("Add documents first…");
  $("welcome-text").textContent = t(ready
    ? "Answers are quoted word for word, each with its source. What is not there is not answered."
    : state.admin
      ? "There is nothing to ask yet. Drop files anywhere on this page to begin."
      : "There is nothing to ask yet. Whoever runs this server can add documents.");
  const tries = ready ? (SUGGESTIONS[name] || []).map((question) => press(question, () => ask(question), { lang: "en", dir: "ltr" })) : [];
  if (!ready && state.admin) tries.push(press(t("Add documents"), openDocuments, { className: "primary" }));
  $("suggestions").replaceChildren(...tries.map((button) => make("li", {}, button)));
  $("suggestions").hidden = !tries.length;
}

function press(text, action, properties = {}) {
  const button = make("button", { type: "button", textContent: text, ...properties });
  button.addEventListener("click", action);
  return button;
}

async function load(wanted) {
  const { collections, admin } = await get("/api/collections");
  state.collections = collections;
  state.admin = admin;
  $("console").hidden = !admin;
  state.people = (await get("/v1/feedback").catch(() => ({}))).people ?? false;
  $("collection").replaceChildren(...collections.map((c) => make("option", { value: c.name, textContent: c.name })));
  $("collection").parentElement.hidden = !collections.length;
  const name = [wanted, state.collection].find((n) => collections.some((c) => c.name === n)) || collections[0]?.name || "";
  $("collection").value = name;
  choose(name);
}

async function start() {
  const address = new URLSearchParams(location.search);
  await greet();
  try {
    await load(address.get("collection"));
    if (address.get("document")) {
      const [start, end] = ["start", "end"].map((name) => Number(address.get(name)) || 0);
      await openSource({ collection: address.get("collection"), document_id: address.get("document"), start, end }, null);
    }
  } catch (error) {
    const draw = () => $("welcome-text").replaceChildren(wrong(error));
    draw();
    state.shown.push(draw);
  }
  $("question").focus();
}

start();
