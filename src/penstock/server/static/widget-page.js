// The page of one app alone: in a widget's frame for visitors of other sites, or the whole screen for whoever may ask the app. Plain
// DOM; everything that comes from documents or people is set as text, never as HTML.

import { barIn, besides, isPassed, isWithPerson, rowsOf } from "./bot.js";
import { howItWas, noOpinion, opinionOn } from "./opinion.js";
import { composing, events, inline, listed, make, newId, numbered, press, say, t, words } from "./parts.js";

const $ = (id) => document.getElementById(id);
const [, kind, part] = location.pathname.split("/"); // /widget/NAME or /app/NAME
const name = decodeURIComponent(part);
const isWidget = kind === "widget";
const given = new URLSearchParams(location.hash.slice(1) || location.search);
const KEPT = `penstock-${kind}:${name}`;
const KEY = "penstock-key"; // of this tab, also for the chat page
const MOST_KEPT = 30; // turns of a conversation
const MOST_BEFORE = 5; // turns that are sent along with a question
const MOST_WAITING = 5; // questions of the site that wait for the one before them
const state = { token: "", until: 0, widget: {}, conversation: newId(), turns: [], failed: null, busy: null, site: "", waiting: [] };

// ---------------------------------------------------------------- what stays in the tab

function keep() {
  try {
    const { token, conversation, turns } = state;
    sessionStorage.setItem(KEPT, JSON.stringify({ token, conversation, turns: turns.slice(-MOST_KEPT) }));
  } catch { /* no room, or the browser keeps nothing for frames: it lasts as long as the frame */ }
}

function kept() {
  try {
    const { token, conversation, turns } = JSON.parse(sessionStorage.getItem(KEPT));
    return {
      token: typeof token === "string" && /^[\w.-]*$/.test(token) ? token : "", turns: Array.isArray(turns) ? turns : [],
      conversation: /^[0-9a-f]{32}$/.test(conversation) ? conversation : state.conversation,
    };
  } catch {
    return {};
  }
}

// ---------------------------------------------------------------- words

function speak() {
  const { language, direction, phrases, title, greeting } = state.widget;
  words.phrases = phrases;
  Object.assign(document.documentElement, { lang: language, dir: direction });
  label();
  document.title = $("title").textContent = title;
  $("greeting").textContent = greeting;
}

function label() {
  for (const [from, to] of [["t", "textContent"], ["label", "ariaLabel"], ["title", "title"], ["placeholder", "placeholder"]]) {
    for (const node of document.querySelectorAll(`[data-${from}]`)) node[to] = t(node.dataset[from]);
  }
  sending();
}

// To a bot people write what they like, and it is no question alone.
function sending() {
  if (state.widget.bot) $("question").placeholder = $("question").ariaLabel = t("Write a message…");
  $("send").textContent = t(state.busy ? "Stop" : state.widget.bot ? "Send" : "Ask");
}

const BUSY = "This server is busy at the moment. Try again in a minute.";
const CUT = "The answer ended early.";
const LONG = "The question is empty or too long.";
const LIMITED = "Too many requests in a short time. Try again a little later.";
const WRONG = "Something went wrong. If it happens again, whoever runs this server can help.";
const PROBLEMS = {
  400: LONG, 413: LONG, 429: LIMITED, 502: BUSY, 503: BUSY, 504: BUSY, rate_limit_exceeded: LIMITED, insufficient_quota: LIMITED,
  blocked_by_guard: "This question was stopped by a rule of this service.", upstream_error: BUSY, upstream_busy: BUSY,
  upstream_timeout: BUSY, upstream_resting: BUSY,
};

class Problem extends Error {}

const problem = (phrase, status = 0) => Object.assign(new Problem(phrase), { status });
const refusal = ({ error }, status = 0) => problem(PROBLEMS[error?.code] ?? PROBLEMS[status] ?? WRONG, status);
const problemOf = (error) => t(error instanceof Problem ? error.message : WRONG);

