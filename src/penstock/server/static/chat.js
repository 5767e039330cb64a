// The chat page: asking, and what there is to ask.

import { $, CHAT, CUT, Problem, call, get, greet, problemOf, refusal, said, say, speak, state, t, wrong } from "./common.js";
import { show } from "./answer.js";
import * as conversations from "./conversations.js";
import * as documents from "./documents.js";
import { events, make, press } from "./parts.js";
import { openSource } from "./source.js";

const MOST_OFFERED = 3; // questions behind an answer

$("language").addEventListener("change", async () => {
  localStorage.setItem("penstock-language", $("language").value);
  const address = new URL(location);
  address.searchParams.delete("lang");
  history.replaceState(null, "", address);
  await speak($("language").value);
  $("send").textContent = t(state.busy ? "Stop" : "Ask");
  $("source").hidden = true;
  choose(state.asked);
  for (const show of state.shown) show();
  conversations.draw();
});

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

const opinionOf = (request, { waiting, reply }) => ({
  request, thumb: "", reasons: [], correction: "", csat: 0,
  person: reply ? { state: "replied", text: reply } : waiting ? { state: "pending", id: waiting } : {},
});

async function ask(question) {
  await started; // whoever is quicker than the page waits for it
  if (!state.collection) return documents.open();
  if (state.busy) return;
  const talk = state.talk;
  $("question").value = "";
  grow();
  const { node, answer, words } = place(question);
  offer();
  node.scrollIntoView({ block: "end" });
  const busy = state.busy = new AbortController();
  $("send").textContent = t("Stop");
  try {
    const messages = [...said(talk), { role: "user", content: question }];
    const body = JSON.stringify({ model: state.asked, stream: true, messages });
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
    const request = response.headers.get("x-request-id");
    const turn = { question, answer: found, request, opinion: opinionOf(request, found), talk };
    draw(node, turn);
    const { height } = node.getBoundingClientRect();
    node.scrollIntoView({ block: height > $("scroll").clientHeight ? "start" : "end" });
    say(`${found.text} ${t("Sources: {count}", { count: found.citations.length })}`);
    talk.turns.push(turn);
    conversations.keep(talk, turn);
  } catch (error) {
    const stopped = error.name === "AbortError";
    const drawn = () => words.replaceChildren(stopped ? make("span", { className: "hint", textContent: t("Stopped.") }) : wrong(error));
    drawn();
    state.shown.push(drawn);
    node.scrollIntoView({ block: "end" });
    say(stopped ? t("Stopped.") : t(problemOf(error).message));
  } finally {
    answer.classList.remove("waiting");
    if (state.busy === busy) {
      state.busy = null;
      $("send").textContent = t("Ask");
      offer();
      if (node.offsetHeight + $("further").offsetHeight < $("scroll").clientHeight) $("further").scrollIntoView({ block: "end" });
      if (!document.querySelector("dialog[open]")) $("question").focus({ preventScroll: true });
    }
  }
}

// ---------------------------------------------------------------- conversations

// Begin with nothing said, or with what was kept. shared: by whom and when, of a conversation that is only to be read.
function begin({ turns = [], kept = null, title = "", shared = null } = {}) {
  state.busy?.abort();
  state.busy = null;
  $("send").textContent = t("Ask");
  state.talk = { kept, title, shared, turns: [], keeping: Promise.resolve() };
  state.shown = [];
  $("turns").replaceChildren();
  $("welcome").hidden = false;
  for (const { question, answer, request } of turns) {
    const turn = { question, answer, request, opinion: opinionOf(request, answer), talk: state.talk };
    const { node, words } = place(question);
    try {
      draw(node, turn);
    } catch {
      words.textContent = answer.text; // of a shape that is none of ours
    }
    node.querySelector(".answer").classList.remove("waiting");
    state.talk.turns.push(turn);
  }
  $("turns").lastElementChild?.scrollIntoView({ block: "end" });
  $("composer").hidden = Boolean(shared);
  offer();
  conversations.draw();
}

// Questions that were given to be offered, as long as nobody has asked them: under the last answer.
function offer() {
  const asked = new Set([...document.querySelectorAll(".question")].map((node) => node.textContent));
  const left = state.talk.turns.length && !state.busy && !state.talk.shared ? questions().filter((one) => !asked.has(one)) : [];
  $("further").replaceChildren(...left.slice(0, MOST_OFFERED).map(asking));
  $("further").hidden = !left.length;
}

const answering = (name) => state.apps.find((app) => app.name === name);
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
  const ready = found?.version;
  $("question").placeholder = ready ? t("Ask {name}…", { name }) : t("Add documents first…");
  $("welcome-text").textContent = t(ready
    ? "Answers are quoted word for word, each with its source. What is not there is not answered."
    : state.admin
      ? "There is nothing to ask yet. Drop files anywhere on this page to begin."
      : "There is nothing to ask yet. Whoever runs this server can add documents.");
  const tries = ready ? questions().map(asking) : [];
  if (!ready && state.admin) tries.push(make("li", {}, press(t("Add documents"), documents.open, { className: "primary" })));
  $("suggestions").replaceChildren(...tries);
  $("suggestions").hidden = !tries.length;
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
conversations.use({ begin, fresh, choose: (name) => { if (name !== state.asked && [...$("collection").options].some((one) => one.value === name)) choose(name); } });

async function start() {
  const address = new URLSearchParams(location.search);
  begin();
  await greet();
  try {
    await load(address.get("ask") || address.get("collection"));
    await conversations.start(address);
    const question = address.get("question")?.trim().slice(0, 4000);
    if (questions().includes(question)) ask(question); // a link asks nothing else by itself
    else if (question) $("question").value = question;
    if (address.get("document")) {
      const [start, end] = ["start", "end"].map((name) => Number(address.get(name)) || 0);
      await openSource({ collection: address.get("collection"), document_id: address.get("document"), start, end }, null);
    }
  } catch (error) {
    const drawn = () => $("welcome-text").replaceChildren(wrong(error));
    drawn();
    state.shown.push(drawn);
  }
  $(state.talk.shared ? "continue" : "question").focus();
}

const started = start();
