// The page in a widget's frame. Plain DOM; everything that comes from documents or people is set as text, never as HTML.

import { composing, events, inline, make, numbered, press } from "./parts.js";

const $ = (id) => document.getElementById(id);
const name = decodeURIComponent(location.pathname.split("/")[2]);
const given = new URLSearchParams(location.hash.slice(1));
const KEPT = `penstock-widget:${name}`;
const MOST_KEPT = 30; // turns of a conversation
const MOST_BEFORE = 5; // turns that are sent along with a question
const MOST_WAITING = 5; // questions of the site that wait for the one before them
const state = { token: "", until: 0, widget: {}, phrases: {}, turns: [], busy: null, site: "", waiting: [] };

// ---------------------------------------------------------------- what stays in the tab

function keep() {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ token: state.token, turns: state.turns.slice(-MOST_KEPT) }));
  } catch { /* no room, or the browser keeps nothing for frames: it lasts as long as the frame */ }
}

function kept() {
  try {
    const { token, turns } = JSON.parse(sessionStorage.getItem(KEPT));
    return { token: typeof token === "string" && /^[\w.-]*$/.test(token) ? token : "", turns: Array.isArray(turns) ? turns : [] };
  } catch {
    return { token: "", turns: [] };
  }
}

// ---------------------------------------------------------------- words

// A phrase in the visitor's language. What is filled in may run the other way, so it is set apart.
function t(phrase, values = {}) {
  const said = state.phrases[phrase] ?? phrase;
  return said.replace(/\{(\w+)\}/g, (_, key) => (typeof values[key] === "number" ? values[key] : `\u2068${values[key]}\u2069`));
}

function speak() {
  const { language, direction, phrases, title, greeting } = state.widget;
  state.phrases = phrases;
  Object.assign(document.documentElement, { lang: language, dir: direction });
  label();
  document.title = $("title").textContent = title;
  $("greeting").textContent = greeting;
}

