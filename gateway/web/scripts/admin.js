// What an admin sees besides chats: the pool, conversions, usage. Nothing is asked for while it is not shown.

import { get } from "./api.js";
import { Conversions } from "./conversions.js";
import { element, make } from "./elements.js";
import { megabytes } from "./models.js";
import { table } from "./table.js";
import { showUsage } from "./usage.js";

const POOL_PAUSE_MS = 2000;

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
    worker.engine,
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
      ? make(
          "div",
          { class: "scroll" },
          table("Loaded models", ["Model", "State", "Load", "Memory", "Step", "Tokens"], worker.replicas.map(replicaRow)),
        )
      : make("p", { class: "hint", text: "No model is loaded." }),
  );
}

export class AdminView {
  #shown = false;
  #timer = 0;

  constructor(onRefused) {
    this.onRefused = onRefused;
    this.conversions = new Conversions();
  }

  show(shown) {
    if (shown === this.#shown) return;
    this.#shown = shown;
    element("admin-view").hidden = !shown;
    // Hidden are the parts that are about a chat.
    for (const id of ["chat-view", "foot", "pickers", "clear", "open-settings"]) element(id).hidden = shown;
    if (!shown) {
      clearTimeout(this.#timer);
      this.conversions.stop();
      return;
    }
    element("admin-title").focus();
    this.conversions.start();
    showUsage();
    this.#readPool();
  }

  async #readPool() {
    const target = element("workers");
    try {
      const { data } = await get("/api/v1/workers");
      target.replaceChildren(
        ...(data.length ? data.map(workerView) : [make("p", { class: "hint", text: "No worker is registered." })]),
      );
    } catch (error) {
      target.replaceChildren(make("p", { class: "wrong", text: error.message }));
      this.onRefused(error);
    }
    if (this.#shown) this.#timer = setTimeout(() => this.#readPool(), POOL_PAUSE_MS);
  }
}
