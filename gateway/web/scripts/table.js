// A table whose cells are texts or elements; where it is wider than its place, it can be scrolled, by keyboard too.

import { make } from "./elements.js";

function cells(...values) {
  return values.map((value) => (value instanceof Node ? make("td", {}, value) : make("td", { text: value })));
}

// A column without a head has what can be done with its row.
function head(text) {
  return text ? make("th", { scope: "col", text }) : make("td", {});
}

export function table(caption, heads, rows) {
  return make(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", { class: "away", text: caption }),
      make("thead", {}, make("tr", {}, ...heads.map(head))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(...row)))),
    ),
  );
}
