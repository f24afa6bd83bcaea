// What is wrong with a field, said where it stands.

import { element, make } from "./elements.js";

export class FieldProblems {
  #cleared = [];

  // idOf: {the interface's name of a field: the id of the one of the page}
  constructor(idOf) {
    this.idOf = idOf;
  }

  // Says it at the field that a refusal names, and goes there; false where that is none of the form.
  show({ param, message }) {
    const name = (param ?? "").split(".").findLast((part) => part in this.idOf);
    if (name === undefined) return false;
    const field = element(this.idOf[name]);
    const closed = field.closest("details:not([open])");
    if (closed) closed.open = true;
    // The message begins with the interface's own name of the field, which stands above it in words.
    const text = message.startsWith(`${param}: `) ? message.slice(param.length + 2) : message;
    const told = make("p", { class: "wrong", id: `${field.id}-problem`, role: "alert", text });
    const described = field.getAttribute("aria-describedby");
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", [described, told.id].filter(Boolean).join(" "));
    (field.closest(".field") ?? field).append(told);
    const clear = () => {
      told.remove();
      field.removeAttribute("aria-invalid");
      if (described === null) field.removeAttribute("aria-describedby");
      else field.setAttribute("aria-describedby", described);
      field.removeEventListener("input", clear);
    };
    field.addEventListener("input", clear);
    this.#cleared.push(clear);
    (field.matches("fieldset") ? field.querySelector("input") : field).focus();
    return true;
  }

  clear() {
    for (const clear of this.#cleared.splice(0)) clear();
  }
}
