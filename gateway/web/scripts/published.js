// The published models with their variants: what each weighs, what admins want of it, and its end.

import { get, request } from "./api.js";
import { compareVariants, qualityText } from "./comparison.js";
import { day } from "./dates.js";
import { confirmed, keepFocus } from "./dialogs.js";
import { element, make, renew } from "./elements.js";
import { fill } from "./form-dialog.js";
import { LANGUAGE_NAMES } from "./examples.js";
import { megabytes } from "./models.js";
import { Polled } from "./polled.js";
import { table } from "./table.js";

const PAUSE_MS = 3000;
const ENDING_PAUSE_MS = 700; // while a deletion is awaited
const HEADS = ["Model", "Variant", "Size", "Same token", "Recipe", ""];
const path = (record) => `/api/v1/models/${encodeURIComponent(record.model)}/${encodeURIComponent(record.variant)}`;
const under = (text) => make("span", { class: "hint under", text });
const keyOf = (record) => `${record.model}:${record.variant}`;

function recipeText({ sym, group_size, ratio, awq, scale_estimation, gptq, dataset, ignored_layers }) {
  const parts = [sym === null ? null : sym ? "symmetric" : "asymmetric"];
  if (group_size) parts.push(group_size > 0 ? `groups of ${group_size}` : "per channel");
  if (ratio !== null && ratio !== undefined) parts.push(`ratio ${ratio}`);
  const methods = [awq && "AWQ", scale_estimation && "scale estimation", gptq && "GPTQ"].filter(Boolean);
  parts.push(...methods, dataset && "with texts", ignored_layers && "some layers left");
  return parts.filter(Boolean).join(", ") || "–";
}

function tags(isDefault, isChosen, { replicas, pinned }) {
  const who = isChosen ? "An admin chose it" : "The platform chose it";
  const wishes = [
    replicas ? make("span", { class: "tag", text: `kept on ${replicas}`, title: "Workers that keep it loaded" }) : null,
    pinned ? make("span", { class: "tag", text: "pinned", title: "No worker ends it to make room" }) : null,
  ].filter(Boolean);
  return [
    isDefault ? make("span", { class: "tag", text: "default", title: `What the model's name alone stands for. ${who}.` }) : null,
    wishes.length ? make("span", { class: "wishes" }, ...wishes) : null,
  ].filter(Boolean);
}

export class Published extends Polled {
  #ending = new Set(); // variants whose deletion the converter was asked for
  #last = "";

  constructor(onRefused) {
    super(element("published-problem"));
    this.onRefused = onRefused;
  }

  get pauseMs() {
    return this.#ending.size ? ENDING_PAUSE_MS : PAUSE_MS;
  }

  async refresh() {
    try {
      const { data } = await get("/api/v1/models");
      const there = new Set(data.flatMap((model) => model.variants.map(keyOf)));
      this.#ending = new Set([...this.#ending].filter((key) => there.has(key)));
      // What has not changed is left alone, so that the focus stays where it is.
      const news = JSON.stringify([data, [...this.#ending]]);
      if (news !== this.#last && !document.querySelector("dialog[open]")) {
        this.#show(data);
        this.#last = news;
      }
    } catch (error) {
      this.problem.textContent = error.message;
      this.onRefused(error);
    }
  }

  #show(models) {
    const none = "Nothing is published yet. Convert a model below: smollm2-135m-instruct is small and needs no download.";
    renew(
      element("published"),
      models.length
        ? table("Published models", HEADS, models.flatMap((model) => this.#rows(model)))
        : make("p", { class: "empty", text: none }),
    );
  }

  #rows({ model, default_variant, chosen_variant, languages, variants, placements }) {
    const about = [languages.map((language) => LANGUAGE_NAMES[language] ?? language).join(", "), variants[0].source_model];
    return variants.map((record, place) => {
      const key = keyOf(record);
      // The eye needs a model's name once, a reader by ear in each row.
      const name = place
        ? make("span", { class: "away", text: model })
        : make("span", {}, make("strong", { text: model }), under(about.filter(Boolean).join(" · ")));
      const wish = placements[record.variant] ?? { replicas: 0, pinned: false };
      const isChosen = record.variant === chosen_variant;
      const manage = () => make("button", { type: "button", class: "small", text: "Manage", "aria-label": `Manage ${key}`, onclick: () => this.#manage(record, isChosen, wish) });
      const called = `Compare ${key} with other variants` + (record.quality ? `, same token as FP16: ${qualityText(record)}` : "");
      const compare = () => make("button", { type: "button", class: "small", text: qualityText(record), title: record.quality_problem, "aria-label": called, onclick: () => compareVariants(model, variants) });
      const remove = () => make("button", { type: "button", class: "danger small", text: "Delete", "aria-label": `Delete ${key}`, onclick: () => this.#remove(record) });
      return [
        name,
        make("span", {}, record.variant, ...tags(record.variant === default_variant, isChosen, wish), under(`made ${day(record.created_at)}`)),
        make("span", {}, megabytes(record.size_bytes), record.compression_rate ? under(`${record.compression_rate.toFixed(2)}× smaller`) : null),
        compare(),
        record.imported ? `${recipeText(record.recipe)} (imported)` : recipeText(record.recipe),
        this.#ending.has(key) ? make("span", { class: "state running", text: "deleting" }) : make("span", { class: "deeds" }, manage(), remove()),
      ];
    });
  }

  async #manage(record, isChosen, { replicas, pinned }) {
    const address = `/api/v1/models/${encodeURIComponent(record.model)}`;
    const saved = await fill({
      title: `Manage ${keyOf(record)}`,
      text: "What is wanted of it, whether anybody asks for it or not.",
      fields: [
        { name: "chosen", type: "checkbox", value: isChosen, label: `Always the default of ${record.model}`, hint: "What the model's name alone stands for. Where none is chosen, the platform takes int8, else int4, else fp16." },
        { name: "replicas", type: "number", value: replicas, required: true, min: 0, max: 1000, step: 1, label: "Workers that keep it loaded", hint: "With 0 it is loaded when it is asked for." },
        { name: "pinned", type: "checkbox", value: pinned, label: "Pinned", hint: "Once loaded, no worker ends it to make room or because nobody uses it." },
      ],
      deed: "Save",
      save: async (wish) => {
        if (wish.chosen !== isChosen) await request("PUT", `${address}/default`, { variant: wish.chosen ? record.variant : null });
        if (wish.replicas !== replicas || wish.pinned !== pinned) {
          await request("PUT", `${path(record)}/placement`, { replicas: wish.replicas, pinned: wish.pinned });
        }
      },
    });
    if (saved) await this.read();
  }

  async #remove(record) {
    const key = keyOf(record);
    const title = `Delete ${key}?`;
    const text = "Its files are taken out of the model store. Chats that were held with it stay; to have it again, convert it again.";
    if (!(await confirmed({ title, text, deed: "Delete" }))) return;
    this.problem.textContent = "";
    try {
      await request("DELETE", path(record));
    } catch (error) {
      if (error.status !== 409) return this.#tell(error);
      const where = error.message.replace(/ Add \?force.*$/, "");
      const loaded = `${where} Answers that are being written go on; new questions to it are refused.`;
      if (!(await confirmed({ title: `Delete ${key} although it is in use?`, text: loaded, deed: "Delete anyway" }))) return;
      try {
        await request("DELETE", `${path(record)}?force=true`);
      } catch (problem) {
        return this.#tell(problem);
      }
    }
    this.#ending.add(key);
    await this.read();
    keepFocus("published-title");
  }

  #tell(error) {
    this.problem.textContent = error.message;
  }
}
