// Tokens by user and day, where the gateway counts them.

import { get } from "./api.js";
import { element, make } from "./elements.js";
import { table } from "./table.js";

const COUNTS = {
  prompt_tokens: "Prompt tokens",
  cached_tokens: "of them cached",
  completion_tokens: "Answer tokens",
  generations: "Answers",
  conversions: "Conversions",
};
const EVERYBODY = "";

const dayBefore = (days) => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
const isTold = (value) => value !== null && value !== undefined;
const count = (value) => (isTold(value) ? value.toLocaleString() : "–");
const tokens = (row) => (row.prompt_tokens ?? 0) + (row.completion_tokens ?? 0);

// Sums of a user's days; what no day tells stays untold.
function totals(rows) {
  const sums = new Map();
  for (const row of rows) {
    const sum = sums.get(row.user) ?? { user: row.user };
    for (const name of Object.keys(COUNTS)) if (isTold(row[name])) sum[name] = (sum[name] ?? 0) + row[name];
    sums.set(row.user, sum);
  }
  return [...sums.values()].sort((a, b) => tokens(b) - tokens(a));
}

function share(row, most) {
  const label = `${count(tokens(row))} tokens`;
  return make("meter", { min: 0, max: Math.max(most, 1), value: tokens(row), "aria-label": label, title: label });
}

export class Usage {
  #round = 0;
  #isAdmin = false;

  constructor() {
    this.user = element("usage-user");
    this.days = element("usage-days");
    this.target = element("usage");
    for (const field of [this.user, this.days]) field.addEventListener("change", () => this.#read());
  }

  enter({ isAdmin }) {
    this.#isAdmin = isAdmin;
    this.user.parentElement.hidden = !isAdmin;
  }

  async start() {
    if (this.#isAdmin) {
      const { data } = await get("/api/v1/users").catch(() => ({ data: [] }));
      const chosen = this.user.value;
      this.user.replaceChildren(
        make("option", { value: EVERYBODY, text: "Everybody" }),
        ...data.map(({ user }) => make("option", { value: user, text: user })),
      );
      this.user.value = data.some(({ user }) => user === chosen) ? chosen : EVERYBODY;
    }
    return this.#read();
  }

  stop() {
    this.#round += 1;
  }

  async #read() {
    const round = ++this.#round;
    const query = new URLSearchParams({ from: dayBefore(Number(this.days.value) - 1), to: dayBefore(0) });
    if (this.user.value !== EVERYBODY) query.set("user", this.user.value);
    try {
      const { data } = await get(`/api/v1/usage?${query}`);
      if (round === this.#round) this.#show(data);
    } catch (error) {
      this.target.replaceChildren(make("p", { class: "wrong", text: error.message }));
    }
  }

  #show(rows) {
    if (!rows.length) {
      this.target.replaceChildren(make("p", { class: "empty", text: "Nothing was used in this time." }));
      return;
    }
    const sums = totals(rows);
    const most = Math.max(...sums.map(tokens));
    // What no day tells, such as on engines that do not say what was cached, has no column.
    const told = Object.keys(COUNTS).filter((name) => rows.some((row) => isTold(row[name])));
    const heads = told.map((name) => COUNTS[name]);
    const counts = (row) => told.map((name) => count(row[name]));
    this.target.replaceChildren(
      make("h4", { text: "By user" }),
      table("Usage by user", ["User", "Tokens", ...heads], sums.map((row) => [row.user, share(row, most), ...counts(row)])),
      make("h4", { text: "By user and day" }),
      table("Usage by user and day", ["Day", "User", ...heads], rows.toReversed().map((row) => [row.day, row.user, ...counts(row)])),
    );
  }
}
