// Conversations that were kept: the list beside the page, and what can be done with the one that is open.

import { $, Problem, call, get, problemOf, say, state, t, wrong } from "./common.js";
import { make, newId, press } from "./parts.js";

const PATH = "/api/conversations";
const OPEN = "penstock-conversations"; // whether the list stands open, in this browser
const WIDE = matchMedia("(min-width: 861px)");
const LATER_MS = 250; // that somebody pauses in typing before it is looked for
const PAGE = 50, MOST = 500; // conversations at once

let page; // how the page begins a conversation, and chooses what is asked
let kept = false, shares = false; // whether the server keeps conversations, and lets them be shared
let list = [], behind = ""; // what is listed, and from where the list goes on

export function use(calls) {
  page = calls;
}

const OUTLIVES = 60000; // bytes of a body that is sent to its end though the page is closed: browsers take 64 kB

async function send(method, path, body = {}) {
  const said = JSON.stringify(body);
  const response = await call(path, {
    method, headers: { "content-type": "application/json" }, body: said, keepalive: new Blob([said]).size < OUTLIVES,
  });
  return response.json();
}

const at = (id, ...rest) => [PATH, encodeURIComponent(id), ...rest].join("/");

// ---------------------------------------------------------------- keeping

const UNKEPT = "This answer was not kept among your conversations.";
const AGAIN_MS = 10000; // after which it is tried again to keep what could not be kept
const keepsWith = (asked) => kept && (state.apps.find((app) => app.name === asked)?.history ?? true);

// Keep what was not kept yet, one request after the other. What is sent twice is there once, as all of it has names.
export function keep(talk) {
  if (keepsWith(talk.asked)) talk.keeping = talk.keeping.then(() => keepNow(talk));
  draw();
}

async function keepNow(talk) {
  const waiting = talk.turns.filter((turn) => !turn.kept);
  if (!waiting.length || talk.lost) return;
  const turns = waiting.map(({ id, question, answer, request }) => ({ id, question, answer, request: request ?? "" }));
  try {
    talk.kept = await send("PUT", at(talk.id), { asked: talk.asked, title: talk.title, turns, begins: !talk.kept });
    for (const turn of waiting) turn.kept = true;
    talk.problem = null;
    if (talk === state.talk) address(talk.id, { push: !new URLSearchParams(location.search).has("conversation") });
    refresh();
  } catch (error) {
    if (error.status === 404 && talk.kept) { // it was deleted on another page, or is another's: what is said from now on is a new one
      Object.assign(talk, { id: newId(), kept: null });
      return keepNow(talk);
    }
    talk.problem = error;
    if (talk === state.talk) say(t(UNKEPT));
    talk.lost = error.status >= 400 && error.status < 500 && error.status !== 429; // trying again would not help
    if (!talk.lost) setTimeout(() => keep(talk), AGAIN_MS);
  }
  draw();
}

// An answer has changed since: a person was asked, or has replied.
export function change({ talk, id, answer }) {
  const changed = async () => {
    if (talk.turns.some((turn) => turn.id === id && turn.kept)) await send("PUT", at(talk.id, "turns", id), { answer });
  };
  if (keepsWith(talk.asked)) talk.keeping = talk.keeping.then(changed).catch((error) => { if (error.status !== 404) talk.problem = error; }).then(draw);
}

// The address of the page leads back to what is open.
export function address(id, { push = true } = {}) {
  const next = new URL(location);
  for (const name of ["conversation", "shared", "collection", "ask", "question", "document", "start", "end"]) next.searchParams.delete(name);
  if (id) next.searchParams.set("conversation", id);
  if (next.href !== location.href) history[push ? "pushState" : "replaceState"](null, "", next);
}

// Get something and begin with it, unless somebody has gone on meanwhile: asked something, or opened another.
let opening = 0;
async function begun(path, show) {
  const number = ++opening, { talk, busy } = state, { length } = talk.turns;
  const wanted = () => number === opening && talk === state.talk && busy === state.busy && length === talk.turns.length;
  const found = await get(path).catch((error) => { if (wanted()) throw error; });
  if (found && wanted()) show(found);
}

