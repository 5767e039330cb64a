// An answer: its words with their sources, what people think of it, and asking a person instead.

import { rowsOf } from "./bot.js";
import { apart, call, directionOf, dotted, get, headings, named, pageOf, placeOf, problemOf, said, say, state, t, unitsAt, whole, wrong } from "./common.js";
import { change } from "./conversations.js";
import { howItWas, opinionOn } from "./opinion.js";
import { inline, listed, make, numbered, press } from "./parts.js";
import { openSource } from "./source.js";

const SILENT = ["not_found", "refused", "handed_over"];
const ROW = "tool:"; // what the ids of rows begin with, which are no documents
const LINES = { not_found: "not in the sources", contradicted: "the sources say otherwise", copied: "nearly word for word from a source" };

// What every answer has. One that was kept, or that somebody shared, may be of an earlier time.
const PLAIN = {
  text: "", status: "answered", confidence: 0, citations: [], quoted: [], nearest: [], withheld: [], conflicts: [], copied: [],
  question: "", language: "", written_by: "", verdict: null, conversation: "", quick_replies: [], over: false, passed: false,
};

// Draws a turn: the question, its answer, its request, what is thought of it, and the conversation that it is part of.
export function show(node, turn) {
  const { question, opinion } = turn;
  const found = { ...PLAIN, ...turn.answer };
  const understood = found.question && found.question !== question ? t("understood as: {question}", { question: found.question }) : "";
  const asked = make("p", { className: "question", textContent: question });
  const isBot = Boolean(found.conversation); // who asks a person for one, and has no doubts to show
  const people = (state.people || opinion.person.state) && !turn.talk.shared ? person(turn, { offered: !isBot }) : "";
  if (found.passed) { // it went to the person who had taken over
    node.replaceChildren(asked, make("p", { className: "understood", textContent: t("Sent to the person.") }), people);
    return;
  }
  const silent = SILENT.includes(found.status);
  const said = make("div", { className: "said", lang: found.language, dir: directionOf(found.language) }, ...(isBot ? listed(worded(found)) : worded(found)));
  const quoted = inText(found);
  const numbers = found.citations.map((c, n) => [c, numberOf(found, n)]).filter(([c]) => !isRow(c));
  const more = found.written_by || isBot ? numbers : numbers.filter(([, n]) => !quoted.includes(n - 1));
  const rate = !opinion.request ? "" : found.over ? howItWas(opinion, ways(opinion.request))
    : opinionOn(opinion, { corrects: true, ...ways(opinion.request) });
  const answer = make("article", { className: isBot ? "answer bot" : silent ? "answer refused" : "answer", ariaLabel: t("Answer") },
    found.status === "related" ? make("span", { className: "label", textContent: t("Possibly related") }) : "",
    said,
    quoted.length && !found.written_by && !isBot ? list(quoted.map((n) => [found.citations[n], n + 1]), { words: false }) : "",
    more.length ? fold(t(found.written_by || isBot ? "Sources" : "More from your documents"), more) : "",
    ...rowsOf(found.citations.filter(isRow)),
    found.nearest.length ? fold(t("Nearest passages"), found.nearest.map((c, n) => [c, n + 1])) : "",
    found.withheld.length ? fold(t("Withheld: these passages give orders to the model"), found.withheld.map((c, n) => [c, n + 1])) : "",
    make("div", { className: "below" }, silent || isBot ? "" : foot(found), why(found, turn), rate, people));
  node.replaceChildren(
    asked,
    ...(understood ? [make("p", { className: "understood", textContent: understood })] : []),
    answer);
}

// What a citation is called. A bot's rows stand apart, so its documents are counted without them.
const numberOf = ({ citations, conversation }, n) => (conversation ? citations.slice(0, n).filter((c) => !isRow(c)).length : n) + 1;

const isRow = ({ passage_id }) => String(passage_id).startsWith(ROW);

// The citations whose quotes stand in the text, in its order. Sources that disagree stand there by date, the newest first.
function inText({ citations, quoted, conflicts }) {
  const date = (n) => citations[n].date;
  const said = conflicts.length ? [...new Set(conflicts.flat())].sort((a, b) => (date(a) < date(b)) - (date(a) > date(b))) : quoted;
  return said.filter((n) => !isRow(citations[n])); // which are told as values
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
  const button = (n) => citeButton(citations[n], numberOf(found, n));
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
  const lost = found.written_by || found.conversation ? [] : inText(found).filter((n) => !placed.has(n)); // their words were masked on the way out; a bot rests on more than it quotes
  return [...nodes, ...lost.map(button)];
}

