// Puts a chat on a page: <script src="https://penstock.example/widget.js" data-widget="shop" defer></script>
// The conversation stands in a frame of that server, where nothing else can read it.
(() => {
  const script = document.currentScript;
  if (!script?.dataset.widget || window.penstock?.ask) return;
  const { widget, theme = "", button: shown } = script.dataset;
  const { origin } = new URL(script.src);
  const address = `${origin}/widget/${widget}`;
  const page = document.documentElement;
  const language = page.lang || navigator.language;
  const narrow = matchMedia("(max-width: 480px), (max-height: 480px)");
  const waiting = [];
  let root, button, dialog, leave, frame, ready, from;

  const style = ({ accent, ink, position }) => `
    :host { all: initial !important; position: fixed !important; z-index: 2147483647 !important; inset-block-end: 20px !important;
      inset-inline-${position}: 20px !important; }
    button { display: grid; place-items: center; width: 56px; height: 56px; padding: 0; border: 2px solid #fff; border-radius: 50%;
      background: ${accent}; color: ${ink}; box-shadow: 0 2px 10px #0006; cursor: pointer; }
    button:focus-visible { outline: 3px solid #000; outline-offset: 2px; box-shadow: 0 0 0 8px #fff; }
    [hidden] { display: none; }
    svg { width: 28px; fill: none; stroke: currentcolor; stroke-width: 2; }
    dialog { inset: auto; inset-block-end: 68px; inset-inline-${position}: 0; width: min(400px, 100vw - 40px);
      height: min(640px, 100vh - 108px); margin: 0; padding: 0; border: 1px solid #8888; border-radius: 14px; overflow: hidden;
      box-shadow: 0 8px 30px #0005; }
    dialog:modal { inset: 0; width: 100vw; height: 100dvh; max-width: none; max-height: none; border: 0; border-radius: 0; }
    dialog button { position: absolute; inset-block-start: 6px; inset-inline-end: 6px; }
    iframe { display: block; width: 100%; height: 100%; border: 0; }
    @media print { :host { display: none !important; } }`;
  function icon(d) { // by hand: a site may forbid to make markup of text
    const made = document.createElement("button");
    const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
    svg.setAttribute("viewBox", "0 0 24 24");
    path.setAttribute("d", d);
    svg.append(path);
    made.append(svg);
    return made;
  }

  function build({ default: look }) {
    const host = document.createElement("penstock-widget");
    root = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet(); // which no site's policy on styles forbids
    sheet.replaceSync(style(look));
    root.adoptedStyleSheets = [sheet];
    button = icon("M4 5h16v11H11l-5 4v-4H4z");
    dialog = document.createElement("dialog");
    leave = icon("M5 5l14 14M19 5L5 19"); // until the frame is there
    dialog.append(leave);
    root.append(button, dialog);
    for (const node of [button, dialog]) node.setAttribute("aria-label", look.title);
    leave.setAttribute("aria-label", look.close);
    button.setAttribute("aria-haspopup", "dialog");
    button.setAttribute("aria-expanded", false);
    button.title = look.title;
    button.hidden = shown === "off";
    button.onclick = () => {
      button.focus(); // Safari does not
      dialog.open ? close() : open();
    };
    leave.onclick = close;
    host.onkeydown = ({ key }) => { if (key === "Escape") close(); };
    dialog.onclose = () => {
      if (dialog.open) return;
      from.focus();
      tell("close");
    };
    narrow.onchange = () => { if (dialog.open) { dialog.close(); show(); } };
    page.append(host);
  }

  function show() {
    if (!ready) {
      frame?.remove();
      frame = document.createElement("iframe");
      frame.title = button.title;
      frame.src = `${address}#${new URLSearchParams({ at: location.origin, language, theme })}`;
      dialog.append(frame);
    }
    narrow.matches ? dialog.showModal() : dialog.show();
    frame.focus();
  }

  const tell = (what, detail) => {
    button.setAttribute("aria-expanded", dialog.open);
    window.dispatchEvent(new CustomEvent(`penstock:${what}`, { detail }));
  };
  const send = (message) => (ready ? frame.contentWindow.postMessage(message, origin) : waiting.push(message));
  const built = import(`${address}/look.js?language=${encodeURIComponent(language)}`).then(build);

  async function open() {
    await built;
    if (dialog.open) return;
    from = root.activeElement ?? document.activeElement;
    show();
    send({ penstock: "open" });
    tell("open");
  }

  async function close() {
    await built;
    dialog.close();
  }

  async function ask(text) {
    await open();
    send({ penstock: "ask", text: String(text) });
  }

  addEventListener("message", ({ origin: by, source, data }) => {
    if (by !== origin || !frame || source !== frame.contentWindow) return;
    if (data?.penstock === "ready") {
      ready = leave.hidden = true;
      waiting.splice(0).forEach(send);
    } else if (data?.penstock === "close") close();
    else if (data?.penstock === "answer") tell("answer", { status: data.status });
  });

  window.penstock = { open, close, ask };
  built.catch(() => console.warn(`${origin} does not answer, or not to ${location.origin}`));
})();
