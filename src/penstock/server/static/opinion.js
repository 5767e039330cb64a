// What people think of an answer. Said again it is taken back.

import { icon, make, press, say, t } from "./parts.js";

const THUMBS = [["up", "This helped"], ["down", "This did not help"]];
const THUMB = "M7 11v9H3v-9zM9 20V10l4-7c1.7 0 2.5 1.2 2.2 2.7L14.5 9H20a1.6 1.6 0 0 1 1.6 1.9l-1.5 7.6A1.9 1.9 0 0 1 18.2 20z";
const THANKS = "Thank you. It is noted.";
const REASONS = [
  ["wrong", "It is wrong"], ["incomplete", "Something is missing"], ["outdated", "It is out of date"],
  ["off_topic", "It does not answer my question"], ["unclear", "I do not understand it"],
];

export const noOpinion = () => ({ thumb: "", reasons: [], correction: "", csat: 0, text: "" });

const plain = ({ thumb, reasons, correction, csat, text }) => ({
  thumb: thumb || null, reasons, correction: correction || null, csat: csat || null, text: text || null,
});

// Changes what is thought, once the server knows it too, which is sent the whole. give: how; wrong: an error as an element or text,
// and in plain words; noted: what is done once it is known.
const sending = (opinion, { give, wrong, noted = () => {} }) => async (changes, told) => {
  try {
    await give(plain({ ...opinion, ...changes }));
    Object.assign(opinion, changes);
    noted();
    return true;
  } catch (error) {
    const { shown, words } = wrong(error);
    told.replaceChildren(shown);
    say(words);
    return false;
  }
};

const rating = (question, { chosen = 0, take }) => make("fieldset", {}, make("legend", { textContent: t(question) }),
  ...[1, 2, 3, 4, 5].map((csat) => press(String(csat), () => take(chosen === csat ? 0 : csat), {
    className: "rating", ariaPressed: String(chosen === csat),
  })));

// Thumbs, then how satisfied, and after a thumb down why. corrects: whether it is asked what would have been right.
export function opinionOn(opinion, { corrects = false, ...ways }) {
  const node = make("div", { className: "opinion" });
  const told = make("span", { className: "hint" });
  const send = sending(opinion, ways);
  const change = async (changes) => {
    if (!await send(changes, told)) return;
    draw();
    told.textContent = t(THANKS);
    say(t(THANKS));
  };
  const toggle = (className, on, text, changes, more = {}) => (
    press(text, () => change(changes), { className, ariaPressed: String(on), ...more }));
  const draw = () => {
    const typed = node.querySelector("textarea")?.value ?? opinion.correction;
    const at = [...node.querySelectorAll("button, textarea")].indexOf(document.activeElement);
    const thumbs = THUMBS.map(([thumb, phrase]) => {
      const on = opinion.thumb === thumb;
      const changes = { thumb: on ? "" : thumb, reasons: [], correction: "", csat: 0 };
      const button = toggle(`thumb ${thumb}`, on, "", changes, { title: t(phrase), ariaLabel: t(phrase) });
      button.append(icon(THUMB));
      return button;
    });
    const how = opinion.thumb && rating("How satisfied are you with it, from 1 (not at all) to 5 (very)?", {
      chosen: opinion.csat, take: (csat) => change({ csat }),
    });
    node.replaceChildren(...[make("span", { className: "thumbs" }, ...thumbs), told, how, opinion.thumb === "down" && why(typed)].filter(Boolean));
    if (at >= 0) node.querySelectorAll("button, textarea")[at]?.focus({ preventScroll: true });
  };
  const why = (typed) => {
    const reasons = REASONS.map(([reason, phrase]) => {
      const on = opinion.reasons.includes(reason);
      const others = opinion.reasons.filter((one) => one !== reason);
      return toggle("reason", on, t(phrase), { reasons: on ? others : [...others, reason] });
    });
    const asked = make("fieldset", {}, make("legend", { textContent: t("What was wrong with it?") }), ...reasons);
    if (!corrects) return asked;
    const right = make("textarea", { rows: 2, dir: "auto", maxLength: 4000, value: typed });
    const form = make("form", { className: "why" }, asked,
      make("label", {}, t("What would have been right?"), right),
      make("button", { type: "submit", textContent: t("Send") }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      change({ correction: right.value.trim() });
    });
    return form;
  };
  draw();
  return node;
}

// How a whole conversation was, once it is over: one to five, which is kept at once, then a word for whoever has one.
export function howItWas(opinion, ways) {
  const node = make("div", { className: "opinion ending" });
  const told = make("span", { className: "hint" });
  const send = sending(opinion, ways);
  const thank = () => {
    told.textContent = t(THANKS);
    node.replaceChildren(told);
    say(t(THANKS));
  };
  const more = () => {
    const word = make("textarea", { rows: 2, dir: "auto", maxLength: 4000 });
    const form = make("form", { className: "why" }, make("label", {}, t("A word about it (optional)"), word),
      make("button", { type: "submit", textContent: t("Send") }));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!word.value.trim() || await send({ text: word.value.trim() }, told)) thank();
    });
    return form;
  };
  const draw = () => {
    const asked = rating("How was this conversation, from 1 (very bad) to 5 (very good)?", {
      chosen: opinion.csat,
      take: async (csat) => {
        if (!await send({ csat }, told)) return;
        told.textContent = csat ? t(THANKS) : "";
        draw();
        if (csat) say(t(THANKS));
        node.querySelector("[aria-pressed=true]")?.focus({ preventScroll: true });
        node.scrollIntoView({ block: "nearest" });
      },
    });
    node.replaceChildren(asked, told, ...(opinion.csat ? [more()] : []));
  };
  if (opinion.csat && opinion.text) node.replaceChildren(make("span", { className: "hint", textContent: t(THANKS) }));
  else draw();
  return node;
}
