// What the parts of the chat page share: the reader's language, what goes wrong, the server, elements. Plain DOM, no framework;
// everything that comes from documents or people is set as text, never as HTML.

import { make, t, words } from "./parts.js";

export { icon, say, t } from "./parts.js";

export const $ = (id) => document.getElementById(id);
export const state = {
  collections: [], apps: [], asked: "", collection: "", talk: null, shown: [], told: () => {}, busy: null, admin: false, people: false,
  key: sessionStorage.getItem("penstock-key") || "", languages: [],
};

// ---------------------------------------------------------------- the reader's language

const SAME = { nb: "no", nn: "no" }; // browsers name the two ways to write Norwegian

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

export async function speak(language) {
  const found = language === "en" ? null : await get(`/static/phrases/${language}.json`).catch(() => null);
  words.phrases = found?.phrases ?? {};
  document.documentElement.lang = found?.language ?? "en";
  document.documentElement.dir = found?.direction ?? "ltr";
  for (const [english, put] of printed) put(t(english));
  $("language").value = document.documentElement.lang;
}

export async function greet() {
  state.languages = await get("/static/phrases.json").catch(() => []);
  const options = state.languages.map(({ language, name }) => make("option", { value: language, lang: language, textContent: name }));
  $("language").replaceChildren(...options);
  $("language").parentElement.hidden = !state.languages.length;
  await speak(wanted());
  document.documentElement.dataset.ready = "";
}

export const directionOf = (language) => state.languages.find((one) => one.language === language)?.direction ?? "auto";

export function nameOf(language) {
  try {
    return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(language);
  } catch {
    return language; // none, or one that the browser has never heard of
  }
}

// ---------------------------------------------------------------- what goes wrong

const BUSY = "This server is busy at the moment. Try again in a minute.";
export const CUT = "The answer ended early.";
const LARGE = "This is too large.";
const LIMITED = "Too many requests in a short time. Try again a little later.";
const NO_MODEL = "The model does not answer at the moment. Try again in a minute.";
const NO_SERVER = "The server does not answer. Is it still running?";
const NOT_ALLOWED = "This is not allowed. Whoever runs this server can allow it.";
const NOT_FOUND = "This was not found. It may have been removed.";
export const UNUSABLE = "This file cannot be used.";
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
export class Problem extends Error {
  constructor(phrase, { status = 0, words: said = "" } = {}) {
    super(phrase);
    this.status = status;
    this.words = said;
  }
}

export function refusal(error, { status = 0, asking = false } = {}) {
  const { code, message, hint } = Object(error);
  const phrase = (asking && OF_A_QUESTION.get(code)) || PROBLEMS.get(code) || (!code && PROBLEMS.get(status)) || WRONG;
  return new Problem(phrase, { status, words: joined(message, hint) });
}

export const joined = (message, hint) => [message, hint].filter(Boolean).join(" — ");
export const problemOf = (error) => (error instanceof Problem ? error : new Problem(WRONG, { words: error.message }));

// A problem as an element: the phrase, and the rest folded away.
export function wrong(error) {
  const { message, status, words: said } = problemOf(error);
  const more = make("details", {}, make("summary", { textContent: t("Details") }),
    status ? make("p", { textContent: t("The server answered {status}.", { status }) }) : "",
    said ? make("p", { lang: "en", dir: "ltr", textContent: said }) : "");
  more.addEventListener("toggle", () => { if (more.open) more.scrollIntoView({ block: "nearest" }); });
  return make("div", { className: "wrong" }, make("p", { className: "problem", textContent: t(message) }), status || said ? more : "");
}

// One line of what the server tells, or nothing where it is a line of somebody else, or cut off.
export function parsed(line) {
  try {
    return Object(JSON.parse(line));
  } catch {
    return {};
  }
}

// ---------------------------------------------------------------- the server

export const CHAT = "/v1/chat/completions";

export async function call(path, options = {}) {
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

export const get = async (path) => (await call(path)).json();
export const here = () => `/api/collections/${encodeURIComponent(state.collection)}`;

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

const REMEMBERED = 50; // messages that a model is told of a long conversation

// What was said in a conversation, as messages.
export function said(talk) {
  const messages = talk.turns.flatMap(({ question, answer }) => [{ role: "user", content: question }, { role: "assistant", content: answer.text }]);
  return messages.slice(-REMEMBERED);
}

export const headings = (c) => (c.section || []).filter((heading, n) => n || heading !== c.title).join(" › ");
export const pageOf = (c) => (c.page ? t("page {page}", { page: c.page }) : "");
export const placeOf = (c) => [headings(c), pageOf(c), c.date].filter(Boolean).join(" · ");
export const named = (d) => d.title && d.title !== d.source;
export const apart = (text, className = "") => (text ? make("bdi", { className, textContent: text }) : ""); // may run the other way
export const whole = (text) => apart(text, "whole");

// Facts beside each other, as text or elements, with a dot between.
export function dotted(...facts) {
  return facts.filter(Boolean).flatMap((fact, n) => (n ? [" · ", fact] : [fact]));
}

// The server counts characters, JavaScript counts UTF-16 units: an emoji is one of the first and two of the second.
export function unitsAt(text, characters) {
  let units = 0;
  for (let n = 0; n < characters && units < text.length; n++) units += text.codePointAt(units) > 0xffff ? 2 : 1;
  return units;
}
