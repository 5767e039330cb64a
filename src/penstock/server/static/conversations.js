// Conversations that were kept: the list beside the page, and what can be done with the one that is open.

import { $, Problem, call, get, problemOf, say, state, t, wrong } from "./common.js";
import { make, press } from "./parts.js";

const PATH = "/api/conversations";
const OPEN = "penstock-conversations"; // whether the list stands open, in this browser
const WIDE = matchMedia("(min-width: 861px)");
const LATER_MS = 250; // that somebody pauses in typing before it is looked for

let page; // how the page begins a conversation, and chooses what is asked
let kept = false, shares = false; // whether the server keeps conversations, and lets them be shared
let list = [], more = false;

export function use(calls) {
  page = calls;
}

const OUTLIVES = 20000; // characters of a body that is sent to its end though the page is closed: browsers take 64 kB

async function send(method, path, body = {}) {
  const said = JSON.stringify(body);
  const response = await call(path, {
    method, headers: { "content-type": "application/json" }, body: said, keepalive: said.length < OUTLIVES,
  });
  return response.json();
}

const at = (talk, ...rest) => [PATH, encodeURIComponent(talk.kept.id), ...rest].join("/");

// ---------------------------------------------------------------- keeping

// Keep one more answer, one after the other, and all of them where none was kept yet.
export function keep(talk, turn) {
  if (!kept) {
    draw();
    return;
  }
  const plain = ({ question, answer, request }) => ({ question, answer, request: request ?? "" });
  talk.keeping = talk.keeping.then(async () => {
    if (talk.kept) {
      turn.number = talk.kept.turns;
      talk.kept = await send("POST", at(talk, "turns"), plain(turn));
    } else {
      const turns = [...talk.turns];
      turns.forEach((one, n) => { one.number = n; });
      talk.kept = await send("POST", PATH, { asked: state.asked, title: talk.title, turns: turns.map(plain) });
      if (talk === state.talk) address(talk.kept.id);
    }
    draw();
    await refresh();
  }).catch(unkept);
  draw();
}

// An answer has changed since: a person was asked, or has replied.
export function change({ talk, answer, number }) {
  if (kept && number !== undefined) talk.keeping = talk.keeping.then(() => send("PUT", at(talk, "turns", number), { answer })).catch(unkept);
}

function unkept(error) {
  if (error.status === 404) return; // it was removed on another page
  $("turns").append(make("li", {}, wrong(new Problem("This answer was not kept among your conversations.", problemOf(error)))));
}

// The address of the page leads back to what is open.
export function address(id, { push = true } = {}) {
  const next = new URL(location);
  for (const name of ["conversation", "shared", "collection", "ask", "question", "document", "start", "end"]) next.searchParams.delete(name);
  if (id) next.searchParams.set("conversation", id);
  if (next.href !== location.href) history[push ? "pushState" : "replaceState"](null, "", next);
}

async function open(id, { push = true } = {}) {
  const { turns, ...row } = await get(`${PATH}/${encodeURIComponent(id)}`);
  page.choose(row.asked);
  turns.forEach((turn, n) => { turn.number = n; });
  page.begin({ kept: row, turns });
  address(id, { push });
  if (!WIDE.matches) toggle(false);
  say(row.title);
}

async function openShared(secret) {
  const found = await get(`/api/shared/${encodeURIComponent(secret)}`);
  page.choose(found.asked);
  page.begin({ turns: found.turns, title: found.title, shared: { by: found.by, created: found.created } });
}

// What the address says, once the page is there.
export async function start(asked) {
  const known = await get(`${PATH}?limit=1`).catch(() => ({}));
  kept = known.kept ?? false;
  shares = known.share ?? false;
  $("show-talks").hidden = !kept;
  if (kept && WIDE.matches && localStorage.getItem(OPEN)) await toggle(true);
  if (asked.get("shared")) await openShared(asked.get("shared"));
  else if (asked.get("conversation")) await open(asked.get("conversation"), { push: false });
  draw();
}

addEventListener("popstate", () => {
  const asked = new URLSearchParams(location.search);
  if (asked.get("conversation")) open(asked.get("conversation"), { push: false }).catch(tell);
  else if (!asked.get("shared")) page.begin();
});

