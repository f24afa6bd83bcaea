// Conversions: a form to begin one, and a list whose running jobs tell their progress as it happens.

import { events, get, post, request } from "./api.js";
import { CatalogHints } from "./catalog.js";
import { element, make } from "./elements.js";
import { FieldProblems } from "./field-problems.js";
import { megabytes } from "./models.js";
import { RecipeForm } from "./recipe-form.js";

const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const SHOWN = 20;
const RETRY_MS = 2000;
const LOG_LINES = 300;

// Peak of the memory, most of the disk, time of the stages' work.
const figuresText = ({ memory_bytes: memory, disk_bytes: disk, seconds }) =>
  [`${megabytes(memory)} of memory`, disk == null ? "" : `${megabytes(disk)} of disk`, `${Math.round(seconds)} s`]
    .filter(Boolean).join(", ");

function titleOf({ model, kind, variant, variants }) {
  // Which variant an import is, is known once it has been looked at.
  const names = variants.map(({ name }) => name).join(", ") || variant || "as it is";
  return kind === "import" ? `${model}: ${names} (import)` : `${model}: ${names}`;
}

class JobView {
  #lines = [];

  constructor(job) {
    this.job = job;
    const name = `${job.plan.model}`;
    this.state = make("span", { class: "state" });
    this.progress = make("progress", { max: 1, "aria-label": `Progress of ${name}` });
    this.detail = make("p", { class: "hint" });
    this.who = make("p", { class: "hint" });
    this.figures = make("p", { class: "hint" });
    this.log = make("details", { hidden: true }, make("summary", { text: "What the stages printed" }), make("pre", { class: "log", tabindex: 0 }));
    this.problem = make("p", { class: "wrong" });
    this.cancel = make("button", { type: "button", class: "small", text: "Cancel", "aria-label": `Cancel the conversion of ${name}` });
    this.cancel.addEventListener("click", async () => {
      this.cancel.disabled = true;
      try {
        this.show(await request("DELETE", `/api/v1/conversions/${encodeURIComponent(job.conversion_id)}`));
      } catch (error) {
        this.problem.textContent = error.message;
        this.cancel.disabled = false;
      }
    });
    this.node = make(
      "li",
      { class: "job", "data-conversion": job.conversion_id },
      make(
        "div",
        { class: "row" },
        this.state,
        make("strong", { class: "grow", text: titleOf(job.plan) }),
        this.cancel,
      ),
      this.progress,
      this.detail,
      this.who,
      this.figures,
      this.problem,
      this.log,
    );
    this.show(job);
  }

  get ended() {
    return ENDED.has(this.job.state);
  }

  // Takes a job or an event of one.
  show(news) {
    const { job } = this;
    if (news.log?.length) {
      this.#print(news);
      return;
    }
    job.state = news.state;
    job.progress = news.progress ?? job.progress;
    job.stage = news.stage ?? job.stage;
    job.waiting = "waiting" in news ? news.waiting : news.stage ? null : job.waiting;
    job.error = news.error ?? job.error;
    job.results = news.results ?? job.results;
    job.predicted = news.predicted ?? job.predicted;
    job.measured = news.measured ?? job.measured;
    this.state.textContent = job.state;
    this.state.className = `state ${job.state}`;
    this.progress.hidden = this.ended;
    this.progress.value = job.progress;
    this.cancel.hidden = this.ended;
    const share = news.stage_progress == null ? "" : ` ${Math.round(news.stage_progress * 100)} %`;
    const results = (job.results ?? []).map(
      (result) => `${result.name} ${megabytes(result.weights_bytes)}` +
        (result.compression_rate ? ` (${result.compression_rate.toFixed(2)}× smaller)` : ""),
    );
    this.detail.textContent = this.ended
      ? [job.plan.source_model, ...results].join(" · ")
      : [job.plan.source_model, job.stage ? `${job.stage}${news.variant ? ` ${news.variant}` : ""}${share}` : "waiting"]
          .concat(`${Math.round(job.progress * 100)} % in all`, news.message ?? job.waiting ?? []).join(" · ");
    this.problem.textContent = job.error?.message ?? "";
    this.figures.textContent = [["Foretold", job.predicted], ["measured", job.measured]]
      .filter(([, figures]) => figures)
      .map(([word, figures]) => `${word} ${figuresText(figures)}`)
      .join("; ");
    this.who.textContent = [job.user ? `by ${job.user}` : "", new Date(job.created_ms).toLocaleString()].filter(Boolean).join(", ");
  }

  // Lines that a stage printed; the last of them are kept, and they are read out to nobody.
  #print({ stage, variant, log }) {
    const where = [stage, variant].filter(Boolean).join(" ");
    this.#lines = [...this.#lines, ...log.map((line) => `${where} | ${line}`)].slice(-LOG_LINES);
    this.log.querySelector("pre").textContent = this.#lines.join("\n");
    this.log.hidden = false;
  }
}

export class Conversions {
  #abort = null;
  #views = new Map();

  // onPublished(): called when a conversion has ended well.
  constructor(onPublished) {
    this.onPublished = onPublished;
    this.catalog = new CatalogHints();
    this.list = element("conversions");
    const form = element("convert-form");
    this.recipe = new RecipeForm(form);
    this.problems = new FieldProblems({
      source_model: "source", name: "public-name", variants: "wanted-variants", ...RecipeForm.fields,
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit(form);
    });
    const asItIs = (wanted) => {
      for (const id of ["wanted-variants", "recipe"]) element(id).disabled = wanted;
    };
    form.addEventListener("reset", () => asItIs(false));
    element("ready-made").addEventListener("change", ({ target }) => asItIs(target.checked));
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
  }

  async #submit(form) {
    const problem = element("convert-problem");
    const button = form.querySelector("[type=submit]");
    problem.textContent = "";
    this.problems.clear();
    button.disabled = true;
    try {
      this.#add(await this.#asked(form), this.#abort.signal);
      form.reset();
      this.catalog.show();
    } catch (error) {
      if (!this.problems.show(error)) problem.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  async #asked(form) {
    const name = element("public-name").value.trim();
    const source = { source_model: element("source").value.trim(), ...(name ? { name } : {}) };
    if (element("ready-made").checked) return post("/api/v1/imports", source);
    const formats = [...form.querySelectorAll("[name=variant]:checked")].map((box) => box.value);
    if (!formats.length) throw Object.assign(new Error("Choose at least one variant."), { param: "variants" });
    const variants = this.recipe.variants(formats);
    return post("/api/v1/conversions", { ...source, variants, trust_remote_code: element("remote-code").checked });
  }
}