const open = (id, { push = true } = {}) => begun(at(id), ({ turns, ...row }) => {
  const there = page.choose(row.asked);
  page.begin({ id, asked: row.asked, kept: row, turns, closed: !there });
  address(id, { push });
  if (!WIDE.matches) toggle(false);
  say(row.title);
});

const openShared = (secret) => begun(`/api/shared/${encodeURIComponent(secret)}`, ({ asked, turns, title, by, created }) => {
  page.choose(asked);
  page.begin({ asked, turns, title, shared: { by, created } });
});

// What an address asks for. Whether it asked for a conversation.
async function go(asked) {
  if (asked.get("shared")) await openShared(asked.get("shared"));
  else if (asked.get("conversation")) await open(asked.get("conversation"), { push: false });
  else return false;
  return true;
}

// What the address says, once the page is there.
export async function start(asked) {
  const known = await get(`${PATH}?limit=1`).catch(() => ({ kept: true, share: true })); // keeping says so if it cannot be done
  kept = known.kept;
  shares = known.share;
  $("show-talks").hidden = !kept;
  if (kept && WIDE.matches && localStorage.getItem(OPEN)) await toggle(true);
  await go(asked);
  draw();
}

addEventListener("popstate", () => {
  go(new URLSearchParams(location.search)).then((went) => { if (!went) page.begin(); }, tell);
});

// A problem with a conversation that was to be opened: in the place where it would stand.
function tell(error) {
  page.begin();
  $("welcome").hidden = true;
  $("turns").append(make("li", {}, wrong(error)));
}

// ---------------------------------------------------------------- the list

$("show-talks").addEventListener("click", () => toggle($("talks").hidden));
$("close-talks").addEventListener("click", () => toggle(false));
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("talks").hidden && $("talks").contains(document.activeElement)) toggle(false);
});

async function toggle(shown) {
  const inside = $("talks").contains(document.activeElement);
  $("talks").hidden = !shown;
  for (const covered of document.querySelectorAll(".top, .chat, #source")) covered.inert = shown && !WIDE.matches;
  $("show-talks").setAttribute("aria-expanded", String(shown));
  if (WIDE.matches) localStorage.setItem(OPEN, shown ? "1" : "");
  if (shown) {
    await refresh();
    if ([$("show-talks"), document.body].includes(document.activeElement)) $("find").focus();
  } else if (inside) $("show-talks").focus();
}
WIDE.addEventListener("change", () => { if (!$("talks").hidden) toggle(true); });

let typed;
$("find").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(refresh, LATER_MS);
});

// The list anew, as long as it was; a request that is under way is given up for it. more: with what comes behind it.
let asking = new AbortController();
async function refresh({ more = false } = {}) {
  if ($("talks").hidden) return;
  asking.abort();
  const { signal } = asking = new AbortController();
  const wanted = { find: $("find").value.trim(), limit: more ? PAGE : Math.min(Math.max(list.length, PAGE), MOST), after: more ? behind : "" };
  try {
    const found = await (await call(`${PATH}?${new URLSearchParams(wanted)}`, { signal })).json();
    if (signal.aborted) return;
    list = more ? [...list, ...found.conversations] : found.conversations;
    behind = found.after;
    drawList();
  } catch (error) {
    if (error.name !== "AbortError") $("talk-list").replaceChildren(make("li", {}, wrong(error)));
  }
}

// Today, yesterday, then the months.
function dayOf(iso) {
  const language = document.documentElement.lang, day = new Date(iso);
  const ago = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(day).setHours(0, 0, 0, 0)) / 86400000);
  return ago < 2 ? new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-ago, "day")
    : new Intl.DateTimeFormat(language, { month: "long", year: "numeric" }).format(day);
}

