// Asks for an API key, on the page of one app.

import { make, t, words } from "./parts.js";

// The words of the chat page, which anybody may read, for whoever may not come in yet.
async function speak(tag) {
  const base = tag.toLowerCase().split(/[-_]/)[0];
  const known = await fetch("/static/phrases.json").then((one) => one.json()).catch(() => []);
  const found = known.find(({ language }) => language === ({ nb: "no", nn: "no" }[base] ?? base));
  if (!found || found.language === "en") return;
  const said = await fetch(`/static/phrases/${found.language}.json`).then((one) => one.json()).catch(() => ({ phrases: {} }));
  words.phrases = said.phrases;
  Object.assign(document.documentElement, { lang: found.language, dir: found.direction });
}

// refused: whether one was given that is not accepted. label: puts the page's own words in their places.
export async function keyFor(language, { refused, label }) {
  if (!Object.keys(words.phrases).length) await speak(language);
  label();
  const key = make("input", {
    id: "key", type: "password", dir: "ltr", autocomplete: "current-password", pattern: "[!-~]+", required: true,
    title: t("A key has no spaces and no accents"),
  });
  const form = make("form", { method: "dialog" },
    make("h2", { id: "key-title", textContent: t("This server needs a key") }),
    make("label", { htmlFor: "key", textContent: t("API key") }), key,
    make("p", { className: "hint", textContent: t("It stays in this tab and is forgotten when you close it.") }),
    refused ? make("p", { className: "problem", role: "alert", textContent: t("This key is not accepted.") }) : "",
    make("button", { type: "submit", className: "primary", textContent: t("Sign in") }));
  const dialog = make("dialog", {}, form);
  dialog.setAttribute("aria-labelledby", "key-title");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((resolve) => { dialog.addEventListener("close", resolve); });
  dialog.remove();
  return key.value.trim();
}
