// A queue that runs a few jobs at the same time, so that many files flood neither server nor browser.

export class Queue {
  #lanes;
  #busy = 0;
  #waiting = [];
  #round = new AbortController(); // of the jobs since the last cancel

  constructor(lanes) {
    this.#lanes = lanes;
  }

  /** Add jobs: objects with `run(signal)`, which never rejects, and `drop()` for jobs cancelled before they ran. */
  add(...jobs) {
    this.#waiting.push(...jobs);
    while (this.#waiting.length && this.#busy < this.#lanes) this.#work();
  }

  /** Abort running jobs and drop waiting ones. */
  cancel() {
    for (const job of this.#waiting.splice(0)) job.drop();
    this.#round.abort();
    this.#round = new AbortController();
  }

  async #work() {
    this.#busy += 1;
    while (this.#waiting.length) await this.#waiting.shift().run(this.#round.signal);
    this.#busy -= 1;
  }
}
