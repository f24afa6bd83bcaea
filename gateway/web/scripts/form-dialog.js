// A dialog with fields to fill in. It stays, and says why, where what was filled in is refused.

import { make } from "./elements.js";

let counted = 0;

function row(input, label, hint) {
  const hintId = `${input.id}-hint`;
  if (hint) input.setAttribute("aria-describedby", hintId);
  return make(
    "div",
    { class: "filling" },
    ...(input.type === "checkbox"
      ? [make("label", { for: input.id }, input, ` ${label}`)]
      : [make("label", { for: input.id, text: label }), input]),
    hint ? make("p", { class: "hint", id: hintId, text: hint }) : null,
  );
}

function filled(input) {
  if (input.type === "checkbox") return input.checked;
  return input.value === "" ? null : Number(input.value);
}

// fields: [{name, label, hint, type: "number" or "checkbox", value, …attributes}]. `save` gets the values by name, null
// for an empty number, and throws what is wrong with them. Gives whether they were saved.
export function fill({ title, text, fields, deed, save }) {
  const id = `form-${++counted}`;
  const inputs = fields.map(({ name, label, hint, value, ...attributes }) => {
    const input = make("input", { id: `${id}-${name}`, name, autocomplete: "off", ...attributes });
    if (input.type === "checkbox") input.checked = value;
    else input.value = value ?? "";
    return { input, row: row(input, label, hint) };
  });
  const problem = make("p", { class: "wrong", role: "alert" });
  const submit = make("button", { type: "submit", class: "strong", text: deed });
  const dialog = make("dialog", { class: "card", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` });
  const form = make(
    "form",
    {},
    ...inputs.map((one) => one.row),
    problem,
    make("div", { class: "choices" }, make("button", { type: "button", text: "Cancel", onclick: () => dialog.close() }), submit),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    submit.disabled = true;
    try {
      await save(Object.fromEntries(inputs.map(({ input }) => [input.name, filled(input)])));
      dialog.close("saved");
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      submit.disabled = false;
    }
  });
  dialog.append(make("h2", { id: `${id}-title`, text: title }), make("p", { id: `${id}-text`, text }), form);
  document.body.append(dialog);
  dialog.showModal();
  inputs[0].input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "saved");
      dialog.remove();
    });
  });
}
