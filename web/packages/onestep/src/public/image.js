import { OneStepError } from "./errors.js";

/** @import { Channel } from "../internal/channel.js" */
/** @import { GenerateResult, WireNoise } from "../internal/protocol.js" */
/** @import { Noise, PngOptions, Reading, Timings } from "./types.js" */

/** An image, and how it was generated. `Model.generate` makes these. */
export class GeneratedImage {
  #channel;
  #noise;
  #rgba;
  #ids;

  /**
   * @param {Channel} channel
   * @param {string} prompt
   * @param {WireNoise} noise
   * @param {GenerateResult} result
   * @hideconstructor
   */
  constructor(channel, prompt, noise, { width, height, rgba, ids, timings, reading }) {
    /**
     * Width in pixels.
     * @readonly
     */
    this.width = width;
    /**
     * Height in pixels.
     * @readonly
     */
    this.height = height;
    /**
     * The prompt as it was given.
     * @readonly
     */
    this.prompt = prompt;
    /**
     * The noise that it was generated from; seeds are `bigint`.
     * @readonly
     * @type {Noise}
     */
    this.noise = noise;
    /**
     * The seed, if the noise is that of one seed.
     * @readonly
     * @type {bigint | undefined}
     */
    this.seed = "seed" in noise ? noise.seed : undefined;
    /**
     * How long it took.
     * @readonly
     * @type {Timings}
     */
    this.timings = timings;
    /**
     * How the tokenizer read the prompt.
     * @readonly
     * @type {Reading}
     */
    this.reading = reading;
    this.#channel = channel;
    this.#noise = noise;
    this.#rgba = rgba;
    this.#ids = ids;
  }

  /**
   * A copy of the pixels. Outside of browsers it is an object with the same `width`, `height` and `data`.
   * @returns {ImageData}
   */
  pixels() {
    this.#throwIfNotRead();
    const { width, height } = this;
    const data = new Uint8ClampedArray(this.#rgba);
    if (globalThis.ImageData) return new ImageData(data, width, height);
    return /** @type {ImageData} */ ({ data, width, height, colorSpace: "srgb" });
  }

  /**
   * A PNG file, which says how the image was generated unless `metadata` is false.
   * @param {PngOptions} [options] What the file says.
   * @returns {Promise<Blob>}
   */
  async png({ metadata = true } = {}) {
    this.#throwIfNotRead();
    const { width, height, prompt } = this;
    const [noise, rgba, ids] = [this.#noise, this.#rgba, this.#ids];
    const file = await this.#channel.call("png", { width, height, rgba, ids, prompt, noise, metadata });
    return new Blob([file], { type: "image/png" });
  }

  #throwIfNotRead() {
    if (this.#rgba.length > 0) return;
    throw new OneStepError(
      "invalid-option",
      "This image was generated with pixels: false; its pixels are on the canvas alone.",
    );
  }
}
