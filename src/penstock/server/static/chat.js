// The chat page: asking, and what there is to ask.

import { $, CHAT, CUT, Problem, call, get, greet, problemOf, refusal, said, say, speak, state, t, wrong } from "./common.js";
import { show } from "./answer.js";
import { barIn, besides, isPassed, isWithPerson } from "./bot.js";
import * as conversations from "./conversations.js";
import * as documents from "./documents.js";
import { noOpinion } from "./opinion.js";
import { composing, events, make, newId, press } from "./parts.js";
import { openSource } from "./source.js";

const MOST_OFFERED = 3; // questions behind an answer
const ASKING = "penstock-asking"; // the question that is on its way, for whoever loads the page anew before its answer

$("language").addEventListener("change", async () => {
  localStorage.setItem("penstock-language", $("language").value);
  const address = new URL(location);
  address.searchParams.delete("lang");
  history.replaceState(null, "", address);
  await speak($("language").value);
  sending();
  $("source").hidden = true;
  choose(state.asked);
  for (const show of state.shown) show();
  conversations.draw();
});

// ---------------------------------------------------------------- asking

const grow = composing($("composer"), $("question"), { busy: () => state.busy, ask: (question) => ask(question) });

// A turn of the conversation, on the page: the question, and the answer once it is there.
function place(question) {
  const words = make("div", { className: "said", dir: "auto" });
  const answer = make("article", { className: "answer waiting", ariaLabel: t("Answer") }, words);
  const node = make("li", {}, make("p", { className: "question", textContent: question }), answer);
  $("turns").append(node);
  $("welcome").hidden = true;
  return { node, answer, words };
}

function draw(node, turn) {
  const drawn = () => show(node, turn);
  drawn();
  state.shown.push(drawn);
}

// What a conversation has come to.
function lastOf({ turns }) {
  const turn = turns.at(-1);
  return turn && { answer: turn.answer, person: turn.opinion.person };
}

const opinionOf = (request, { waiting, reply }) => ({
  request, ...noOpinion(),
  person: reply ? { state: "replied", text: reply } : waiting ? { state: "pending", id: waiting } : {},
});

async function ask(question) {
  await started; // whoever is quicker than the page waits for it
  if (!state.collection && !isBot()) return documents.open();
  if (state.busy) return;
  const talk = state.talk;
  sessionStorage.setItem(ASKING, question);
  $("question").value = "";
  grow();
  const { node, answer, words } = place(question);
  const last = lastOf(talk);
  answer.hidden = isWithPerson(last); // it is for whoever has taken over, and no assistant is seen to think
  offer();
  node.scrollIntoView({ block: "end" });
  const busy = state.busy = new AbortController();
  const message = talk.failed?.question === question ? talk.failed.message : newId(); // sent again it is done once
  talk.failed = null;
  state.told();
  sending();
  try {
    const asked = { role: "user", content: question };
    const more = isBot() ? { messages: [asked], conversation: talk.id, message } : { messages: [...said(talk), asked] }; // it remembers
    const body = JSON.stringify({ model: state.asked, stream: true, ...more });
    const response = await call(CHAT, { method: "POST", headers: { "content-type": "application/json" }, body, signal: busy.signal });
    let found = null;
    for await (const data of events(response, (error) => new Problem(CUT, { words: error.message }))) {
      if (data.error) throw refusal(data.error, { asking: true });
      const delta = data.choices?.[0]?.delta;
      if (delta?.content) {
        answer.classList.remove("waiting");
        words.append(delta.content);
      }
      if (data.penstock) found = data.penstock;
    }
    if (!found) throw new Problem(CUT);
    found.passed = isPassed(found, last);
    const request = response.headers.get("x-request-id");
    const turn = { id: newId(), question, answer: found, request, opinion: opinionOf(request, found), talk };
    draw(node, turn);
    if (found.passed) say(t("Sent to the person."));
    else say([found.text, found.conversation ? besides(found) : t("Sources: {count}", { count: found.citations.length })].join(" ").trim());
    talk.turns.push(turn);
    conversations.keep(talk);
  } catch (error) {
    const stopped = error.name === "AbortError";
    talk.failed = { question, message };
    answer.hidden = false;
    const drawn = () => words.replaceChildren(stopped ? make("span", { className: "hint", textContent: t("Stopped.") }) : wrong(error));
    drawn();
    state.shown.push(drawn);
    node.scrollIntoView({ block: "end" });
    if (node.isConnected && !stopped && !$("question").value) $("question").value = question; // it can be sent again
    grow();
    say(stopped ? t("Stopped.") : t(problemOf(error).message));
  } finally {
    sessionStorage.removeItem(ASKING);
    answer.classList.remove("waiting");
    if (state.busy === busy) {
      state.busy = null;
      sending();
      offer();
      node.scrollIntoView({ block: node.offsetHeight > $("scroll").clientHeight ? "start" : "end" }); // once all is there below it
      if (node.offsetHeight + $("further").offsetHeight < $("scroll").clientHeight) $("further").scrollIntoView({ block: "end" });
      const elsewhere = document.activeElement?.closest("dialog, input, textarea:not(#question), .talks, .source");
      if (!elsewhere) $("question").focus({ preventScroll: true });
    }
  }
}

// ---------------------------------------------------------------- conversations