// ---------------------------------------------------------------- the server

// Visitors have a token, and everybody else what opens the chat page: a session, a key, or nothing where nobody needs one.
function known() {
  if (isWidget) return { credentials: "omit", headers: { "x-penstock-visit": state.token } };
  const key = sessionStorage.getItem(KEY);
  return { credentials: "same-origin", headers: key ? { authorization: `Bearer ${key}` } : {} };
}

async function fetched(path, options = {}) {
  const { credentials, headers } = known();
  let response;
  try {
    response = await fetch(`/${kind}/${encodeURIComponent(name)}/${path}`, {
      credentials, ...options, headers: { "content-type": "application/json", ...headers },
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : problem(BUSY);
  }
  if (response.ok) return response;
  if (response.status === 401 && !isWidget) {
    await (asking ??= askForKey().finally(() => { asking = null; }));
    return fetched(path, options);
  }
  throw refusal(await response.json().catch(() => ({})), response.status);
}

let asking = null; // for a key: once, whatever waits for it
async function askForKey() {
  const { keyFor } = await import("./key.js"); // which no widget needs
  document.documentElement.dataset.ready = "";
  const before = sessionStorage.getItem(KEY);
  sessionStorage.setItem(KEY, await keyFor(given.get("lang") || navigator.language, { refused: Boolean(before), label }));
}

const post = (path, body, more = {}) => fetched(path, { method: "POST", body: JSON.stringify(body), ...more });

async function visit() {
  const first = !state.until;
  state.widget = await (await post("visit", { language: given.get("language") || given.get("lang") || navigator.language })).json();
  state.token = state.widget.token ?? "";
  state.until = Date.now() + (state.widget.expires_in - 60) * 1000;
  if (first) begin();
  keep();
}

// A request as a visitor, whose token is made new before it ends, or once it is told that it has.
async function call(send) {
  if (Date.now() > state.until) await visit();
  return send().catch(async (error) => {
    if (error.status !== 401) throw error;
    await visit();
    return send();
  });
}

const soon = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const about = (path, body) => call(() => post(path, body)).catch(async (error) => {
  if (error.status !== 404) throw error;
  await soon(1500); // after which every process of the server knows of an answer
  return call(() => post(path, body));
});

const placeOf = ({ section, page, date }) => [section.join(" › "), page ? t("page {page}", { page }) : "", date].filter(Boolean).join(" · ");

// ---------------------------------------------------------------- asking

const grow = composing($("composer"), $("question"), { busy: () => state.busy, ask: (question) => ask(question) });
const settle = () => (matchMedia("(hover: none)").matches ? $("scroll") : $("question")).focus(); // no keyboard on screens unasked

const drawBar = barIn($("bar"), { ask: (text) => ask(text), back: () => ask(t("Back to the assistant")) });
const told = () => drawBar({ bot: state.widget.bot, last: state.turns.at(-1), busy: Boolean(state.busy) });

const wordsOf = ({ pieces }) => pieces.map(({ text, source }) => (source && !text ? `[${source}]` : text)).join("");
const messages = (turns) => turns.slice(-MOST_BEFORE)
  .flatMap(({ question, answer }) => [{ role: "user", content: question }, { role: "assistant", content: wordsOf(answer).slice(0, 8000) }]);

async function ask(question) {
  $("question").value = "";
  grow();
  const said = make("div", { className: "said", dir: "auto" });
  const last = state.turns.at(-1);
  const hidden = isWithPerson(last); // it is for whoever has taken over, and no assistant is seen to think
  const article = make("article", { className: "answer waiting", ariaLabel: t("Answer"), hidden }, said);
  const node = make("li", {}, make("p", { className: "question", textContent: question }), article);
  $("turns").append(node);
  node.scrollIntoView({ block: "end" });
  const busy = state.busy = new AbortController();
  const message = state.failed?.question === question ? state.failed.message : newId(); // sent again it is done once
  state.failed = null;
  sending();
  $("suggestions").hidden = true;
  told();
  try {
    const body = () => (state.widget.bot ? { question, conversation: state.conversation, message } // it remembers what was said
      : { question, history: messages(state.turns) });
    const response = await call(() => post("ask", body(), { signal: busy.signal }));
    let answer = null;
    for await (const event of events(response, () => problem(CUT))) {
      if (event.error) throw refusal(event);
      if (event.text) {
        article.classList.remove("waiting");
        said.append(event.text);
      }
      answer = event.answer ?? answer;
    }
    if (!answer) throw problem(CUT);
    answer.passed = isPassed(answer, last);
    const person = answer.waiting ? { id: answer.waiting, state: "pending" } : {};
    const turn = { question, answer, request: response.headers.get("x-request-id"), opinion: noOpinion(), person };
    if (!node.isConnected) return; // another conversation was begun meanwhile
    state.turns.push(turn);
    keep();
    show(turn, node);
    const more = answer.conversation ? besides(answer) : t("Sources: {count}", { count: answer.sources.length });
    say(answer.passed ? t("Sent to the person.") : `${wordsOf(answer)} ${more}`.trim());
    tell({ penstock: "answer", status: answer.status });
  } catch (error) {
    const text = error.name === "AbortError" ? t("Stopped.") : problemOf(error);
    if (!node.isConnected) return;
    state.failed = { question, message };
    article.hidden = false;
    said.replaceChildren(make("span", { className: error.name === "AbortError" ? "hint" : "problem", textContent: text }));
    $("question").value ||= question; // to be sent again
    grow();
    say(text);
  } finally {
    article.classList.remove("waiting");
    if (state.busy === busy) {
      state.busy = null;
      sending();
    }
    told();
    node.scrollIntoView({ block: node.offsetHeight > $("scroll").clientHeight ? "start" : "end" }); // once all is there below it
    if (document.hasFocus() && !document.activeElement.closest("main, section, #bar")) settle();
    if (!state.busy && state.waiting.length) ask(state.waiting.shift());
  }
}

// ---------------------------------------------------------------- an answer

const LINES = { not_found: "not in the sources", contradicted: "the sources say otherwise" };

function show(turn, node) {
  const { question, answer } = turn;
  const isBot = Boolean(answer.conversation); // who asks a person for one, and whose rows stand apart, so that documents are counted alone
  const sources = answer.sources.filter(({ row }) => !row);
  const by = new Map(sources.map((one, n) => [one.number, isBot ? { ...one, number: n + 1 } : one]));
  const said = answer.pieces.flatMap(({ text, source, mark }) => {
    const cite = by.has(source) ? citing(by.get(source)) : "";
    if (mark) return [make("span", { className: mark, title: t(LINES[mark]) }, ...inline(text))];
    return cite && text ? [numbered(text, cite)] : [...inline(text), cite];
  });
  const marks = [...new Set(answer.pieces.map(({ mark }) => mark).filter(Boolean))];
  const understood = answer.question && answer.question !== question ? t("understood as: {question}", { question: answer.question }) : "";
  const people = state.widget.people || turn.person.id ? personFor(turn, { offered: !isBot }) : "";
  const asked = make("p", { className: "question", textContent: question });
  if (answer.passed) { // it went to the person who had taken over
    node.replaceChildren(asked, make("p", { className: "hint understood", textContent: t("Sent to the person.") }), people);
    return node;
  }
  node.replaceChildren(
    asked,
    understood && make("p", { className: "hint understood", textContent: understood }),
    make("article", { className: isBot ? "answer bot" : "answer", ariaLabel: t("Answer") },
      answer.status === "related" ? make("p", { className: "label", textContent: t("Possibly related") }) : "",
      make("div", { className: "said", lang: answer.language, dir: answer.direction }, ...(isBot ? listed(said.filter(Boolean)) : said.filter(Boolean))),
      ...marks.map((mark) => make("p", { className: "hint" }, make("span", { className: mark, textContent: t(LINES[mark]) }))),
      !by.size ? "" : isBot ? folded("Sources", [...by.values()]) : list(sources),
      ...rowsOf(answer.sources.filter(({ row }) => row)),
      answer.nearest.length ? folded("Nearest passages", answer.nearest) : "",
      make("div", { className: "after" }, (answer.over ? howItWas : opinionOn)(turn.opinion, ways(turn.request)), people)));
  return node;
}

const citing = (source) => press(String(source.number), (event) => openSource(source, event.currentTarget), {
  className: "cite", ariaLabel: t("Source {number}: {title}", source),
});

const folded = (phrase, sources) => make("details", {}, make("summary", { textContent: t(phrase) }), list(sources));

const list = (sources) => make("ul", { className: "sources", ariaLabel: t("Sources") }, ...sources.map((source) => {
  const place = [placeOf(source), source.stale ? t("out of date") : ""].filter(Boolean).join(" · ");
  const button = press("", (event) => openSource(source, event.currentTarget));
  button.append(make("span", { className: "number", textContent: source.number }),
    make("span", {}, make("bdi", { textContent: source.title }), " ", make("bdi", { className: "hint", textContent: place })));
  return make("li", {}, button);
}));

const BEHIND = document.querySelectorAll("body > header, main, form");
let opener = null;

function openSource(source, button) {
  opener = button;
  $("source-title").replaceChildren(make("bdi", { textContent: source.title }));
  const link = source.url ? make("a", { href: source.url, target: "_blank", rel: "noopener", textContent: new URL(source.url).host }) : "";
  $("source-place").replaceChildren(placeOf(source), ...(link ? [" ", link] : []));
  $("source-text").replaceChildren(source.before, make("mark", { textContent: source.quote }), source.after);
  $("source").hidden = false;
  for (const node of BEHIND) node.inert = true;
  $("source").focus({ preventScroll: true });
  $("source-text").querySelector("mark").scrollIntoView({ block: "center" });
}

function closeSource() {
  $("source").hidden = true;
  for (const node of BEHIND) node.inert = false;
  (opener?.isConnected ? opener : $("question")).focus();
}
$("close-source").addEventListener("click", closeSource);

// ---------------------------------------------------------------- what visitors think, and people who reply

const ways = (request) => ({
  give: (said) => about("feedback", { request, ...said }),
  noted: keep,
  wrong: (error) => ({ shown: problemOf(error), words: problemOf(error) }),
});

const ENDED = ["closed", "expired"]; // without a word
const NOBODY = "Nobody replied. You can ask again.";

// offered: whether a button asks one; a bot asks by itself, and what is said of that stands below the conversation.
function personFor(turn, { offered }) {
  const node = make("div", { className: "person", role: "status" });
  const hint = (phrase) => make("p", { className: "hint", textContent: t(phrase) });
  const draw = (wrong = "") => {
    const { state: stands, text } = turn.person;
    if (!offered && !text) node.replaceChildren(ENDED.includes(stands) && state.turns.at(-1) === turn ? hint(NOBODY) : "");
    else node.replaceChildren(...(stands === "pending" ? [hint("A person was asked. The reply will appear here.")]
      : text ? [hint("A person replies:"), make("p", { className: "said", dir: "auto", textContent: text })]
      : [stands ? hint(NOBODY) : "", state.widget.people ? press(t("Ask a person"), begin) : "",
        wrong && make("p", { className: "problem", textContent: wrong })]));
  };
  const begin = async () => {
    const history = messages(state.turns.slice(0, state.turns.indexOf(turn) + 1));
    try {
      turn.person = await (await about("people", { request: turn.request, question: turn.question, history })).json();
      keep();
      draw();
      await wait();
    } catch (error) {
      draw(problemOf(error));
    }
  };
  const wait = async () => {
    await null; // until what is being drawn is part of the conversation
    const isLast = () => state.turns.findLast(({ person }) => person.id === turn.person.id) === turn;
    while (turn.person.state === "pending" && state.turns.includes(turn)) {
      await soon(5000);
      if (document.hidden) continue;
      if (!isLast()) turn.person = {}; // a reply to all that went to them stands below the last
      if (!turn.person.id) break;
      const found = await call(() => fetched(`people/${encodeURIComponent(turn.person.id)}`)).then((one) => one.json()).catch((error) => (
        error.status === 404 ? { state: "expired", text: "" } : {}));
      Object.assign(turn.person, found);
    }
    keep();
    draw();
    told();
  };
  draw();
  if (turn.person.state === "pending") wait();
  return node;
}

// ---------------------------------------------------------------- the site around it

const tell = (message) => { if (state.site) parent.postMessage(message, state.site); };
const leave = () => parent.postMessage({ penstock: "close" }, given.get("at") ?? location.origin); // also where nothing else works

addEventListener("message", ({ source, origin, data }) => {
  if (source !== parent || !state.site || origin !== state.site) return;
  if (data?.penstock === "open") settle();
  if (data?.penstock === "ask" && typeof data.text === "string" && data.text.trim()) askInTurn(data.text.trim().slice(0, 4000));
});

function askInTurn(question) {
  if (!state.busy) ask(question);
  else if (state.waiting.length < MOST_WAITING) state.waiting.push(question);
  else tell({ penstock: "answer", status: "not_asked" });
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if ($("source").hidden) leave();
  else closeSource();
});
$("close").addEventListener("click", leave);
$("new").addEventListener("click", () => {
  state.busy?.abort();
  Object.assign(state, { turns: [], failed: null, waiting: [], conversation: newId() });
  keep();
  if (!$("source").hidden) closeSource();
  $("turns").replaceChildren();
  suggest();
  told();
  settle();
});

function suggest() {
  const { suggestions = [] } = state.widget;
  $("suggestions").replaceChildren(...suggestions.map((question) => make("li", {}, press(question, () => ask(question), { dir: "auto" }))));
  $("suggestions").hidden = !suggestions.length || $("turns").children.length > 0;
}

// The turns that are kept, before what was asked meanwhile. One that cannot be drawn, as another version kept it, is dropped.
function recall() {
  const drawn = [];
  state.turns = state.turns.filter((turn) => {
    try {
      messages([turn]).forEach(({ content }) => content.trim());
      drawn.push(show(turn, make("li")));
      return true;
    } catch {
      return false;
    }
  });
  $("turns").prepend(...drawn);
}

// Once the first visit works, which may be with a question after the page was opened.
function begin() {
  const at = given.get("at");
  if (parent !== window && [...state.widget.origins, location.origin].includes(at)) state.site = at;
  $("close").hidden = !state.site;
  document.documentElement.dataset.page = kind;
  paint();
  speak();
  recall();
  suggest();
  told();
  $("turns").lastElementChild?.scrollIntoView({ block: "end" });
  document.documentElement.dataset.ready = "";
  tell({ penstock: "ready" });
}

// What follows the system's colours follows the site's instead, where it names them.
function paint() {
  const { accent, ink } = state.widget;
  document.documentElement.style.setProperty("--accent", accent);
  document.documentElement.style.setProperty("--accent-ink", ink);
  const theme = given.get("theme");
  if (!["light", "dark"].includes(theme)) return;
  document.querySelector("meta[name=color-scheme]").content = theme;
  for (const { cssRules } of document.styleSheets) {
    for (const rule of cssRules) if (rule.conditionText?.includes("prefers-color-scheme")) rule.media.mediaText = theme === "dark" ? "all" : "not all";
  }
}

async function start() {
  Object.assign(state, kept());
  try {
    await visit();
  } catch (error) {
    label(); // in English, until a visit works
    $("greeting").textContent = problemOf(error);
    document.documentElement.dataset.ready = "";
  }
}

start();
