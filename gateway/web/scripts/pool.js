// The workers and what each has loaded, read anew every two seconds while it is shown.

import { get } from "./api.js";
import { element, make } from "./elements.js";
import { megabytes } from "./models.js";
import { table } from "./table.js";

const PAUSE_MS = 2000;

function load(replica) {
  const label = `${replica.running} of ${replica.slots}`;
  return make(
    "span",
    { class: "load" },
    make("meter", { min: 0, max: Math.max(replica.slots, 1), value: replica.running, "aria-label": `Slots in use: ${label}` }),
    make("span", { text: label }),
  );
}

function replicaRow(replica) {
  const loading = replica.state === "loading" && replica.load_progress !== null;
  return [
    `${replica.model}:${replica.variant}`,
    loading ? `loading ${Math.round(replica.load_progress * 100)} %` : replica.state,
    load(replica),
    replica.memory_bytes ? megabytes(replica.memory_bytes) : "–",
    replica.step_ms === null ? "–" : `${replica.step_ms.toFixed(0)} ms`,
    replica.generated_tokens.toLocaleString(),
  ];
}

function workerView(worker) {
  const facts = [
    worker.device_name,
    `${worker.engine} engine`,
    worker.free_memory_bytes === null ? null : `${megabytes(worker.free_memory_bytes)} free`,
    `${worker.replicas.length} of ${worker.max_replicas} models loaded`,
    `${worker.generated_tokens.toLocaleString()} tokens made`,
  ];
  return make(
    "section",
    { class: "worker" },
    make(
      "h4",
      {},
      make("span", { class: `state ${worker.state}`, text: worker.state }),
      ` ${worker.device} `,
      make("span", { class: "faint", text: worker.host_id }),
    ),
    make("p", { class: "hint", text: facts.filter(Boolean).join(" · "), title: worker.worker_id }),
    worker.replicas.length
      ? table("Loaded models", ["Model", "State", "Load", "Memory", "Step", "Tokens"], worker.replicas.map(replicaRow))
      : make("p", { class: "hint", text: "No model is loaded; the first question to one loads it." }),
  );
}

export class Pool {
  #timer = 0;
  #shown = false;

  constructor(onRefused) {
    this.onRefused = onRefused;
  }

  start() {
    this.#shown = true;
    return this.#read();
  }

  stop() {
    this.#shown = false;
    clearTimeout(this.#timer);
  }

  async #read() {
    const target = element("workers");
    try {
      const { data } = await get("/api/v1/workers");
      const none = "No worker is registered. Start one with `python -m inference_worker --device CPU`; it appears here.";
      target.replaceChildren(...(data.length ? data.map(workerView) : [make("p", { class: "empty", text: none })]));
    } catch (error) {
      target.replaceChildren(make("p", { class: "wrong", text: error.message }));
      this.onRefused(error);
    }
    clearTimeout(this.#timer);
    if (this.#shown) this.#timer = setTimeout(() => this.#read(), PAUSE_MS);
  }
}
