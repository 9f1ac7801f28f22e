import { transferCanvas } from "../internal/canvas-transfer.js";
import { parseNoise, parseSeed } from "../internal/noise.js";
import { OneStepError } from "./errors.js";
import { GeneratedImage } from "./image.js";

/** @import { Channel } from "../internal/channel.js" */
/** @import { LoadResult } from "../internal/protocol.js" */
/** @import { Backend, Device, GenerateOptions, KernelCost, ModelInfo } from "./types.js" */
/** @import { ProfileOptions, WalkOptions } from "./types.js" */

/** A loaded model. `load` makes these. */
export class Model {
  #channel;
  #memoryBytes;
  /** Cancels the live image that is being generated. @type {(() => void) | undefined} */
  #supersede;

  /**
   * @param {Channel} channel
   * @param {Backend} backend
   * @param {LoadResult} loaded
   * @hideconstructor
   */
  constructor(channel, backend, { model, device, card, memoryBytes, notices }) {
    this.#channel = channel;
    this.#memoryBytes = memoryBytes;
    /**
     * What the manifest says about the model.
     * @readonly
     * @type {ModelInfo}
     */
    this.model = model;
    /**
     * What computes; it never changes.
     * @readonly
     */
    this.backend = backend;
    /**
     * The model card in Markdown.
     * @readonly
     */
    this.card = card;
    /**
     * The device that computes.
     * @readonly
     * @type {Device}
     */
    this.device = device;
    /**
     * Sentences for people about what is not as it should be, such as that the model could not be stored.
     * @readonly
     * @type {readonly string[]}
     */
    this.notices = notices;
    /**
     * Resolves when the worker has ended, or when the device was lost and no other could be had; then this
     * model generates nothing any more. A device that is lost after the first image is replaced without the
     * caller's help: the model is loaded again from the cache, and the call that met the loss continues.
     * @readonly
     * @type {Promise<OneStepError>}
     */
    this.lost = channel.lost;
  }

  /**
   * Bytes that the model takes: on the GPU all of its buffers; on the CPU its weights, and the activations
   * that images have needed so far.
   */
  get memoryBytes() {
    return this.#memoryBytes;
  }

  /**
   * Generates an image. Calls are done one after another, in their order.
   * @param {string} prompt The prompt.
   * @param {GenerateOptions} [options] Noise, canvas and signal.
   * @returns {Promise<GeneratedImage>}
   */
  async generate(prompt, options = {}) {
    const noise = parseNoise(options);
    const { stages = false, pixels = true } = options;
    checkPrompt(prompt);
    // Before the canvas is transferred, which cannot be undone.
    this.#channel.throwIfClosed();
    options.signal?.throwIfAborted();
    const [canvas, transfer] = transferCanvas(options.canvas, this.#channel);
    const generateArguments = { prompt, noise, canvas, stages: Boolean(stages), pixels: Boolean(pixels) };
    const result = await this.#channel.call("generate", generateArguments, {
      signal: options.signal,
      transfer,
    });
    this.#memoryBytes = result.memoryBytes;
    return new GeneratedImage(this.#channel, prompt, noise, result);
  }

  /**
   * Generates an image while a user types: a newer call cancels an older one that has not ended, which then
   * gives `null`.
   * @param {string} prompt The prompt.
   * @param {GenerateOptions} [options] Noise, canvas and signal.
   * @returns {Promise<GeneratedImage | null>}
   */
  async live(prompt, options = {}) {
    this.#supersede?.();
    const superseded = new AbortController();
    const supersede = () => superseded.abort();
    this.#supersede = supersede;
    const signal = options.signal ? AbortSignal.any([options.signal, superseded.signal]) : superseded.signal;
    try {
      return await this.generate(prompt, { ...options, signal });
    } catch (error) {
      if (superseded.signal.aborted && error === superseded.signal.reason) return null;
      throw error;
    } finally {
      if (this.#supersede === supersede) this.#supersede = undefined;
    }
  }

  /**
   * Generates images on the way from seed to seed: `frames` from each to the next, and the last one. Each is
   * generated when it is asked for.
   * @param {string} prompt The prompt.
   * @param {Iterable<number | bigint>} seeds Two seeds or more.
   * @param {number} frames Images from one seed to the next, from 1.
   * @param {WalkOptions} [options] Canvas and signal.
   * @returns {AsyncGenerator<GeneratedImage, void, void>}
   */
  async *walk(prompt, seeds, frames, options = {}) {
    const stops = [...seeds].map(parseSeed);
    if (stops.length < 2) {
      throw new OneStepError("invalid-option", "A walk needs two seeds or more.");
    }
    if (!Number.isSafeInteger(frames) || frames < 1) {
      throw new OneStepError(
        "invalid-option",
        "The frames from one seed to the next must be a whole number from 1.",
      );
    }
    for (let stop = 0; stop + 1 < stops.length; stop++) {
      const [from, to] = [stops[stop], stops[stop + 1]];
      for (let frame = 0; frame < frames; frame++) {
        const noise = frame === 0 ? { seed: from } : { from, to, t: frame / frames };
        yield await this.generate(prompt, { ...options, noise });
      }
    }
    yield await this.generate(prompt, { ...options, noise: { seed: stops[stops.length - 1] } });
  }

  /**
   * Measures what each kernel costs in an image. On the GPU the runs of each kernel are measured by
   * themselves, because few browsers measure times within a submission; hence their sum is not exactly the
   * time of an image. Takes as long as a few images.
   * @param {string} prompt The prompt.
   * @param {ProfileOptions} [options] Noise and signal.
   * @returns {Promise<KernelCost[]>}
   */
  async profile(prompt, options = {}) {
    checkPrompt(prompt);
    return this.#channel.call("profile", { prompt, noise: parseNoise(options) }, { signal: options.signal });
  }

  /**
   * Frees the GPU, the worker and its memory. Pending calls reject with `disposed`. May be called twice.
   * @returns {Promise<void>}
   */
  async dispose() {
    this.#channel.close(new OneStepError("disposed", "The model has been disposed of."));
  }

  /**
   * The same as `dispose`, for `await using`.
   * @returns {Promise<void>}
   */
  [Symbol.asyncDispose]() {
    return this.dispose();
  }
}

/** @param {unknown} prompt */
function checkPrompt(prompt) {
  if (typeof prompt !== "string") throw new OneStepError("invalid-option", "The prompt must be text.");
}