function drawList() {
  const rows = [];
  let day = "";
  for (const one of list) {
    if (dayOf(one.changed) !== day) rows.push(make("li", { className: "day", textContent: day = dayOf(one.changed) }));
    const link = make("a", { href: `/?conversation=${encodeURIComponent(one.id)}`, dir: "auto", textContent: one.title, title: one.asked });
    if (one.id === state.talk.kept?.id) link.setAttribute("aria-current", "page");
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      open(one.id).catch((error) => $("talk-list").prepend(make("li", {}, wrong(error))));
    });
    rows.push(make("li", {}, link));
  }
  if (behind) rows.push(make("li", {}, press(t("Show more"), () => refresh({ more: true }), { className: "quiet" })));
  const was = $("talk-list").contains(document.activeElement);
  $("talk-list").replaceChildren(...rows);
  if (was) $("talk-list").querySelector("[aria-current], a")?.focus({ preventScroll: true });
  $("talks-none").textContent = rows.length ? "" : t($("find").value.trim() ? "Nothing was found for these words." : "No conversations yet.");
}

// ---------------------------------------------------------------- the one that is open

const titleOf = (talk) => talk.kept?.title || talk.title || talk.turns[0]?.question || "";
const date = (iso) => new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "long" }).format(new Date(iso));

export function draw() {
  const { talk } = state;
  $("talk").hidden = !talk.turns.length;
  document.title = talk.turns.length ? `${titleOf(talk)} · Penstock` : "Penstock";
  if (!$("talk-title").querySelector("form")) $("talk-title").replaceChildren(make("bdi", { textContent: titleOf(talk) }));
  $("talk-by").textContent = talk.shared ? t("Shared by {name} on {date}", { name: talk.shared.by, date: date(talk.shared.created) }) : "";
  $("unkept").replaceChildren(talk.problem ? wrong(new Problem(UNKEPT, problemOf(talk.problem))) : "");
  $("continue").hidden = !talk.shared;
  for (const id of ["rename", "remove"]) $(id).hidden = !talk.kept;
  $("share").hidden = !(talk.kept && shares);
  forget();
  if (!$("talks").hidden) drawList();
}

// Nothing of the conversation before stays in the bar.
export function fresh() {
  $("talk-title").replaceChildren();
  menu.open = false;
}

$("continue").addEventListener("click", () => {
  const { talk } = state;
  page.begin({ asked: state.asked, turns: talk.turns.map((turn) => ({ ...turn, id: newId(), request: "" })), title: titleOf(talk) });
  address(null);
  $("question").focus();
});

// A menu closes when something in it was pressed, or something beside it.
const menu = $("talk-menu");
addEventListener("click", (event) => {
  if (!menu.open || (menu.contains(event.target) && !event.target.closest("button:not(#remove)"))) return;
  menu.open = false;
  if (event.target.closest("#export-markdown, #export-json")) menu.querySelector("summary").focus();
});
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  menu.open = false;
  forget();
  menu.querySelector("summary").focus();
});
menu.addEventListener("toggle", () => { if (!menu.open) forget(); });

$("rename").addEventListener("click", () => {
  const input = make("input", { id: "new-title", value: titleOf(state.talk), maxLength: 200, required: true, dir: "auto", ariaLabel: t("Title") });
  const form = make("form", {}, input, make("button", { type: "submit", className: "quiet", textContent: t("Save") }));
  const talk = state.talk;
  const end = () => {
    $("talk-title").replaceChildren();
    draw();
    menu.querySelector("summary").focus();
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!input.value.trim()) return input.focus();
    try {
      talk.kept = await send("POST", at(talk.id), { title: input.value });
      if (talk === state.talk) end();
      refresh();
    } catch (error) {
      form.after(wrong(error));
    }
  });
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") end(); });
  $("talk-title").replaceChildren(form);
  input.select();
});