// Begin with nothing said, or with what was kept. shared: by whom and when, of a conversation that is only to be read, as is one
// that is closed: what it asked is not there any more.
function begin({ id = newId(), asked = state.asked, turns = [], kept = null, title = "", shared = null, closed = false } = {}) {
  state.busy?.abort();
  state.busy = null;
  sending();
  state.talk = { id, asked, kept, title, shared, turns: [], keeping: Promise.resolve(), problem: null };
  conversations.fresh();
  state.shown = [];
  $("turns").replaceChildren();
  $("welcome").hidden = false;
  for (const { id: number, question, answer, request } of turns) {
    const turn = { id: number, question, answer, request, opinion: opinionOf(request, answer), talk: state.talk, kept: Boolean(kept) };
    const { node, words } = place(question);
    try {
      draw(node, turn);
    } catch {
      words.textContent = answer.text; // of a shape that is none of ours
    }
    node.querySelector(".answer")?.classList.remove("waiting");
    state.talk.turns.push(turn);
  }
  $("composer").hidden = Boolean(shared) || closed;
  offer();
  $("turns").lastElementChild?.scrollIntoView({ block: "end" });
  conversations.draw();
}

// What a bot's conversation has below it.
const drawBar = barIn($("bar"), { ask: (text) => ask(text), back: () => ask(t("Back to the assistant")) });
state.told = () => drawBar({ bot: isBot() && !$("composer").hidden, last: lastOf(state.talk), busy: Boolean(state.busy) });

// Questions that were given to be offered, as long as nobody has asked them: under the last answer.
function offer() {
  state.told();
  const asked = new Set([...document.querySelectorAll(".question")].map((node) => node.textContent));
  const left = state.talk.turns.length && !state.busy && !$("composer").hidden && !isBot() ? questions().filter((one) => !asked.has(one)) : [];
  $("further").replaceChildren(...left.slice(0, MOST_OFFERED).map(asking));
  $("further").hidden = !left.length;
}

const sending = () => { $("send").textContent = t(state.busy ? "Stop" : isBot() ? "Send" : "Ask"); };
const answering = (name) => state.apps.find((app) => app.name === name);
const isBot = () => Boolean(answering(state.asked)?.bot);
const questions = () => (answering(state.asked) ?? state.collections.find((c) => c.name === state.asked))?.questions ?? [];
const asking = (question) => make("li", {}, press(question, () => ask(question), { dir: "auto" }));

function fresh() {
  begin();
  conversations.address(null);
  $("source").hidden = true;
  $("question").focus();
}

$("new").addEventListener("click", fresh);

// ---------------------------------------------------------------- what there is to ask

$("collection").addEventListener("change", () => {
  choose($("collection").value);
  conversations.address(null);
});

function choose(name) {
  if (name !== state.asked) {
    state.asked = name;
    begin();
  }
  $("collection").value = name;
  state.collection = answering(name)?.documents ?? name;
  const found = state.collections.find((c) => c.name === state.collection);
  $("count").textContent = String(found?.documents ?? 0);
  $("count").hidden = !found;
  const bot = isBot();
  const ready = bot || found?.version;
  $("question").placeholder = bot ? t("Write a message…") : ready ? t("Ask {name}…", { name }) : t("Add documents first…");
  $("question").ariaLabel = bot ? t("Write a message…") : null;
  sending();
  $("welcome-title").textContent = t(bot ? "Hello! How can we help?" : "Ask your documents");
  $("welcome-text").textContent = t(bot ? "Automatic assistant" : ready
    ? "Answers are quoted word for word, each with its source. What is not there is not answered."
    : state.admin
      ? "There is nothing to ask yet. Drop files anywhere on this page to begin."
      : "There is nothing to ask yet. Whoever runs this server can add documents.");
  const tries = ready ? questions().map(asking) : [];
  if (!ready && state.admin) tries.push(make("li", {}, press(t("Add documents"), documents.open, { className: "primary" })));
  $("suggestions").replaceChildren(...tries);
  $("suggestions").hidden = !tries.length;
  state.told();
}

async function load(wanted) {
  const { collections, apps, admin } = await get("/api/collections");
  Object.assign(state, { collections, admin, apps: apps.filter((app) => !collections.some((c) => c.name === app.name)) });
  $("console").hidden = !admin;
  state.people = (await get("/v1/feedback").catch(() => ({}))).people ?? false;
  const names = [...collections, ...state.apps].map((one) => one.name);
  $("collection").replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
  $("collection").parentElement.hidden = !names.length;
  choose([wanted, state.asked].find((name) => names.includes(name)) || names[0] || "");
}

// Files were added to a collection: it is what is asked, unless an app is that answers from it.
documents.use({ changed: (collection) => load(collection === state.collection ? state.asked : collection) });
conversations.use({ begin, fresh, choose: (name) => {
  const there = [...$("collection").options].some((one) => one.value === name);
  if (there && name !== state.asked) choose(name);
  return there;
} });

async function start() {
  const address = new URLSearchParams(location.search);
  begin();
  await greet();
  try {
    await load(address.get("ask") || address.get("collection"));
    await conversations.start(address);
    const question = address.get("question")?.trim().slice(0, 4000);
    if (questions().includes(question) && !state.talk.turns.length) ask(question); // a link asks nothing else by itself
    else $("question").value ||= question || sessionStorage.getItem(ASKING) || "";
    sessionStorage.removeItem(ASKING);
    grow();
    if (address.get("document")) {
      const [start, end] = ["start", "end"].map((name) => Number(address.get(name)) || 0);
      await openSource({ collection: address.get("collection"), document_id: address.get("document"), start, end }, null);
    }
  } catch (error) {
    const drawn = () => $("welcome-text").replaceChildren(wrong(error));
    drawn();
    state.shown.push(drawn);
  }
  ($("composer").hidden ? $("continue") : $("question")).focus();
}

const started = start();
