// A table whose cells are texts or elements.

import { make } from "./elements.js";

function cells(...values) {
  return values.map((value) => (value instanceof Node ? make("td", {}, value) : make("td", { text: value })));
}

export function table(caption, heads, rows) {
  return make(
    "table",
    {},
    make("caption", { class: "away", text: caption }),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col", text: head })))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(...row)))),
  );
}
