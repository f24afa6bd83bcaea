// The form that has a published variant loaded before anybody asks for it.

import { get, post } from "./api.js";
import { element, offerOptions } from "./elements.js";

export class Loading {
  constructor(onOrdered) {
    this.onOrdered = onOrdered;
    this.variant = element("load-variant");
    this.worker = element("load-worker");
    this.told = element("load-told");
    element("load-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#load(event.submitter);
    });
  }

  async start() {
    this.told.textContent = "";
    this.told.classList.remove("wrong");
    try {
      const { data } = await get("/api/v1/models");
      const names = data.flatMap((model) => model.variants.map((record) => `${record.model}:${record.variant}`));
      offerOptions(this.variant, names.map((name) => [name, name]));
    } catch (error) {
      this.#tell(error.message, true);
    }
  }

  stop() {}

  // Workers by id, with what they are called.
  offer(workers) {
    offerOptions(this.worker, [["", "The one with most room"], ...workers]);
  }

  async #load(button) {
    button.disabled = true;
    try {
      const { variant } = await post("/api/v1/replicas", { model: this.variant.value, worker_id: this.worker.value || null });
      this.#tell(`${variant} is being loaded.`);
      this.onOrdered();
    } catch (error) {
      this.#tell(error.message, true);
    } finally {
      button.disabled = false;
      button.focus();
    }
  }

  #tell(text, wrong = false) {
    this.told.textContent = text;
    this.told.classList.toggle("wrong", wrong);
  }
}
