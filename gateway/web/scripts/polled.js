// A view that reads its data anew for as long as it is shown.

export class Polled {
  #timer = 0;
  #shown = false;

  // problem: where the view says what went wrong. A view has refresh(), which reads and shows, and pauseMs.
  constructor(problem) {
    this.problem = problem;
  }

  start() {
    this.#shown = true;
    this.problem.textContent = "";
    return this.read();
  }

  stop() {
    this.#shown = false;
    clearTimeout(this.#timer);
  }

  async read() {
    await this.refresh();
    clearTimeout(this.#timer);
    if (this.#shown) this.#timer = setTimeout(() => this.read(), this.pauseMs);
  }
}
