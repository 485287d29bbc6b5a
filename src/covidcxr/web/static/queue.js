// Jobs one after another in a few lanes, so that a hundred files neither flood the server nor the browser.

export class Queue {
  #lanes;
  #busy = 0;
  #waiting = [];
  #round = new AbortController(); // of the jobs since the last cancel

  constructor(lanes) {
    this.#lanes = lanes;
  }

  /** Take jobs: objects with `run(signal)`, which never rejects, and `drop()`, called if it is cancelled before. */
  add(...jobs) {
    this.#waiting.push(...jobs);
    while (this.#waiting.length && this.#busy < this.#lanes) this.#work();
  }

  /** Abort what is under way and drop what waits. */
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
