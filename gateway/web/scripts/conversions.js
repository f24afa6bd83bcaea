// Conversions: a form to begin one, and a list whose running jobs tell their progress as it happens.

import { events, get, post } from "./api.js";
import { CatalogHints } from "./catalog.js";
import { element, make } from "./elements.js";
import { FieldProblems } from "./field-problems.js";
import { JobView } from "./job-view.js";
import { RecipeForm } from "./recipe-form.js";
import { said } from "./wording.js";

const SHOWN = 20;
const RETRY_MS = 2000;
const LOOK_MS = 4000;

export class Conversions {
  #abort = null;
  #views = new Map();
  #asked = null; // the id of the job that the form, as it stands, has begun
  #trusted = false; // whether the code of the model that was sent is trusted

  // onPublished(): called when a conversion has ended well.
  constructor(onPublished) {
    this.onPublished = onPublished;
    this.catalog = new CatalogHints();
    this.list = element("conversions");
    this.form = element("convert-form");
    this.told = element("convert-told");
    this.problem = element("convert-problem");
    this.recipe = new RecipeForm(this.form);
    this.problems = new FieldProblems({
      source_model: "source", name: "public-name", variants: "wanted-variants", ...RecipeForm.fields,
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.form.addEventListener("input", ({ target }) => this.#changed(target));
    element("ready-made").addEventListener("change", () => this.#showKind());
    this.#showKind();
    addEventListener("pagehide", () => this.#pause());
  }

  // A page that the browser keeps for the way back would keep its streams, too, and there are but six for all pages.
  #pause() {
    if (this.#abort === null || this.#abort.signal.aborted) return;
    this.stop();
    addEventListener("pageshow", () => this.start(), { once: true });
  }

  get #isImport() {
    return element("ready-made").checked;
  }

  // Of ready-made IR nothing is made that one could choose.
  #showKind() {
    for (const one of this.form.querySelectorAll("[data-of]")) one.hidden = (one.dataset.of === "import") !== this.#isImport;
    this.form.querySelector("[type=submit]").textContent = this.#isImport ? "Import" : "Convert";
  }

  // What was said of the fields is of other ones now, and trust is in one model.
  #changed(field) {
    this.#clear();
    if (field.id !== "source" || !this.#trusted) return;
    element("remote-code").checked = this.#trusted = false;
  }

  #clear() {
    this.#asked = null;
    this.problems.clear();
    this.problem.textContent = this.told.textContent = "";
  }

  async start() {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    try {
      const [jobs] = await Promise.all([get(`/api/v1/conversions?limit=${SHOWN}`), this.catalog.load()]);
      if (signal.aborted) return;
      this.#views.clear();
      this.list.replaceChildren();
      for (const job of jobs.data.reverse()) this.#add(job, signal);
      if (!jobs.data.length) this.list.append(make("li", { class: "empty", text: "None yet." }));
      this.#look(signal);
    } catch (error) {
      this.list.replaceChildren(make("li", { class: "wrong", text: error.message }));
    }
  }

  stop() {
    this.#abort?.abort();
  }

  #add(job, signal) {
    const known = this.#views.get(job.conversion_id);
    if (known) {
      known.show(job);
      return;
    }
    this.list.querySelector(":scope > .empty, :scope > .wrong")?.remove();
    const view = new JobView(job);
    this.#views.set(job.conversion_id, view);
    this.list.prepend(view.node);
    if (!view.ended) this.#follow(view, signal);
  }

  // Looks at the jobs for what no event tells.
  async #look(signal) {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      if (signal.aborted) return;
      if ([...this.#views.values()].every(({ ended }) => ended)) continue;
      const jobs = await get(`/api/v1/conversions?limit=${SHOWN}`).catch(() => ({ data: [] }));
      for (const { conversion_id, waiting } of jobs.data) this.#views.get(conversion_id)?.tellWaiting(waiting);
    }
  }

  async #follow(view, signal) {
    const path = `/api/v1/conversions/${encodeURIComponent(view.job.conversion_id)}`;
    let lastId = null;
    while (!view.ended && !signal.aborted) {
      try {
        for await (const { id, data } of events(`${path}/events`, lastId, signal)) {
          lastId = id ?? lastId;
          view.show(data);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 404) break;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    // The job itself has what its events do not tell: the sizes.
    if (signal.aborted) return;
    await get(path).then((job) => view.show(job), () => {});
    if (view.job.state === "succeeded") this.onPublished();
    if (view.job.error && view.job.conversion_id === this.#asked) this.#refuse(view.job.error, false);
  }

  // The fields stay as they are: the job may fail for one of them, and the next one may differ in one alone.
  async #submit() {
    const button = this.form.querySelector("[type=submit]");
    this.#clear();
    button.disabled = true;
    try {
      const job = await this.#send();
      this.#asked = job.conversion_id;
      this.#trusted = element("remote-code").checked;
      this.told.textContent = job.joined ? "That is being done already: see Conversions." : "Begun: see Conversions.";
      this.#add(job, this.#abort.signal);
    } catch (error) {
      this.#refuse(error);
    } finally {
      button.disabled = false;
    }
  }

  // Says what is wrong at the field that can mend it, and goes there, but for what is told some time after the press.
  #refuse(error, mayMove = true) {
    this.#clear();
    const refusal = { param: this.#fieldOf(error), message: said(error) };
    if (!this.problems.show(refusal, mayMove)) this.problem.textContent = refusal.message;
  }

  #fieldOf({ code, message, param }) {
    // A name that was left open comes from the model.
    if (param === "name" && code !== "name_taken" && !element("public-name").value.trim()) return "source_model";
    if (param !== "variants") return param;
    if (this.#isImport) return "variant";
    const named = this.recipe.named(this.#formats);
    const isOfName = message.includes("have the same name") || (code === "variant_exists" && message.includes(`:${named} `));
    return isOfName ? "variant" : param;
  }

  get #formats() {
    return [...this.form.querySelectorAll("[name=variant]:checked")].map((box) => box.value);
  }

  async #send() {
    const name = element("public-name").value.trim();
    const source = { source_model: element("source").value.trim(), ...(name ? { name } : {}) };
    if (this.#isImport) {
      const { variantName } = this.recipe;
      return post("/api/v1/imports", { ...source, ...(variantName ? { variant: variantName } : {}) });
    }
    const formats = this.#formats;
    if (!formats.length) throw Object.assign(new Error("Choose at least one variant."), { param: "variants" });
    const variants = this.recipe.variants(formats);
    return post("/api/v1/conversions", { ...source, variants, trust_remote_code: element("remote-code").checked });
  }
}
