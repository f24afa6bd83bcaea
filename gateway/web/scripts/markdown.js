// Shows Markdown that grows: rendered and sanitized by the gateway, the only text here that becomes markup.

import { post } from "./api.js";
import { copyText, flash, make } from "./elements.js";

const PAUSE_MS = 300;
const RETRY_MS = 1000;
const KEPT = 200;
const rendered = new Map(); // texts of late, so that going back to a chat does not render it anew

async function render(text) {
  const known = rendered.get(text);
  if (known !== undefined) return known;
  const { html } = await post("/api/v1/markdown", { text });
  return html;
}

function keep(text, html) {
  rendered.set(text, html);
  if (rendered.size > KEPT) rendered.delete(rendered.keys().next().value);
}

function decorate(fragment) {
  for (const block of fragment.querySelectorAll("pre")) {
    const code = block.querySelector("code");
    const language = code?.className.match(/^language-(.+)$/)?.[1] ?? "";
    const frame = make("div", { class: "code" });
    block.replaceWith(frame);
    block.tabIndex = 0;
    frame.append(
      make(
        "div",
        { class: "code-head" },
        make("span", { text: language || "code" }),
        make("button", { type: "button", class: "quiet copy-code", text: "Copy code" }),
      ),
      block,
    );
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = make("div", { class: "scroll" });
    table.replaceWith(frame);
    frame.append(table);
  }
}

// Replaces only the blocks that changed, so that a selection further up survives the next word.
function show(target, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  decorate(template.content);
  const wanted = [...template.content.childNodes];
  const present = [...target.childNodes];
  wanted.forEach((node, place) => {
    if (present[place] === undefined) target.append(node);
    else if (!present[place].isEqualNode(node)) present[place].replaceWith(node);
  });
  for (const surplus of present.slice(wanted.length)) surplus.remove();
}

export class MarkdownView {
  #text = "";
  #shown = null;
  #busy = false;
  #timer = 0;
  #last = 0;

  constructor(target, onChange = () => {}) {
    this.target = target;
    this.onChange = onChange;
    target.addEventListener("click", async (event) => {
      const button = event.target.closest(".copy-code");
      if (button) flash(button, (await copyText(button.closest(".code").querySelector("pre").textContent)) ? "Copied" : "Failed");
    });
  }

  // Shows a text, at once as long as nothing is rendered yet, then at most every 300 ms.
  setText(text, final = false) {
    if (text === this.#text && !final) return;
    this.#text = text;
    this.final = final;
    if (text !== this.#shown) this.target.setAttribute("aria-busy", "true");
    if (this.#shown === null && text) {
      this.target.classList.add("plain");
      this.#shown = "";
    }
    if (this.target.classList.contains("plain")) this.target.textContent = text;
    if (final) {
      clearTimeout(this.#timer);
      this.#timer = 0;
    }
    this.#schedule(final ? 0 : Math.max(0, this.#last + PAUSE_MS - Date.now()));
  }

  #schedule(pause) {
    if (this.#busy || this.#timer) return;
    this.#timer = setTimeout(() => this.#step(), pause);
  }

  async #step() {
    this.#timer = 0;
    const text = this.#text;
    if (text === this.#shown) {
      this.target.removeAttribute("aria-busy");
      return;
    }
    this.#busy = true;
    this.#last = Date.now();
    let failed = false;
    try {
      const html = await render(text);
      this.#shown = text;
      if (this.final && text === this.#text) keep(text, html);
      this.target.classList.remove("plain");
      show(this.target, html);
      this.onChange();
    } catch (error) {
      // Nothing is lost while the gateway is away: the words stand there as they came.
      failed = error.status === 0 || error.status >= 429;
      this.#shown = "";
      this.target.classList.add("plain");
      this.target.textContent = this.#text;
      this.onChange();
    }
    this.#busy = false;
    if (this.#shown === this.#text) this.target.removeAttribute("aria-busy");
    if (failed) this.#schedule(RETRY_MS);
    else if (this.#text !== text) this.#schedule(PAUSE_MS);
  }
}
