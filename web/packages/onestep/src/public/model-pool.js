import { locateBundle } from "../internal/bundle-location.js";
import { OneStepError } from "./errors.js";
import { load } from "./load.js";
import { probe } from "./probe.js";

/** @import { Model } from "./model.js" */
/** @import { Abortable, BundleRef, LoadCallOptions, ModelPoolOptions } from "./types.js" */

/**
 * Several loaded models within a memory budget. If a load would exceed the budget, the models that were asked
 * for longest ago are disposed of first.
 */
export class ModelPool {
  #maxMemoryBytes;
  #options;
  /** Models by bundle, in the order of their last use. @type {Map<unknown, Model>} */
  #loaded = new Map();
  /**
   * The last load: the next one waits for it, because it must know what is loaded.
   * @type {Promise<unknown>}
   */
  #lastLoad = Promise.resolve();

  /**
   * @param {ModelPoolOptions} options The budget, and the options of every load.
   */
  constructor({ maxMemoryBytes, ...options }) {
    if (!(maxMemoryBytes > 0)) {
      throw new OneStepError("invalid-option", "maxMemoryBytes must be a number of bytes.");
    }
    this.#maxMemoryBytes = maxMemoryBytes;
    this.#options = options;
  }

  /**
   * The loaded models, the last used first.
   * @returns {readonly Model[]}
   */
  get models() {
    return [...this.#loaded.values()].reverse();
  }

  /**
   * Bytes that the loaded models take together.
   * @returns {number}
   */
  get memoryBytes() {
    return this.models.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  }

  /**
   * Gives the model of a bundle and loads it if it is not loaded. A model that was disposed of to make room
   * rejects its calls with `disposed`, so ask the pool each time. A model that alone exceeds the budget is
   * refused before it is downloaded.
   * @param {BundleRef} bundle The bundle.
   * @param {Pick<LoadCallOptions, "onProgress"> & Abortable} [options] Progress and signal.
   * @returns {Promise<Model>}
   */
  load(bundle, options = {}) {
    const model = this.#lastLoad.then(() => this.#load(bundle, options));
    this.#lastLoad = model.catch(() => {});
    return model;
  }

  /**
   * @param {BundleRef} bundle
   * @param {Pick<LoadCallOptions, "onProgress"> & Abortable} options
   */
  async #load(bundle, { signal, onProgress }) {
    const { location, sha256 } = locateBundle(bundle);
    // Files of a folder have no address; the object that holds them identifies them.
    const key = sha256 ?? location.url ?? bundle;
    const loaded = this.#loaded.get(key);
    if (loaded) {
      this.#loaded.delete(key);
      this.#loaded.set(key, loaded);
      return loaded;
    }
    const { downloadBytes, cachedBytes } = await probe(bundle, { ...this.#options, signal });
    // What a model takes is known once it is loaded; it is no less than its files.
    const least = downloadBytes + cachedBytes;
    if (least > this.#maxMemoryBytes) {
      throw new OneStepError(
        "out-of-memory",
        `The model needs at least ${least} bytes, and the budget is ${this.#maxMemoryBytes} bytes.`,
        { limit: this.#maxMemoryBytes },
      );
    }
    await this.#makeRoom(least);
    const model = await load(bundle, { ...this.#options, signal, onProgress });
    this.#loaded.set(key, model);
    model.lost.then(() => this.#loaded.get(key) === model && this.#loaded.delete(key));
    await this.#makeRoom(0, key);
    return model;
  }

  /**
   * Disposes of models until `bytes` more fit. The model of `keep` stays, even if it alone exceeds the
   * budget.
   * @param {number} bytes
   * @param {unknown} [keep]
   */
  async #makeRoom(bytes, keep) {
    for (const [key, model] of this.#loaded) {
      if (this.memoryBytes + bytes <= this.#maxMemoryBytes) return;
      if (key === keep) continue;
      this.#loaded.delete(key);
      await model.dispose();
    }
  }

  /**
   * Disposes of all models.
   * @returns {Promise<void>}
   */
  async dispose() {
    await this.#lastLoad;
    for (const [key, model] of this.#loaded) {
      this.#loaded.delete(key);
      await model.dispose();
    }
  }

  /**
   * The same as `dispose`, for `await using`.
   * @returns {Promise<void>}
   */
  [Symbol.asyncDispose]() {
    return this.dispose();
  }
}
