// The console works without this: it puts times into the reader's own zone, copies, asks before what cannot be undone.

const language = document.documentElement.lang;
const short = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium" });
for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = time.textContent;
  time.textContent = short.format(new Date(time.dateTime));
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue; // none without https
  button.hidden = false;
  button.addEventListener("click", async () => {
    const words = button.textContent;
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "✓";
    setTimeout(() => { button.textContent = words; }, 1500);
  });
}

for (const form of document.querySelectorAll("form[data-ask]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.ask)) event.preventDefault();
  });
}

// A form that goes to a page by its name, as an address has it.
for (const form of document.querySelectorAll("form[data-jump]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.id.value.trim();
    if (name) location.href = form.dataset.jump + encodeURIComponent(name);
  });
}

// Beside the page the menu stands open; above it, it opens on demand.
const menu = document.getElementById("menu");
const wide = matchMedia("(min-width: 901px)");
const fold = () => { if (menu) menu.open = wide.matches; };
wide.addEventListener("change", fold);
fold();

// Files that are chosen or dropped, one after the other, each with its progress.
const drop = document.querySelector("[data-upload]");
if (drop) {
  const list = drop.querySelector("ul");
  const words = JSON.parse(list.dataset.words);
  const input = drop.querySelector("input");
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

  async function upload(files) {
    let changed = false;
    for (const file of files) changed = (await send(file)) || changed;
    if (changed) setTimeout(() => location.reload(), 900);
  }

  function send(file) {
    const row = document.createElement("li");
    const [name, facts, bar] = ["bdi", "span", "progress"].map((tag) => row.appendChild(document.createElement(tag)));
    [name.textContent, facts.textContent, facts.className, bar.max] = [file.name, words.sending, "soft", 100];
    bar.setAttribute("aria-label", file.name);
    list.append(row);
    return new Promise((resolve) => {
      const request = new XMLHttpRequest(); // fetch cannot tell how much of a body was sent
      const end = (text, bad) => {
        facts.textContent = text;
        facts.className = bad ? "problem" : "soft";
        bar.remove();
        resolve(!bad);
      };
      let seen = 0, passages = 0;
      request.open("POST", `${drop.dataset.upload}?name=${encodeURIComponent(file.name)}`);
      request.setRequestHeader("accept", "application/x-ndjson");
      request.upload.onprogress = (event) => { bar.value = (event.loaded / event.total) * 60; };
      request.onprogress = () => {
        const lines = request.responseText.split("\n").slice(0, -1);
        for (const step of lines.slice(seen).map(parsed)) {
          passages += step.passages ?? 0;
          if (words[step.step] && step.step !== "done") {
            facts.textContent = step.page ? `${words[step.step]} · ${step.page} / ${step.pages}` : `${words[step.step]} · ${words.passages}: ${passages}`;
            if (step.page) bar.value = 60 + (step.page / step.pages) * 35;
            else bar.removeAttribute("value");
          }
        }
        seen = lines.length;
      };
      request.onload = () => {
        const last = parsed(request.responseText.trim().split("\n").at(-1));
        const problem = last.error ?? (last.added?.length || last.changed?.length ? null : last.skipped?.[0]);
        if (problem) end([problem.message ?? problem.reason, problem.hint].filter(Boolean).join(" — "), true);
        else end(last.version ? `${words.done} · ${words.passages}: ${passages}` : words.same);
      };
      request.onerror = () => end(words.broke, true);
      request.send(file);
    });
  }

  const parsed = (line) => {
    try {
      return Object(JSON.parse(line));
    } catch {
      return { error: { message: words.broke } };
    }
  };

  input.addEventListener("change", () => upload([...input.files]));
  addEventListener("dragover", (event) => { if (carriesFiles(event)) { event.preventDefault(); drop.classList.add("over"); } });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    drop.classList.remove("over");
    upload([...event.dataTransfer.files]);
  });
}

// A button that shows what comes of its form in a part of this page, so that what was written into the form stays.
addEventListener("submit", async (event) => {
  const [form, button] = [event.target, event.submitter];
  const part = button?.dataset.part && document.getElementById(button.dataset.part);
  if (!part) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form));
  body.set(button.name, button.value);
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    part.replaceChildren(...(page.getElementById(part.id) ?? page.querySelector("main .card") ?? page.body).childNodes);
  } catch (error) {
    part.textContent = error.message;
  }
  button.disabled = false;
});

