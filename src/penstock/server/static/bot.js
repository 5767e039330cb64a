// What a conversation with a bot has besides its answers: replies to press, the rows that an answer rests on, and a person who takes over.

import { make, press, t } from "./parts.js";

const TAKES_OVER = "A person takes over. The assistant is silent until they reply.";

// Whether a person has the conversation after that turn.
export const isWithPerson = (turn) => turn?.answer.status === "handed_over" && !["replied", "closed", "expired"].includes(turn.person?.state);

// Whether an answer only says that the message went to the person who had taken over with the turn before.
export const isPassed = (answer, before) => answer.status === "handed_over" && isWithPerson(before) && answer.waiting === before.answer.waiting;

// What stands between a conversation and the box where it goes on. place: an empty element. ask: says something; back: ends that a
// person has it. There is one bar, so there is one set of replies at most.
export function barIn(place, { ask, back }) {
  const draw = ({ bot = false, last = null, busy = false } = {}) => {
    const { quick_replies: replies = [] } = last?.answer ?? {};
    const handed = isWithPerson(last);
    const focused = place.contains(document.activeElement);
    place.hidden = !bot;
    place.replaceChildren(
      handed ? make("p", { className: "handed" }, t(TAKES_OVER)) : "",
      !busy && !handed && replies.length ? make("ul", { className: "quick", ariaLabel: t("Quick replies") },
        ...replies.map((reply) => make("li", {}, press(reply, () => ask(reply), { dir: "auto" })))) : "",
      handed ? press(t("Back to the assistant"), back, { className: "quiet", disabled: busy })
        : press(t("Talk to a person"), () => ask(t("I would like to talk to a person.")), { className: "quiet", disabled: busy }));
    if (focused) place.querySelector("button:enabled")?.focus({ preventScroll: true });
  };
  draw();
  return draw;
}

// What is said of an answer to whoever cannot see it, besides its words.
export const besides = ({ status, quick_replies: replies = [] }) => (status === "handed_over" ? t(TAKES_OVER)
  : replies.length ? `${t("Quick replies")}: ${replies.join(", ")}` : "");

// Whoever reads it later is told the day as well.
function timeOf(date) {
  const at = new Date(date), today = new Date().toDateString() === at.toDateString();
  if (!/\d:\d/.test(date) || Number.isNaN(at.getTime())) return date;
  return new Intl.DateTimeFormat(document.documentElement.lang, { ...(today ? {} : { dateStyle: "medium" }), timeStyle: "short" }).format(at);
}

// Rows of a business's own data as they were when they were read. They are no documents, so nothing opens.
export function rowsOf(rows) {
  const times = [...new Set(rows.map(({ date }) => timeOf(date)))];
  return times.map((time) => make("details", { className: "rows" },
    make("summary", { textContent: t("From our data, as of {time}", { time }) }),
    make("ul", {}, ...rows.filter(({ date }) => timeOf(date) === time).map(({ title, source, quote }) => make("li", {},
      make("bdi", { className: "name", textContent: title || source }), " ", make("bdi", { className: "values", textContent: quote }))))));
}
