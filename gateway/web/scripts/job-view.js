// One conversion in the list: how far it is, what it waits for, what it printed, and how it ended.

import { request } from "./api.js";
import { moment } from "./dates.js";
import { make } from "./elements.js";
import { megabytes } from "./models.js";
import { said } from "./wording.js";

const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const LOG_LINES = 300;
const NEAR_PX = 8;

// Peak of the memory, most of the disk, time of the stages' work.
const figuresText = ({ memory_bytes: memory, disk_bytes: disk, seconds }) =>
  [`${megabytes(memory)} of memory`, disk == null ? "" : `${megabytes(disk)} of disk`, `${Math.round(seconds)} s`]
    .filter(Boolean).join(", ");

function titleOf({ model, kind, variant, variants }) {
  // Which variant an import is, is known once it has been looked at.
  const names = variants.map(({ name }) => name).join(", ") || variant || "as it is";
  return kind === "import" ? `${model}: ${names} (import)` : `${model}: ${names}`;
}

export class JobView {
  #lines = [];
  #news;

  constructor(job) {
    this.job = job;
    const name = `${job.plan.model}`;
    this.state = make("span", { class: "state" });
    this.progress = make("progress", { max: 1, "aria-label": `Progress of ${name}` });
    this.detail = make("p", { class: "hint" });
    this.who = make("p", { class: "hint" });
    this.figures = make("p", { class: "hint" });
    this.log = make("details", { hidden: true }, make("summary", { text: "What the stages printed" }), make("pre", { class: "log", tabindex: 0 }));
    this.log.addEventListener("toggle", () => this.#toTheEnd());
    this.problem = make("p", { class: "wrong" });
    this.cancel = make("button", { type: "button", class: "small", text: "Cancel", "aria-label": `Cancel the conversion of ${name}` });
    this.cancel.addEventListener("click", async () => {
      this.cancel.disabled = true;
      try {
        this.show(await request("DELETE", `/api/v1/conversions/${encodeURIComponent(job.conversion_id)}`));
      } catch (error) {
        this.problem.textContent = said(error);
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
    this.#news = news;
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
    this.#tellDetail();
    this.problem.textContent = job.error ? said(job.error) : "";
    this.figures.textContent = [["Foretold", job.predicted], ["measured", job.measured]]
      .filter(([, figures]) => figures)
      .map(([word, figures]) => `${word} ${figuresText(figures)}`)
      .join("; ");
    this.who.textContent = [job.user ? `by ${job.user}` : "", moment(job.created_ms)].filter(Boolean).join(", ");
  }

  // What a look at the job tells, and no event does: that there is no converter left to send any.
  tellWaiting(reason) {
    if (this.ended) return;
    this.job.waiting = reason;
    this.#tellDetail();
  }

  #tellDetail() {
    const { job } = this;
    const { message, stage_progress: progress, variant } = this.#news;
    const share = progress == null ? "" : ` ${Math.round(progress * 100)} %`;
    const results = (job.results ?? []).map(
      (result) => `${result.name} ${megabytes(result.weights_bytes)}` +
        (result.compression_rate ? ` (${result.compression_rate.toFixed(2)}× smaller)` : ""),
    );
    this.detail.textContent = this.ended
      ? [job.plan.source_model, ...results].join(" · ")
      : [job.plan.source_model, job.stage ? `${job.stage}${variant ? ` ${variant}` : ""}${share}` : "waiting"]
          .concat(`${Math.round(job.progress * 100)} % in all`, job.waiting ?? message ?? []).join(" · ");
  }

  // Lines that a stage printed; the last of them are kept, and they are read out to nobody. The newest stay in sight
  // unless the reader has gone up to others.
  #print({ stage, variant, log }) {
    const lines = this.log.querySelector("pre");
    const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < NEAR_PX;
    const where = [stage, variant].filter(Boolean).join(" ");
    this.#lines = [...this.#lines, ...log.map((line) => `${where} | ${line}`)].slice(-LOG_LINES);
    lines.textContent = this.#lines.join("\n");
    this.log.hidden = false;
    if (atEnd) this.#toTheEnd();
  }

  #toTheEnd() {
    const lines = this.log.querySelector("pre");
    lines.scrollTop = lines.scrollHeight;
  }
}
