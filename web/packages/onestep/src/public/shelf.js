import { load } from "../internal/client.js";
import { placeOf } from "../internal/loading.js";
import { probe } from "../internal/probe.js";
import { OneStepError } from "./errors.js";

/** Models within a budget of memory. @type {typeof import("../../index.js").shelf} */
export function shelf({ maxMemoryBytes, ...options }) {
  if (!(maxMemoryBytes > 0))
    throw new OneStepError("invalid-option", "maxMemoryBytes must be a number of bytes.");
  return new Shelf(maxMemoryBytes, options);
}

class Shelf {
  #budget;
  #options;
  /** By place: models, the last used last. */
  #loaded = new Map();
  /** One load after another: each must know what is there. */
  #turn = Promise.resolve();

  constructor(budget, options) {
    [this.#budget, this.#options] = [budget, options];
  }

  get models() {
    return [...this.#loaded.values()].reverse();
  }

  get memoryBytes() {
    return this.models.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  }

  take(bundle, options = {}) {
    const taken = this.#turn.then(() => this.#take(bundle, options));
    this.#turn = taken.catch(() => {});
    return taken;
  }

  async #take(bundle, { signal, onProgress }) {
    const { place, sha256 } = placeOf(bundle);
    // Files of a folder have no address; they are the same as long as their objects are.
    const key = sha256 ?? place.url ?? bundle;
    const known = this.#loaded.get(key);
    if (known) {
      this.#loaded.delete(key);
      this.#loaded.set(key, known);
      return known;
    }
    const { downloadBytes, cachedBytes } = await probe(bundle, { ...this.#options, signal });
    // What a model takes is known once it is loaded; no less than its files.
    const least = downloadBytes + cachedBytes;
    if (least > this.#budget)
      throw new OneStepError(
        "out-of-memory",
        `The model needs ${least} bytes or more, and the budget has ${this.#budget}.`,
        { limit: this.#budget },
      );
    await this.#makeRoom(least);
    const model = await load(bundle, { ...this.#options, signal, onProgress });
    this.#loaded.set(key, model);
    model.lost.then(() => this.#loaded.get(key) === model && this.#loaded.delete(key));
    await this.#makeRoom(0, key);
    return model;
  }

  /** Until so many bytes fit besides. The one that was asked for last stays, even if it turned out to be more than the budget. */
  async #makeRoom(bytes, kept) {
    for (const [key, model] of this.#loaded) {
      if (this.memoryBytes + bytes <= this.#budget) return;
      if (key === kept) continue;
      this.#loaded.delete(key);
      await model.dispose();
    }
  }

  async dispose() {
    await this.#turn;
    for (const [key, model] of this.#loaded) {
      this.#loaded.delete(key);
      await model.dispose();
    }
  }
  [Symbol.asyncDispose ?? Symbol("asyncDispose")]() {
    return this.dispose();
  }
}
