// Short names for the page's elements. Text from the server goes in as text, never as markup.

export const element = (id) => document.getElementById(id);

// make("button", {class: "quiet", text: "Copy", "aria-label": "…"}, child, …)
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

// A drawing of the page's own set; whatever it stands in says in words what it means.
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(document.createElementNS(SVG, "use"));
  drawing.firstChild.setAttribute("href", `#icon-${name}`);
  return drawing;
}

// Makes a list's children those given, moving nothing that stands right already, so that focus stays where it is.
export function reconcile(list, wanted) {
  const keep = new Set(wanted);
  for (const child of [...list.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((child, place) => {
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
  });
}

// Makes a field's options those given, [[value, text], …]; what is chosen stays so while it is offered.
export function offerOptions(field, options) {
  if (JSON.stringify(options) === JSON.stringify([...field.options].map((option) => [option.value, option.text]))) return;
  const chosen = field.value;
  field.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
  if (options.some(([value]) => value === chosen)) field.value = chosen;
}

const calledOut = (one) => one.getAttribute("aria-label") ?? one.textContent;

// Replaces what a place shows. What has the focus there, and what is scrolled aside, is so again in what is alike;
// where nothing is, the heading of the place has the focus.
export function renew(place, ...children) {
  const scrolled = [...place.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const name = focused && calledOut(focused);
  const alike = () => [...place.querySelectorAll("button, [aria-label]")].filter((one) => calledOut(one) === name);
  const position = alike().indexOf(focused);
  place.replaceChildren(...children);
  place.querySelectorAll(".scroll").forEach((one, index) => (one.scrollLeft = scrolled[index] ?? 0));
  if (focused === null) return;
  const heading = place.closest("[aria-labelledby]")?.getAttribute("aria-labelledby");
  (alike()[position] ?? (heading ? element(heading) : null))?.focus({ preventScroll: true });
}

export async function copyText(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // A browser may refuse; the older way follows.
    }
  }
  // A plain http page has no clipboard of that kind.
  const field = make("textarea", { class: "away" });
  field.value = text;
  // Beside an open dialog nothing can have the focus.
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

// Says on a button for a moment what became of a press.
export function flash(button, text) {
  button.dataset.label ??= button.textContent;
  button.textContent = text;
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => (button.textContent = button.dataset.label), 1500);
}