function citeButton(citation, n) {
  if (isRow(citation)) return make("span", { className: "cite", textContent: String(n) });
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

// What an answer goes by: its version, how each of its sentences was judged, and, for those who may see them, all steps.
function why(found, { question, opinion: { request }, talk }) {
  const said = { supported: "in the sources", ...LINES };
  const looks = { supported: "good", contradicted: "bad" };
  const claims = (found.verdict?.claims ?? []).filter(({ label }) => label in said).map(({ start, end, label, why: reasons }) => make("li", {},
    make("span", { className: `judged ${looks[label] ?? "doubtful"}`, textContent: t(said[label]) }), " ",
    make("bdi", { textContent: found.text.slice(unitsAt(found.text, start), unitsAt(found.text, end)).trim() }),
    reasons?.length ? make("span", { className: "hint", lang: "en", dir: "ltr", textContent: ` (${reasons.join("; ")})` }) : ""));
  const facts = [
    found.version ? whole(t("Version {version} of the documents", { version: found.version })) : "",
    found.question && found.question !== question ? t("understood as: {question}", { question: found.question }) : "",
  ].filter(Boolean);
  const steps = request && state.admin && !talk.shared
    ? make("p", {}, make("a", { href: `/console/requests/${encodeURIComponent(request)}`, textContent: t("Each step of it") })) : "";
  if (!facts.length && !claims.length && !steps) return "";
  return make("details", { className: "because" }, make("summary", { textContent: t("Why this answer?") }),
    facts.length ? make("p", {}, ...dotted(...facts)) : "",
    claims.length ? make("div", {}, make("p", { textContent: t("The sentences of this answer, one by one") }), make("ol", {}, ...claims)) : "",
    steps);
}

// ---------------------------------------------------------------- what people think of an answer

const JOURNAL_MS = 1500; // after which another process of the server knows of an answer too

// How an opinion is given, and what is shown where it cannot be.
const ways = (request) => ({
  give: (said) => {
    const body = JSON.stringify({ request, ...said });
    const post = () => call("/v1/feedback", { method: "POST", headers: { "content-type": "application/json" }, body });
    return post().catch(async (error) => {
      if (error.status !== 404) throw error;
      await new Promise((resolve) => { setTimeout(resolve, JOURNAL_MS); });
      return post();
    });
  },
  wrong: (error) => ({ shown: wrong(error), words: t(problemOf(error).message) }),
});

// ---------------------------------------------------------------- asking a person

const NOBODY = "Nobody replied. You can ask again.";
const isLast = (turn) => turn.talk.turns.at(-1) === turn; // a bot that was gone back to says itself what became of it
const ENDED = ["closed", "expired"]; // without a word
const WAIT_S = 20; // that the server may take to say that nobody has replied yet, where one question alone waits
const AGAIN_MS = 4000; // between two looks at several, and after the server could not be reached

// A person is asked, and what they reply stands where the question was. Whoever leaves and comes back finds it there. offered:
// whether a button asks one; a bot asks by itself, and what is said of that stands below the conversation.
function person(turn, { offered }) {
  const { question, opinion, talk } = turn;
  const node = make("div", { className: "person", role: "status" });
  const asked = opinion.person;
  const hint = (phrase) => make("p", { className: "hint", textContent: t(phrase) });
  const again = () => press(t("Ask a person"), ask);
  const draw = () => {
    if (!offered && !asked.text) node.replaceChildren(ENDED.includes(asked.state) && isLast(turn) ? hint(NOBODY) : "");
    else if (!asked.state) node.replaceChildren(again());
    else if (asked.state === "pending") node.replaceChildren(hint("A person was asked. The reply will appear here."));
    else if (asked.text) node.replaceChildren(hint("A person replies:"), make("p", { className: "said", dir: "auto", textContent: asked.text }));
    else node.replaceChildren(hint(NOBODY), again());
  };
  const ask = async () => {
    const post = { method: "POST", headers: { "content-type": "application/json" } };
    const give = (more) => call("/v1/review/hand-overs", { ...post, body: JSON.stringify({ question, history: said(talk).slice(-8), ...more }) });
    try {
      const made = await give({ request: opinion.request }).catch((error) => {
        if (error.status !== 404) throw error;
        return give({}); // the journal does not know of it yet
      });
      Object.assign(asked, await made.json());
      turn.answer.waiting = asked.id;
      change(turn);
      draw();
      watch(talk);
    } catch (error) {
      node.replaceChildren(wrong(error), again());
    }
  };
  draw();
  if (asked.state === "pending") watch(talk);
  return node;
}

// Look after all questions of a conversation that wait for a person, one after the other: a browser has few connections to a server.
async function watch(talk) {
  if (talk.watched) return;
  talk.watched = true;
  const pause = () => new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
  await null; // until what is being drawn is part of the conversation
  for (;;) {
    const pending = talk.turns.filter(({ opinion }) => opinion.person.state === "pending");
    const waiting = pending.filter(({ opinion }, n) => pending.findLastIndex((one) => one.opinion.person.id === opinion.person.id) === n);
    for (const turn of pending.filter((one) => !waiting.includes(one))) { // a reply to all that went to them stands below the last
      turn.opinion.person = {};
      delete turn.answer.waiting;
      change(turn);
    }
    if (!waiting.length || talk !== state.talk) break;
    for (const turn of waiting) {
      const { person } = turn.opinion;
      const wait = waiting.length === 1 ? WAIT_S : 0;
      const found = await get(`/v1/review/replies/${encodeURIComponent(person.id)}?wait=${wait}`).catch((error) => (
        error.status === 404 ? { state: "expired" } : pause().then(() => ({})))); // 404: so long ago that nobody knows of it
      Object.assign(person, found);
      if (turn.opinion.person !== person) continue; // more was said to them, and the reply stands below that
      if (person.state === "pending" || talk !== state.talk) continue;
      if (person.text) turn.answer.reply = person.text;
      else delete turn.answer.waiting;
      change(turn);
      for (const show of state.shown) show();
      state.told();
      if (person.text || isLast(turn)) say(person.text || t(NOBODY));
    }
    if (waiting.length > 1) await pause();
  }
  talk.watched = false;
}
