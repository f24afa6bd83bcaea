// How weights are compressed, in the form that begins a conversion: closed at first, and what is left alone is not sent.

import { element } from "./elements.js";

const MOST_TEXTS = 1024;
const LONGEST_TEXT = 20_000;
const FIELDS = ["method", "dataset", "texts", "group-size", "ratio", "backup-precision", "sym"];
const WITHOUT_TEXTS = {
  awq: "Without texts AWQ goes by the weights alone.",
  scale_estimation: "Without texts of your own it takes WikiText-2 from the hub.",
  gptq: "Without texts of your own it takes WikiText-2 from the hub.",
};

const number = (text) => (text === "" ? null : Number(text));

// A text for each paragraph.
const paragraphs = (text) =>
  text.split(/\n\s*\n/).map((part) => part.trim().slice(0, LONGEST_TEXT)).filter(Boolean).slice(0, MOST_TEXTS);

export class RecipeForm {
  // The fields of the page by the names that the interface has for what they say.
  static fields = {
    variant: "variant-name",
    "variants.name": "variant-name",
    group_size: "recipe-group-size",
    ratio: "recipe-ratio",
    backup_precision: "recipe-backup-precision",
    sym: "recipe-sym",
    dataset: "recipe-dataset",
    texts: "recipe-texts",
    awq: "recipe-method",
    scale_estimation: "recipe-method",
    gptq: "recipe-method",
  };

  constructor(form) {
    this.form = form;
    this.field = Object.fromEntries(FIELDS.map((name) => [name, element(`recipe-${name}`)]));
    form.addEventListener("change", () => this.#show());
  }

  get variantName() {
    return element("variant-name").value.trim();
  }

  // What the first of the wanted variants is called.
  named([format]) {
    // The tutorial's name for it, beside the plain int4 of the same model.
    return this.variantName || (format === "int4" && this.field.method.value === "awq" ? "int4-awq" : format);
  }

  // The variants of a request from the weight formats that are wanted. Throws what is wrong with the fields.
  variants(formats) {
    return formats.map((format, place) => {
      const recipe = Object.fromEntries(Object.entries(this.#recipe(format)).filter(([, value]) => value !== null));
      const name = place ? format : this.named(formats);
      return name === format && !Object.keys(recipe).length ? format : { name, weight_format: format, recipe };
    });
  }

  #recipe(format) {
    if (format === "fp16") return {};
    const value = (name) => this.field[name].value || null;
    const sym = value("sym") && value("sym") === "symmetric";
    if (format === "int8") return { sym };
    return {
      sym,
      group_size: number(this.field["group-size"].value),
      ratio: number(this.field.ratio.value),
      backup_precision: value("backup-precision"),
      dataset: this.#dataset(),
      ...(value("method") ? { [value("method")]: true } : {}),
    };
  }

  #dataset() {
    const { dataset, texts } = this.field;
    if (dataset.value !== "own") return dataset.value || null;
    const given = paragraphs(texts.value);
    if (!given.length) throw Object.assign(new Error("Write the texts here, or take another set."), { param: "texts" });
    return given;
  }

  #show() {
    const wanted = (format) => this.form.querySelector(`[name=variant][value=${format}]`).checked;
    const { dataset, method, sym, texts } = this.field;
    for (const name of FIELDS) this.field[name].disabled = !wanted("int4");
    sym.disabled = !wanted("int4") && !wanted("int8");
    texts.closest(".field").hidden = dataset.value !== "own";
    element("recipe-note").textContent = dataset.value === "" ? (WITHOUT_TEXTS[method.value] ?? "") : "";
  }
}
