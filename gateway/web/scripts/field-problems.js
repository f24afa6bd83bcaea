// What is wrong with a field, said where it stands.

import { element, make } from "./elements.js";

export class FieldProblems {
  #cleared = [];

  // idOf: {the interface's name of a field: the id of the one of the page}
  constructor(idOf) {
    this.idOf = idOf;
  }

  // Says it at the field that a refusal names, and goes there where it may; false where that is none of the form.
  show({ param, message }, mayMove = true) {
    const path = (param ?? "").replace(/\.\d+/g, ""); // whichever of several it is, the field is the same
    const name = path in this.idOf ? path : path.split(".").findLast((part) => part in this.idOf);
    if (name === undefined) return false;
    const field = element(this.idOf[name]);
    const closed = field.closest("details:not([open])");
    if (closed) closed.open = true;
    const told = make("p", { class: "wrong", id: `${field.id}-problem`, role: "alert", text: message });
    const described = field.getAttribute("aria-describedby");
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", [described, told.id].filter(Boolean).join(" "));
    (field.closest(".field") ?? field).append(told);
    const clear = () => {
      told.remove();
      field.removeAttribute("aria-invalid");
      if (described === null) field.removeAttribute("aria-describedby");
      else field.setAttribute("aria-describedby", described);
    };
    this.#cleared.push(clear);
    if (mayMove) (field.matches("fieldset") ? field.querySelector("input") : field).focus();
    return true;
  }

  clear() {
    for (const clear of this.#cleared.splice(0)) clear();
  }
}