// What runs beside this page, a model that is pulled or questions that are asked: how far it is, until one has ended.
const running = [...document.querySelectorAll("[data-pull]")];
if (running.some((row) => /^(running|stopping)$/.test(row.dataset.state))) {
  const { words: said, scale, ended } = running[0].parentElement.dataset;
  const words = JSON.parse(said);
  const shown = (number) => Math.round(number / scale).toLocaleString(language);
  const written = () => [...document.querySelectorAll("input:not([type=hidden], [type=checkbox]), textarea")].some((field) => field.value !== field.defaultValue);

  const look = async () => {
    const found = await fetch("?as=json&only=runs").then((response) => response.json()).catch(() => null); // the server is starting anew
    for (const row of found ? running : []) {
      const now = (found.pulls ?? found.runs).find((one) => one.name === row.dataset.pull);
      const [facts, bar] = [row.querySelector("[data-facts]"), row.querySelector("progress")];
      if (now?.state !== row.dataset.state) {
        const there = new URL(location.href);
        const whole = !now && (found.models?.some((one) => one.name === row.dataset.pull) ?? true);
        whole ? there.searchParams.set("told", ended) : there.searchParams.delete("told");
        if (!written()) return location.replace(there);
        facts.textContent = words.changed;
      } else if (bar && now.size) {
        [bar.max, bar.value] = [now.size, now.done];
        facts.textContent = words.of.replace("{done}", shown(now.done)).replace("{size}", shown(now.size));
      } else if (now.done) {
        facts.textContent = words.some.replace("{done}", shown(now.done));
      }
    }
    setTimeout(look, 800);
  };
  setTimeout(look, 800);
}

// One question to several models, each answer as it comes.
const trying = document.querySelector("form[data-try]");
if (trying) {
  const answers = document.querySelector("[data-answers]");
  trying.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = new FormData(trying);
    answers.replaceChildren();
    for (const model of asked.getAll("model")) ask(model, asked.get("question"));
  });

  async function ask(model, question) {
    const box = answers.appendChild(document.createElement("article"));
    const [head, said, facts] = ["h3", "div", "p"].map((tag) => box.appendChild(document.createElement(tag)));
    [head.textContent, said.dir, facts.className] = [model, "auto", "soft"];
    const began = performance.now();
    const body = JSON.stringify({ model, stream: true, messages: [{ role: "user", content: question }] });
    try {
      const response = await fetch("/v1/chat/completions", { method: "POST", headers: { "content-type": "application/json" }, body });
      if (!response.ok) throw new Error((await response.json()).error.message);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let waiting = "", first = 0;
      for (let part; !(part = await reader.read()).done;) {
        waiting += part.value;
        const events = waiting.split("\n\n");
        waiting = events.pop();
        for (const text of events.map((one) => one.replace(/^data: /, "")).filter((one) => one !== "[DONE]")) {
          const piece = JSON.parse(text);
          if (piece.error) throw new Error(piece.error.message);
          const words = piece.choices?.[0]?.delta?.content;
          if (words) {
            first ||= performance.now() - began;
            said.append(words);
          }
        }
      }
      facts.textContent = `${Math.round(first)} / ${Math.round(performance.now() - began)} ms`;
    } catch (error) {
      facts.textContent = error.message;
      facts.className = "problem";
    }
  }
}

// What a key stands for, where nobody is writing.
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const button = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (button) {
    event.preventDefault();
    button.click();
  }
});

// What is going on is looked at again, until it is over; then the page is loaded anew.
const live = document.querySelectorAll("[data-live]");
if (live.length) {
  const again = async () => {
    try {
      const response = await fetch(location.href);
      if (response.ok) {
        const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
        for (const old of document.querySelectorAll("[data-live]")) {
          const now = fresh.getElementById(old.id);
          if (!now) return location.replace(location.pathname); // without what was told of its beginning
          old.replaceWith(document.adoptNode(now));
        }
      }
    } catch {} // the server may be away for a moment
    setTimeout(again, 1500);
  };
  setTimeout(again, 1500);
}
