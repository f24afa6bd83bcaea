// The box in which a question is written.

import { element } from "./elements.js";

const TALLEST = 0.4; // of the window

export class Composer {
  #open = false;
  #busy = false;

  // on: {ask(text): whether it was taken, changed()}
  constructor(on) {
    this.on = on;
    this.field = element("question");
    element("question-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit(this.field.value);
    });
    this.field.addEventListener("keydown", (event) => {
      // isComposing: Enter also ends the input of Chinese and Japanese words.
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.submit(this.field.value);
      }
    });
    this.field.addEventListener("input", () => {
      this.#grow();
      this.show(this.#open, this.#busy);
    });
  }

  // Shows whether something can be asked now, and whether an answer is being written that can be stopped.
  show(open, busy) {
    const { activeElement } = document;
    this.#open = open;
    this.#busy = busy;
    this.field.disabled = !open;
    const [send, stop] = [element("send"), element("stop")];
    send.disabled = !open || busy || !this.field.value.trim();
    send.hidden = busy;
    stop.hidden = !busy;
    // A pressed button that goes away leaves the focus where the next words are written.
    if (open && (activeElement === send || activeElement === stop) && (activeElement.hidden || activeElement.disabled)) this.focus();
  }

  submit(text) {
    const content = text.trim();
    if (!content || !this.on.ask(content)) return;
    this.field.value = "";
    this.#grow();
    this.on.changed();
  }

  // A question that was refused can be sent again.
  giveBack(text) {
    if (!this.field.value) this.field.value = text;
    this.#grow();
    this.on.changed();
    this.focus();
  }

  focus() {
    this.field.focus();
  }

  // Whoever has gone on to something else meanwhile is not called back from there.
  focusUnlessElsewhere() {
    if (document.activeElement === null || document.activeElement === document.body) this.focus();
  }

  // A browser without field-sizing leaves the box at its first height.
  #grow() {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight + 2, window.innerHeight * TALLEST)}px`;
  }
}
