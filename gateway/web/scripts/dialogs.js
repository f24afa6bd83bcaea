// Questions that stand over the page: the browser keeps the keyboard inside, Escape says no, and the focus goes back.

import { copyText, element, flash, make } from "./elements.js";

let counted = 0;

// Shows a dialog and gives the value of the chosen button, null where it was closed without one. `typed` is a text that
// has to be written before the chosen deed is done; the first choice, or else the last one, is the one that does no harm.
// One that is there to be read begins at its title.
export function choose({ title, text, choices, body = [], extra = [], typed = null, reading = false }) {
  const id = `dialog-${++counted}`;
  const dialog = make("dialog", { class: "card", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` });
  const close = (value) => dialog.close(value);
  const buttons = choices.map(({ value, label, look = "" }) =>
    make("button", { type: "button", class: look, text: label, "data-choice": value ?? "", onclick: () => close(value ?? "") }),
  );
  const field = typed === null ? null : make("input", { id: `${id}-typed`, autocomplete: "off", spellcheck: "false" });
  if (field !== null) {
    const deed = buttons.at(-1);
    deed.disabled = true;
    field.addEventListener("input", () => (deed.disabled = field.value.trim() !== typed));
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault(); // or else it would press, too, what has the focus after the dialog
      if (!deed.disabled) deed.click();
    });
  }
  dialog.append(
    make("h2", { id: `${id}-title`, text: title, tabindex: reading ? -1 : null }),
    make("p", { id: `${id}-text`, text }),
    ...body,
    ...(field === null ? [] : [make("label", { for: field.id, text: `Type ${typed} to go on` }), field]),
    make("div", { class: "choices" }, ...extra, ...buttons),
  );
  document.body.append(dialog);
  dialog.showModal();
  (field ?? dialog.querySelector(reading ? "h2" : "[data-first]") ?? buttons[0]).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue || null);
      dialog.remove();
    });
  });
}

// Asks before something that cannot be taken back.
export const confirmed = ({ title, text, deed, typed = null }) =>
  choose({ title, text, typed, choices: [{ label: "Cancel" }, { value: "yes", label: deed, look: "danger" }] }).then(Boolean);

// Shows a secret that is shown this one time.
export function showSecret({ title, text, label, secret }) {
  const field = make("input", { readonly: true, value: secret, "aria-label": label, class: "secret", "data-first": true });
  field.addEventListener("focus", () => field.select());
  const copy = make("button", { type: "button", class: "strong copy-secret", text: "Copy" });
  copy.addEventListener("click", async () => flash(copy, (await copyText(secret)) ? "Copied" : "Failed"));
  return choose({
    title, text, body: [field], extra: [copy], choices: [{ value: "done", label: "Done" }],
  });
}

// Gives the focus a place where what had it is gone.
export function keepFocus(id) {
  if (document.activeElement === null || document.activeElement === document.body) element(id).focus();
}