// Removing asks in the same place first.
const forget = () => {
  $("remove").textContent = t("Delete");
  delete $("remove").dataset.sure;
};
$("remove").addEventListener("click", async () => {
  if (!$("remove").dataset.sure) {
    $("remove").dataset.sure = "1";
    $("remove").textContent = t("Delete for good?");
    return;
  }
  const { talk } = state;
  menu.open = false;
  try {
    await talk.keeping;
    await call(at(talk.id), { method: "DELETE" });
    if (talk === state.talk) page.fresh();
    refresh();
  } catch (error) {
    if (talk === state.talk) $("talk-title").append(wrong(error));
  }
});

// ---------------------------------------------------------------- sharing

$("share").addEventListener("click", () => {
  drawShare();
  $("sharing").showModal();
});
$("close-sharing").addEventListener("click", () => $("sharing").close());

function drawShare(made = null) {
  const { talk } = state;
  const link = made ? new URL(`/?shared=${encodeURIComponent(made.secret)}`, location).href : "";
  const box = make("input", { value: link, readOnly: true, dir: "ltr", ariaLabel: t("Share this conversation") });
  box.addEventListener("focus", () => box.select());
  const copy = press(t("Copy"), async () => {
    await navigator.clipboard.writeText(link);
    copy.textContent = t("Copied");
  }, { className: "quiet" });
  const doing = (work) => async () => {
    try {
      drawShare(await work());
      await refresh();
    } catch (error) {
      $("share-what").replaceChildren(wrong(error));
    }
  };
  const make_ = press(t("Make a link"), doing(async () => {
    const found = await send("POST", at(talk.id, "share"));
    talk.kept.shared = found.expires;
    return found;
  }), { className: "primary" });
  const stop = press(t("Stop sharing"), doing(async () => {
    await call(at(talk.id, "share"), { method: "DELETE" });
    talk.kept.shared = null;
  }), { className: "quiet" });
  $("share-what").replaceChildren(
    make("p", { textContent: made
      ? t("Whoever has this link and may use this server can read this conversation as it is now, with the passages quoted in it, until {date}.", { date: date(made.expires) })
      : t("Whoever gets a link and may use this server can read this conversation as it is now, with the passages quoted in it.") }),
    made ? box : "",
    make("div", { className: "row" }, made ? "" : make_, made && navigator.clipboard ? copy : "", talk.kept.shared ? stop : ""));
  if (made) box.focus();
}

// ---------------------------------------------------------------- taking along

$("export-markdown").addEventListener("click", () => save("md", "text/markdown", markdown(state.talk)));
$("export-json").addEventListener("click", () => {
  const turns = state.talk.turns.map(({ question, answer, request }) => ({ question, answer, request }));
  save("json", "application/json", JSON.stringify({ title: titleOf(state.talk), asked: state.talk.asked, turns }, null, 2));
});

function save(ending, type, text) {
  const name = titleOf(state.talk).replace(/[^\p{L}\p{N} _-]+/gu, " ").trim().slice(0, 60) || "penstock";
  const href = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href, download: `${name}.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

function markdown(talk) {
  const line = (text) => text.replace(/\s+/g, " ").trim();
  const parts = [`# ${line(titleOf(talk))}`];
  for (const { question, answer } of talk.turns) {
    parts.push(`## ${line(question)}`, answer.text);
    const citations = Array.isArray(answer.citations) ? answer.citations : [];
    const cited = citations.map((c, n) =>
      `${n + 1}. ${[c.title, c.source, Array.isArray(c.section) ? c.section.join(" › ") : "", c.page ? t("page {page}", { page: c.page }).replace(/[\u2068\u2069]/g, "") : "", c.date].filter(Boolean).join(" · ")}: “${line(String(c.quote ?? ""))}”`);
    if (cited.length) parts.push(cited.join("\n"));
    if (answer.reply) parts.push(`${t("A person replies:")} ${answer.reply}`);
  }
  return `${parts.join("\n\n")}\n`;
}
