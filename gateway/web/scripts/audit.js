// What admins did, newest first.

import { get } from "./api.js";
import { moment } from "./dates.js";
import { element } from "./elements.js";
import { table } from "./table.js";

const PAGE = 50;
const HEADS = ["When", "Who", "What", "To what", "Detail"];

export class Audit {
  #round = 0;
  #events = [];
  #cursor = null;

  constructor(onRefused) {
    this.onRefused = onRefused;
    this.problem = element("audit-problem");
    this.more = element("more-audit");
    this.more.addEventListener("click", () => this.#read(this.#cursor));
  }

  start() {
    return this.#read(null);
  }

  stop() {
    this.#round += 1;
  }

  async #read(cursor) {
    const round = ++this.#round;
    this.problem.textContent = "";
    try {
      const query = new URLSearchParams({ limit: PAGE, ...(cursor ? { cursor } : {}) });
      const { data, next_cursor } = await get(`/api/v1/audit?${query}`);
      if (round !== this.#round) return;
      this.#events = cursor ? [...this.#events, ...data] : data;
      this.#cursor = next_cursor;
      this.#show();
    } catch (error) {
      this.problem.textContent = error.message;
      this.onRefused(error);
    }
  }

  #show() {
    const rows = this.#events.map((event) => [moment(event.time_ms), event.user, event.action, event.target, event.detail || "–"]);
    element("audit").replaceChildren(table("What admins did", HEADS, rows));
    this.more.hidden = this.#cursor === null;
  }
}
