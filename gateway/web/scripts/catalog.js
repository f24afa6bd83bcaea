// The catalogue in the form that begins a conversion: names to choose from, and what is to be known of a chosen one.

import { get } from "./api.js";
import { element, make } from "./elements.js";
import { LANGUAGE_NAMES } from "./examples.js";

const languages = (entry) => entry.languages.map((language) => LANGUAGE_NAMES[language] ?? language).join(", ");

// Sentences about an entry, the ones that an admin has to act on last.
function facts(entry) {
  return [
    `${entry.source_model}, speaks ${languages(entry)}.`,
    entry.chat === false ? "A base model: it continues a text and was not trained to chat." : null,
    entry.gated ? "Its makers have to allow the download: the converter needs a hub token that was granted it." : null,
    entry.trust_remote_code ? "It brings code of its own, which the converter runs." : null,
  ].filter(Boolean);
}

function label(entry) {
  const marks = [entry.chat === false ? "base model" : null, entry.gated ? "gated" : null].filter(Boolean);
  return [`${entry.source_model} (${entry.languages.join(", ")})`, ...marks].join(" · ");
}

export class CatalogHints {
  #entries = [];

  constructor() {
    this.field = element("source");
    this.note = element("source-note");
    this.field.addEventListener("input", () => this.show());
  }

  async load() {
    this.#entries = (await get("/api/v1/catalog")).data;
    element("catalog").replaceChildren(...this.#entries.map((entry) => make("option", { value: entry.id, label: label(entry) })));
    this.show();
  }

  show() {
    const wanted = this.field.value.trim().toLowerCase();
    const entry = this.#entries.find(
      ({ id, aliases, source_model }) => id === wanted || aliases.includes(wanted) || source_model.toLowerCase() === wanted,
    );
    this.note.textContent = entry
      ? facts(entry).join(" ")
      : `${this.#entries.length} models are known by name; any other one of the hub may work too.`;
  }
}
