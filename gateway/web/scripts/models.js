// The model and variant pickers: published models, grouped by the languages that they speak.

import { get } from "./api.js";
import { make } from "./elements.js";
import { LANGUAGE_NAMES } from "./examples.js";

const OTHER = "other";

function variantLabel(variant) {
  const parts = [variant.variant];
  if (variant.weights_bytes >= 1e5) parts.push(megabytes(variant.weights_bytes));
  if (variant.compression_rate > 1) parts.push(`${variant.compression_rate.toFixed(1)}× smaller`);
  return parts.join(" · ");
}

export function megabytes(bytes) {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : bytes >= 1e6 || !bytes ? `${Math.round(bytes / 1e6)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}

export class ModelPicker {
  #models = [];

  constructor(modelField, variantField, onChange) {
    this.modelField = modelField;
    this.variantField = variantField;
    modelField.addEventListener("change", () => {
      this.#fillVariants("");
      onChange();
    });
    variantField.addEventListener("change", onChange);
  }

  get isEmpty() {
    return this.#models.length === 0;
  }

  // What the protocol calls the chosen one: `model` for its default variant, else `model:variant`.
  get name() {
    const model = this.modelField.value;
    return model && this.variantField.value ? `${model}:${this.variantField.value}` : model;
  }

  // The language under which the model was picked.
  get language() {
    return this.modelField.selectedOptions[0]?.dataset.language ?? "en";
  }

  async load() {
    const { data } = await get("/api/v1/models");
    this.#models = data;
    const [model, variant] = [this.modelField.value, this.variantField.value];
    const groups = new Map([...Object.keys(LANGUAGE_NAMES), OTHER].map((language) => [language, []]));
    for (const found of data) {
      const known = found.languages.filter((language) => groups.has(language));
      for (const language of known.length ? known : [OTHER]) groups.get(language).push(found.model);
    }
    this.modelField.replaceChildren(
      ...[...groups]
        .filter(([, names]) => names.length)
        .map(([language, names]) =>
          make(
            "optgroup",
            { label: LANGUAGE_NAMES[language] ?? "Other models" },
            ...names.map((name) => make("option", { value: name, text: name, "data-language": language })),
          ),
        ),
    );
    if (model) this.select(variant ? `${model}:${variant}` : model);
    else this.#fillVariants("");
  }

  // Chooses a model or model:variant that a chat was held with; what is no longer published changes nothing.
  select(name) {
    if (!name) return;
    const at = name.lastIndexOf(":");
    const found = this.#models.find((one) => one.model === name) ?? this.#models.find((one) => one.model === name.slice(0, at));
    if (!found) return;
    if (this.modelField.value !== found.model) this.modelField.value = found.model;
    this.#fillVariants(found.model === name ? "" : name.slice(at + 1));
  }

  enable(enabled) {
    this.modelField.disabled = !enabled || this.isEmpty;
    this.variantField.disabled = !enabled || this.isEmpty;
  }

  #fillVariants(chosen) {
    const model = this.#models.find((one) => one.model === this.modelField.value);
    const options = (model?.variants ?? []).map((one) => make("option", { value: one.variant, text: variantLabel(one) }));
    if (model?.default_variant) options.unshift(make("option", { value: "", text: `default (${model.default_variant})` }));
    this.variantField.replaceChildren(...options);
    if ([...this.variantField.options].some((option) => option.value === chosen)) this.variantField.value = chosen;
  }
}
