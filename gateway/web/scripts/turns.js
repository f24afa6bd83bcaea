// One message on the page: its text, what can be done with it, and where an answer came from.

import { copyText, element, flash, make } from "./elements.js";
import { MarkdownView } from "./markdown.js";

const ENDINGS = { cancelled: "Stopped.", length: "Cut at the length limit." };

function provenanceText({ model, variant, device, usage, timings }) {
  const parts = [`${model}:${variant}`];
  if (device) parts.push(device);
  if (usage && timings) {
    const writing_ms = timings.total_ms - (timings.first_token_ms ?? timings.total_ms);
    parts.push(`${usage.completion_tokens} tokens`);
    if (writing_ms > 0 && usage.completion_tokens > 1) {
      parts.push(`${((usage.completion_tokens - 1) / (writing_ms / 1000)).toFixed(1)} tokens/s`);
    }
    parts.push(`${(timings.total_ms / 1000).toFixed(1)} s`);
  }
  // A figure and its unit stay on one line.
  return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
}

function provenanceDetails({ params, worker_id, seed, usage }) {
  const lines = Object.entries(params ?? {}).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`);
  if (usage) lines.push(`prompt ${usage.prompt_tokens} tokens`);
  if (seed !== null && seed !== undefined) lines.push(`seeded with ${seed}`);
  if (worker_id) lines.push(worker_id);
  return lines.join("\n");
}

export class TurnView {
  #editing = null;

  // on: {edit(message, text), regenerate(message), version(message), changed()}
  constructor(message, on) {
    this.message = message;
    this.on = on;
    this.node = element("turn-template").content.firstElementChild.cloneNode(true);
    const find = (name) => this.node.querySelector(`.${name}`);
    this.body = find("body");
    this.parts = { note: find("note"), wrong: find("wrong"), actions: find("actions"), branches: find("branches") };
    this.isAnswer = message.role === "assistant";
    this.node.classList.add(this.isAnswer ? "answer" : "asked");
    this.node.querySelector("h3").textContent = this.isAnswer ? "Answer" : "You";
    this.markdown = this.isAnswer ? new MarkdownView(this.body, on.changed) : null;
    find("edit").hidden = this.isAnswer;
    find("regenerate").hidden = !this.isAnswer;
    find("copy").addEventListener("click", async (event) => {
      flash(event.currentTarget, (await copyText(this.message.content)) ? "Copied" : "Failed");
    });
    find("edit").addEventListener("click", () => this.#edit());
    find("regenerate").addEventListener("click", () => on.regenerate(this.message));
    find("earlier").addEventListener("click", () => this.#step(-1));
    find("later").addEventListener("click", () => this.#step(1));
  }

  // Shows the message as it is now; versions are all messages at its place.
  update(versions, busy) {
    this.versions = versions;
    const { message, parts } = this;
    const running = message.status === "running";
    this.node.classList.toggle("running", running);
    this.node.classList.toggle("silent", running && !message.content);
    if (this.isAnswer) this.markdown.setText(message.content, !running);
    else if (this.#editing === null) this.body.textContent = message.content;
    const reasoning = this.node.querySelector(".reasoning");
    reasoning.hidden = !message.reasoning;
    reasoning.querySelector(".reasoning-text").textContent = message.reasoning ?? "";
    const ending = message.status === "done" ? ENDINGS[message.finish_reason] : null;
    parts.note.hidden = !ending && !message.note;
    parts.note.textContent = ending ?? message.note ?? "";
    parts.wrong.hidden = !message.error;
    parts.wrong.textContent = message.error?.message ?? "";
    parts.actions.hidden = running || this.#editing !== null;
    for (const button of parts.actions.querySelectorAll("button:not(.copy)")) button.disabled = busy;
    parts.branches.hidden = versions.length < 2;
    const place = versions.indexOf(message);
    this.node.querySelector(".branch-place").textContent = `${place + 1} of ${versions.length}`;
    if (!busy) {
      this.node.querySelector(".earlier").disabled = place <= 0;
      this.node.querySelector(".later").disabled = place >= versions.length - 1;
    }
    if (message.provenance) {
      const provenance = this.node.querySelector(".provenance");
      provenance.textContent = provenanceText(message.provenance);
      provenance.title = provenanceDetails(message.provenance);
    }
  }

  #step(by) {
    const other = this.versions[this.versions.indexOf(this.message) + by];
    if (other) this.on.version(other);
  }

  #edit() {
    const field = make("textarea", { rows: 3, "aria-label": "Edit the message" });
    field.value = this.message.content;
    const close = () => {
      this.#editing = null;
      this.node.classList.remove("editing");
      this.body.textContent = this.message.content;
      this.parts.actions.hidden = false;
      this.node.querySelector(".edit").focus();
    };
    const save = () => {
      const text = field.value.trim();
      close();
      if (text && text !== this.message.content) this.on.edit(this.message, text);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        save();
      }
    });
    this.#editing = field;
    this.node.classList.add("editing");
    this.parts.actions.hidden = true;
    this.body.replaceChildren(
      field,
      make(
        "div",
        { class: "row" },
        make("button", { type: "button", class: "strong save", text: "Send", onclick: save }),
        make("button", { type: "button", class: "cancel", text: "Cancel", onclick: close }),
      ),
    );
    field.focus();
  }
}
