// The system prompt and the sampling sliders of a chat.

import { element, make } from "./elements.js";

// Ranges and defaults of the platform's catalogue facts.
const SLIDERS = [
  {
    name: "temperature", label: "Temperature", min: 0, max: 1, step: 0.1, initial: 0.1,
    help: "How freely the next word is chosen. 0 always takes the likeliest; higher is more varied, and less sure.",
  },
  {
    name: "top_p", label: "Top-p", min: 0, max: 1, step: 0.01, initial: 1.0,
    help: "Only the likeliest words that together reach this share are considered. 1 considers all of them.",
  },
  {
    name: "top_k", label: "Top-k", min: 0, max: 200, step: 1, initial: 50,
    help: "Only this many of the likeliest words are considered. 0 turns the limit off.",
  },
  {
    name: "repetition_penalty", label: "Repetition penalty", min: 1, max: 2, step: 0.1, initial: 1.1,
    help: "How strongly words that were used already are avoided. 1 does not avoid them.",
  },
  {
    name: "max_new_tokens", label: "Longest answer", min: 16, max: 4096, step: 16, initial: 256,
    help: "An answer is cut after this many tokens; a token is a short word or a part of one.",
  },
];
// The protocol wants a top-p above 0; the lowest of the scale means as good as nothing but the likeliest word.
const LEAST_TOP_P = 0.01;
const PAUSE_MS = 500;

export class Settings {
  #fields = new Map();
  #timer = 0;

  // onChange(): called a moment after the last change by hand.
  constructor(onChange) {
    this.system = element("system");
    this.onChange = onChange;
    const changed = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.flush(), PAUSE_MS);
    };
    this.system.addEventListener("input", changed);
    for (const slider of SLIDERS) {
      const { name, label, min, max, step, initial, help } = slider;
      const field = make("input", {
        type: "range", id: `param-${name}`, min, max, step, value: initial, "aria-describedby": `help-${name}`,
      });
      const shown = make("output", { for: field.id });
      const show = () => (shown.textContent = String(Number(field.value)));
      field.addEventListener("input", () => (show(), changed()));
      this.#fields.set(name, { field, show, initial });
      element("sliders").append(
        make(
          "div",
          { class: "slider" },
          make("div", { class: "row" }, make("label", { for: field.id, class: "grow", text: label }), shown),
          field,
          make("p", { id: `help-${name}`, class: "hint", text: help }),
        ),
      );
      show();
    }
    element("reset-settings").addEventListener("click", () => (this.#fill(null), changed()));
  }

  get params() {
    const params = Object.fromEntries([...this.#fields].map(([name, { field }]) => [name, Number(field.value)]));
    return { ...this.others, ...params, top_p: Math.max(params.top_p, LEAST_TOP_P) };
  }

  // Tells a change that was not told yet, such as before another chat's settings are shown.
  flush() {
    if (!this.#timer) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.onChange();
  }

  // Shows a chat's own settings, or the defaults.
  set({ system, params }) {
    this.system.value = system ?? "";
    this.#fill(params ?? null);
  }

  #fill(params) {
    // A chat may have been given parameters that have no slider: they stay as they are.
    this.others = Object.fromEntries(Object.entries(params ?? {}).filter(([name]) => !this.#fields.has(name)));
    for (const [name, { field, show, initial }] of this.#fields) {
      field.value = params?.[name] ?? initial;
      show();
    }
  }
}
