// Tokens by user and day, where the gateway counts them.

import { get } from "./api.js";
import { element, make } from "./elements.js";
import { table } from "./table.js";

const DAYS = 30;

const day = (ago) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString());

export async function showUsage() {
  const panel = element("usage-panel");
  try {
    const { data } = await get(`/api/v1/usage?from=${day(DAYS - 1)}&to=${day(0)}`);
    panel.hidden = false;
    element("usage").replaceChildren(
      data.length
        ? table(
            "Usage by user and day",
            ["Day", "User", "Prompt tokens", "of them cached", "Answer tokens", "Answers", "Conversions"],
            data.map((row) => [
              row.day, row.user, count(row.prompt_tokens), count(row.cached_tokens), count(row.completion_tokens),
              count(row.generations), count(row.conversions),
            ]),
          )
        : make("p", { class: "hint", text: "Nothing was used yet." }),
    );
  } catch (error) {
    panel.hidden = error.status === 404;
    element("usage").replaceChildren(make("p", { class: "wrong", text: error.message }));
  }
}