function label() {
  for (const [from, to] of [["t", "textContent"], ["label", "ariaLabel"], ["title", "title"], ["placeholder", "placeholder"]]) {
    for (const node of document.querySelectorAll(`[data-${from}]`)) node[to] = t(node.dataset[from]);
  }
  if (state.busy) $("send").textContent = t("Stop");
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

async function fetched(path, options = {}) {
  let response;
  try {
    response = await fetch(`/widget/${encodeURIComponent(name)}/${path}`, {
      credentials: "omit", ...options, headers: { "content-type": "application/json", "x-penstock-visit": state.token },
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : problem(BUSY);
  }
  if (response.ok) return response;
  throw refusal(await response.json().catch(() => ({})), response.status);
}

const post = (path, body, more = {}) => fetched(path, { method: "POST", body: JSON.stringify(body), ...more });

async function visit() {
  const first = !state.until;
  state.widget = await (await post("visit", { language: given.get("language") || navigator.language })).json();
  state.token = state.widget.token;
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

function say(text) {
  $("status").textContent = "";
  requestAnimationFrame(() => { $("status").textContent = text; });
}

const placeOf = ({ section, page, date }) => [section.join(" › "), page ? t("page {page}", { page }) : "", date].filter(Boolean).join(" · ");

// ---------------------------------------------------------------- asking

const grow = composing($("composer"), $("question"), { busy: () => state.busy, ask: (question) => ask(question) });
const settle = () => (matchMedia("(hover: none)").matches ? $("scroll") : $("question")).focus(); // no keyboard on screens unasked

const wordsOf = ({ pieces }) => pieces.map(({ text, source }) => (source && !text ? `[${source}]` : text)).join("");
const messages = (turns) => turns.slice(-MOST_BEFORE)
  .flatMap(({ question, answer }) => [{ role: "user", content: question }, { role: "assistant", content: wordsOf(answer).slice(0, 8000) }]);

async function ask(question) {
  $("question").value = "";
  grow();
  const said = make("div", { className: "said", dir: "auto" });
  const article = make("article", { className: "answer waiting", ariaLabel: t("Answer") }, said);
  const node = make("li", {}, make("p", { className: "question", textContent: question }), article);
  $("turns").append(node);
  node.scrollIntoView({ block: "end" });
  const busy = state.busy = new AbortController();
  $("send").textContent = t("Stop");
  $("suggestions").hidden = true;
  try {
    const response = await call(() => post("ask", { question, history: messages(state.turns) }, { signal: busy.signal }));
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
    const person = answer.waiting ? { id: answer.waiting, state: "pending" } : {};
    const turn = { question, answer, request: response.headers.get("x-request-id"), opinion: { thumb: "", reasons: [], csat: 0 }, person };
    if (!node.isConnected) return; // another conversation was begun meanwhile
    state.turns.push(turn);
    keep();
    show(turn, node);
    node.scrollIntoView({ block: node.offsetHeight > $("scroll").clientHeight ? "start" : "end" });
    say(`${wordsOf(answer)} ${t("Sources: {count}", { count: answer.sources.length })}`);
    tell({ penstock: "answer", status: answer.status });
  } catch (error) {
    const text = error.name === "AbortError" ? t("Stopped.") : problemOf(error);
    if (!node.isConnected) return;
    said.replaceChildren(make("span", { className: error.name === "AbortError" ? "hint" : "problem", textContent: text }));
    $("question").value ||= question; // to be sent again
    grow();
    say(text);
  } finally {
    article.classList.remove("waiting");
    if (state.busy === busy) {
      state.busy = null;
      $("send").textContent = t("Ask");
    }
    if (document.hasFocus() && !document.activeElement.closest("main, section")) settle();
    if (!state.busy && state.waiting.length) ask(state.waiting.shift());
  }
}

// ---------------------------------------------------------------- an answer

const LINES = { not_found: "not in the sources", contradicted: "the sources say otherwise" };

function show(turn, node) {
  const { question, answer } = turn;
  const by = new Map(answer.sources.map((one) => [one.number, one]));
  const words = answer.pieces.flatMap(({ text, source, mark }) => {
    const cite = by.has(source) ? citing(by.get(source)) : "";
    if (mark) return [make("span", { className: mark, title: t(LINES[mark]) }, ...inline(text))];
    return cite && text ? [numbered(text, cite)] : [...inline(text), cite];
  });
  const marks = [...new Set(answer.pieces.map(({ mark }) => mark).filter(Boolean))];
  const understood = answer.question && answer.question !== question ? t("understood as: {question}", { question: answer.question }) : "";
  node.replaceChildren(
    make("p", { className: "question", textContent: question }),
    understood && make("p", { className: "hint understood", textContent: understood }),
    make("article", { className: "answer", ariaLabel: t("Answer") },
      answer.status === "related" ? make("p", { className: "label", textContent: t("Possibly related") }) : "",
      make("div", { className: "said", lang: answer.language, dir: answer.direction }, ...words.filter(Boolean)),
      ...marks.map((mark) => make("p", { className: "hint" }, make("span", { className: mark, textContent: t(LINES[mark]) }))),
      answer.sources.length ? list(answer.sources) : "",
      answer.nearest.length ? make("details", {}, make("summary", { textContent: t("Nearest passages") }), list(answer.nearest)) : "",
      make("div", { className: "after" }, opinionOn(turn), state.widget.people || turn.person.id ? personFor(turn) : "")));
  return node;
}

const citing = (source) => press(String(source.number), (event) => openSource(source, event.currentTarget), {
  className: "cite", ariaLabel: t("Source {number}: {title}", source),
});

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

const REASONS = [
  ["wrong", "It is wrong"], ["incomplete", "Something is missing"], ["outdated", "It is out of date"],
  ["off_topic", "It does not answer my question"], ["unclear", "I do not understand it"],
];

// Thumbs, then how satisfied, and after a thumb down why. Said again is taken back.
function opinionOn(turn) {
  const node = make("div", { className: "opinion" });
  const told = make("span", { className: "hint" });
  const send = async (changes) => {
    const { thumb, reasons, csat } = { ...turn.opinion, ...changes };
    try {
      await about("feedback", { request: turn.request, thumb: thumb || null, reasons, csat: csat || null });
      Object.assign(turn.opinion, changes);
      keep();
      draw();
      told.textContent = t("Thank you. It is noted.");
    } catch (error) {
      told.textContent = problemOf(error);
    }
    say(told.textContent);
  };
  const toggle = (text, on, changes, more = {}) => press(text, () => send(changes), { ariaPressed: String(on), ...more });
  const asked = (question, buttons) => make("fieldset", {}, make("legend", { textContent: t(question) }), ...buttons);
  const draw = () => {
    const { thumb, reasons, csat } = turn.opinion;
    const at = [...node.querySelectorAll("button")].indexOf(document.activeElement);
    const rest = (reason) => reasons.filter((one) => one !== reason);
    node.replaceChildren(
      ...[["up", "This helped"], ["down", "This did not help"]].map(([which, phrase]) => toggle("", thumb === which,
        { thumb: thumb === which ? "" : which, reasons: [], csat: 0 }, { className: `thumb ${which}`, title: t(phrase), ariaLabel: t(phrase) })),
      told,
      thumb && asked("How satisfied are you with it, from 1 (not at all) to 5 (very)?",
        [1, 2, 3, 4, 5].map((n) => toggle(String(n), csat === n, { csat: csat === n ? 0 : n }))),
      thumb === "down" ? asked("What was wrong with it?", REASONS.map(([reason, phrase]) => toggle(t(phrase), reasons.includes(reason),
        { reasons: reasons.includes(reason) ? rest(reason) : [...reasons, reason] }))) : "");
    if (at >= 0) node.querySelectorAll("button")[at]?.focus({ preventScroll: true });
  };
  draw();
  return node;
}

function personFor(turn) {
  const node = make("div", { className: "person", role: "status" });
  const hint = (phrase) => make("p", { className: "hint", textContent: t(phrase) });
  const draw = (wrong = "") => {
    const { state: stands, text } = turn.person;
    node.replaceChildren(...(stands === "pending" ? [hint("A person was asked. The reply will appear here.")]
      : text ? [hint("A person replies:"), make("p", { className: "said", dir: "auto", textContent: text })]
      : [stands ? hint("Nobody replied. You can ask again.") : "", state.widget.people ? press(t("Ask a person"), begin) : "",
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
    while (turn.person.state === "pending" && state.turns.includes(turn)) {
      await soon(5000);
      if (document.hidden) continue;
      const found = await call(() => fetched(`people/${encodeURIComponent(turn.person.id)}`)).then((one) => one.json()).catch((error) => (
        error.status === 404 ? { state: "expired", text: "" } : {}));
      Object.assign(turn.person, found);
    }
    keep();
    draw();
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
  state.turns = [];
  state.waiting = [];
  keep();
  if (!$("source").hidden) closeSource();
  $("turns").replaceChildren();
  suggest();
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
  paint();
  speak();
  recall();
  suggest();
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
