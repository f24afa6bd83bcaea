// The workers and what each has loaded, read anew every two seconds while it is shown; replicas are ended here, and
// workers sent away.

import { get, request } from "./api.js";
import { confirmed } from "./dialogs.js";
import { element, make, renew } from "./elements.js";
import { megabytes } from "./models.js";
import { Polled } from "./polled.js";
import { table } from "./table.js";

const PAUSE_MS = 2000;
const HEADS = ["Model", "State", "Load", "Memory", "Step", "Tokens", ""];

function load(replica) {
  const label = `${replica.running} of ${replica.slots}`;
  return make(
    "span",
    { class: "load" },
    make("meter", { min: 0, max: Math.max(replica.slots, 1), value: replica.running, "aria-label": `Slots in use: ${label}` }),
    make("span", { text: label }),
  );
}

const callName = (worker) => `${worker.device} of ${worker.node || worker.host_id}`;
const path = (...parts) => `/api/v1/${parts.map(encodeURIComponent).join("/")}`;

function small(text, label, onclick, look = "") {
  return make("button", { type: "button", class: `small ${look}`, text, "aria-label": label, onclick });
}

function replicaRow(worker, replica, order) {
  const name = `${replica.model}:${replica.variant}`;
  const loading = replica.state === "loading" && replica.load_progress !== null;
  const end = () => order("DELETE", path("replicas", worker.worker_id, replica.model, replica.variant));
  return [
    make("span", {}, name, replica.pinned ? make("span", { class: "tag", text: "pinned" }) : null),
    loading ? `loading ${Math.round(replica.load_progress * 100)} %` : replica.state,
    load(replica),
    replica.memory_bytes ? megabytes(replica.memory_bytes) : "–",
    replica.step_ms === null ? "–" : `${replica.step_ms.toFixed(0)} ms`,
    replica.generated_tokens.toLocaleString(),
    replica.state === "ready" ? small("End", `End ${name} on ${callName(worker)}`, end) : "",
  ];
}

function workerView(worker, order, drain) {
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
      "div",
      { class: "worker-head" },
      make(
        "h4",
        { class: "grow" },
        make("span", { class: `state ${worker.state}`, text: worker.state }),
        ` ${worker.device} `,
        make("span", { class: "faint", text: worker.node || worker.host_id }),
      ),
      worker.state === "ready" ? small("Drain", `Drain ${callName(worker)}`, () => drain(worker), "danger") : null,
    ),
    make("p", { class: "hint", text: facts.filter(Boolean).join(" · "), title: worker.worker_id }),
    worker.replicas.length
      ? table(`Models on ${callName(worker)}`, HEADS, worker.replicas.map((replica) => replicaRow(worker, replica, order)))
      : make("p", { class: "hint", text: "No model is loaded; the first question to one loads it." }),
  );
}

export class Pool extends Polled {
  pauseMs = PAUSE_MS;

  constructor(onRefused, onWorkers) {
    super(element("pool-problem"));
    this.onRefused = onRefused;
    this.onWorkers = onWorkers;
  }

  async refresh() {
    const target = element("workers");
    try {
      const { data } = await get("/api/v1/workers");
      // Under an open question nothing moves: the focus goes back to where it was asked.
      if (!document.querySelector("dialog[open]")) this.#show(target, data);
    } catch (error) {
      target.replaceChildren(make("p", { class: "wrong", text: error.message }));
      this.onRefused(error);
    }
  }

  #show(target, workers) {
    const none = "No worker is registered. Start one with `python -m inference_worker --device CPU`; it appears here.";
    const order = (method, address) => this.#order(method, address);
    const views = workers.map((worker) => workerView(worker, order, (one) => this.#drain(one)));
    renew(target, ...(views.length ? views : [make("p", { class: "empty", text: none })]));
    this.onWorkers(workers.filter(({ state }) => state === "ready").map((worker) => [worker.worker_id, `${callName(worker)} · ${worker.worker_id}`]));
  }

  async #drain(worker) {
    const title = `Drain ${callName(worker)}?`;
    const text = `${worker.worker_id} takes nothing new and finishes what it has; then it can be stopped. Only its restart takes this back.`;
    if (await confirmed({ title, text, deed: "Drain" })) await this.#order("POST", path("workers", worker.worker_id, "drain"));
  }

  async #order(method, address) {
    this.problem.textContent = "";
    try {
      await request(method, address);
    } catch (error) {
      this.problem.textContent = error.message;
      this.onRefused(error);
      return;
    }
    await this.read();
  }
}