// ---------------------------------------------------------------- the list

$("show-talks").addEventListener("click", () => toggle($("talks").hidden));
$("close-talks").addEventListener("click", () => toggle(false));
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("talks").hidden && $("talks").contains(document.activeElement)) toggle(false);
});

async function toggle(shown) {
  const inside = $("talks").contains(document.activeElement);
  $("talks").hidden = !shown;
  $("show-talks").setAttribute("aria-expanded", String(shown));
  if (WIDE.matches) localStorage.setItem(OPEN, shown ? "1" : "");
  if (shown) {
    await refresh();
    if (document.activeElement === $("show-talks")) $("find").focus();
  } else if (inside) $("show-talks").focus();
}

let typed;
$("find").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(refresh, LATER_MS);
});

let latest = 0; // of several that are under way the last one counts
async function refresh() {
  if ($("talks").hidden) return;
  const number = ++latest;
  try {
    const found = await get(asking());
    if (number !== latest) return;
    ({ conversations: list, more } = found);
    draw();
  } catch (error) {
    tell(error);
  }
}

async function further() {
  const found = await get(asking(list.at(-1).id));
  list = [...list, ...found.conversations];
  more = found.more;
  draw();
}

const asking = (after = "") => `${PATH}?${new URLSearchParams({ find: $("find").value.trim(), after })}`;
const tell = (error) => $("talk-list").replaceChildren(make("li", {}, wrong(error)));

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
      open(one.id).catch(tell);
    });
    rows.push(make("li", {}, link));
  }
  if (more) rows.push(make("li", {}, press(t("Show more"), () => further().catch(tell), { className: "quiet" })));
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
  $("talk-title").replaceChildren(make("bdi", { textContent: titleOf(talk) }));
  $("talk-by").textContent = talk.shared ? t("Shared by {name} on {date}", { name: talk.shared.by, date: date(talk.shared.created) }) : "";
  $("continue").hidden = !talk.shared;
  for (const id of ["rename", "remove"]) $(id).hidden = !talk.kept;
  $("share").hidden = !(talk.kept && shares);
  forget();
  if (!$("talks").hidden) drawList();
}

$("continue").addEventListener("click", () => {
  page.begin({ turns: state.talk.turns.map((turn) => ({ ...turn, request: "" })), title: titleOf(state.talk) });
  address(null);
  $("question").focus();
});

// A menu closes when something in it was pressed, or something beside it.
const menu = $("talk-menu");
addEventListener("click", (event) => {
  if (!menu.contains(event.target) || event.target.closest("button:not(#remove)")) menu.open = false;
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
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      talk.kept = await send("POST", at(talk), { title: input.value });
      draw();
      await refresh();
    } catch (error) {
      $("talk-title").replaceChildren(wrong(error));
    }
    menu.querySelector("summary").focus();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    draw();
    menu.querySelector("summary").focus();
  });
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
  try {
    await talk.keeping;
    await call(at(talk), { method: "DELETE" });
    page.fresh();
    await refresh();
  } catch (error) {
    $("talk-title").replaceChildren(wrong(error));
  }
  menu.open = false;
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
    const found = await send("POST", at(talk, "share"));
    talk.kept.shared = found.expires;
    return found;
  }), { className: "primary" });
  const stop = press(t("Stop sharing"), doing(async () => {
    await call(at(talk, "share"), { method: "DELETE" });
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
  save("json", "application/json", JSON.stringify({ title: titleOf(state.talk), asked: state.talk.kept?.asked ?? state.asked, turns }, null, 2));
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
    const cited = (answer.citations ?? []).map((c, n) =>
      `${n + 1}. ${[c.title, c.source, (c.section ?? []).join(" › "), c.page ? t("page {page}", { page: c.page }).replace(/[\u2068\u2069]/g, "") : "", c.date].filter(Boolean).join(" · ")}: “${line(c.quote ?? "")}”`);
    if (cited.length) parts.push(cited.join("\n"));
    if (answer.reply) parts.push(`${t("A person replies:")} ${answer.reply}`);
  }
  return `${parts.join("\n\n")}\n`;
}
