// The engine holds a model of a WebAssembly build, its GPU and the canvases that were transferred to it. It
// does one call after another. It runs in the package's worker, or in the caller's thread if the caller
// passes a device or there are no workers.
import { OneStepError } from "../public/errors.js";
import { showOnCanvas2d } from "./canvas-2d.js";
import { fetchManifest } from "./download.js";
import { openModel } from "./open-model.js";
import { serializeError } from "./serialize-error.js";
import { openStore } from "./store.js";
import { loadBuild } from "./wasm-builds.js";

/** @import { Progress } from "../public/types.js" */
/** @import * as Protocol from "./protocol.js" */
/** @import { LoadedModel, WasmExports } from "./wasm-builds.js" */

/**
 * Reports progress of a load.
 * @typedef {(phase: Progress["phase"], done: number, total: number, cached?: number) => void} OnProgress
 */

/**
 * The result of a call, and what its message transfers.
 * @typedef {{ result: any, transfer?: Transferable[] }} Answer
 */

const PROGRESS_INTERVAL_MS = 50;

export class Engine {
  #post;
  #gpu;
  /** The WebAssembly build, once it is loaded. @type {WasmExports | undefined} */
  #wasm;
  /** @type {LoadedModel | undefined} */
  #model;
  /**
   * Loads the model again.
   * @type {((onProgress: OnProgress, signal: AbortSignal) => Promise<void>) | undefined}
   */
  #reload;
  /** Transferred canvases by the number that the caller gave them. @type {Map<number, OffscreenCanvas>} */
  #canvases = new Map();
  /** The canvas that the GPU shows images on. @type {number | undefined} */
  #attached;
  /** Calls without an answer. @type {Map<number, AbortController>} */
  #controllers = new Map();
  #queue = Promise.resolve();
  /** Images since the model was loaded. A device that is lost before the first one is not replaced. */
  #images = 0;

  /**
   * @param {Protocol.Post} post sends the answers
   * @param {GPU} [gpu] WebGPU, if it does not come from `navigator`
   */
  constructor(post, gpu) {
    this.#post = post;
    this.#gpu = gpu;
  }

  /** @param {Protocol.Request} request */
  receive(request) {
    if ("cancel" in request) {
      this.#controllers.get(request.cancel)?.abort();
      return;
    }
    // Even if the call is cancelled before its turn: a canvas is transferred once.
    if (request.call === "generate" && request.arguments.canvas?.surface) {
      this.#canvases.set(request.arguments.canvas.id, request.arguments.canvas.surface);
    }
    const controller = new AbortController();
    this.#controllers.set(request.id, controller);
    const arrived = performance.now();
    this.#queue = this.#queue
      .then(() => this.#answer(request, controller.signal, arrived))
      .finally(() => this.#controllers.delete(request.id));
  }

  /** Frees the model once the last call has ended. A worker that ends needs no such thing. */
  end() {
    for (const controller of this.#controllers.values()) controller.abort();
    this.#queue = this.#queue.finally(() => {
      this.#model?.free();
      this.#model = undefined;
    });
  }

  /**
   * @param {Protocol.Call} call
   * @param {AbortSignal} signal
   * @param {number} arrived when the call arrived
   */
  async #answer(call, signal, arrived) {
    try {
      signal.throwIfAborted();
      const { result, transfer } = await this.#perform(call, signal, arrived);
      this.#post({ id: call.id, result }, transfer);
    } catch (error) {
      this.#post({ id: call.id, error: serializeError(error, this.#wasm) });
    }
  }

  /**
   * @param {Protocol.Call} call
   * @param {AbortSignal} signal
   * @param {number} arrived
   * @returns {Promise<Answer>}
   */
  async #perform(call, signal, arrived) {
    switch (call.call) {
      case "load":
        return { result: await this.#load(call.id, call.arguments, signal) };
      case "generate": {
        const result = await this.#generate(call.arguments, signal, arrived);
        return { result, transfer: [result.rgba.buffer, result.ids.buffer] };
      }
      case "profile":
        return { result: await this.#profile(call.arguments) };
      case "png": {
        const result = this.#png(call.arguments);
        return { result, transfer: [result.buffer] };
      }
      default:
        throw new OneStepError("internal", "The page's worker got a call that it does not know.");
    }
  }

  /**
   * @param {number} id
   * @param {Protocol.LoadArguments} options
   * @param {AbortSignal} signal
   * @returns {Promise<Protocol.LoadResult>}
   */
  async #load(id, { location, sha256, builds, maxBytes, backend, cache }, signal) {
    const onProgress = throttle((phase, done, total, cached = 0) =>
      this.#post({ id, progress: { phase, done, total, cached } }),
    );
    // Local files need no persistent cache.
    const store = openStore(location.files ? "memory" : cache);
    const [manifest, wasm] = await Promise.all([
      fetchManifest(location, sha256, { signal, store }),
      loadBuild(backend, builds),
    ]);
    this.#wasm = wasm;
    const summary = wasm.checkManifest(manifest);
    if (maxBytes !== undefined && summary.bytes > maxBytes) {
      throw new OneStepError(
        "invalid-option",
        `The model has ${summary.bytes} bytes, and no more than ${maxBytes} were allowed.`,
        { limit: maxBytes },
      );
    }
    if (location.url) await store.note(location.url, manifest);
    this.#reload = async (report, abort) => {
      report("download", 0, summary.bytes);
      let [done, cached] = [0, 0];
      /** @param {number} bytes @param {number} fromStore */
      const onBytes = (bytes, fromStore) => {
        report("download", (done += bytes), summary.bytes, (cached += fromStore));
      };
      const download = { store, onBytes, signal: abort };
      this.#model = await openModel(wasm, manifest, summary, location, download, report, this.#gpu);
      report("compile", 1, 1);
    };
    await this.#reload(onProgress, signal);
    const { title, license, width, height } = summary;
    const model = this.#loadedModel;
    return {
      model: { id: summary.id, title, license, sizes: [[width, height]] },
      device: model.device(),
      card: model.card(),
      memoryBytes: model.memoryBytes(),
      notices: store.refusal ? [store.refusal] : [],
    };
  }

  /**
   * @param {Protocol.GenerateArguments} options
   * @param {AbortSignal} signal
   * @param {number} arrived
   * @returns {Promise<Protocol.GenerateResult>}
   */
  async #generate(options, signal, arrived) {
    const started = performance.now();
    const { image, present } = await this.#restoring(() => this.#generateOnce(options, signal));
    this.#images++;
    const { width, height, rgba, ids, reading } = image;
    const memoryBytes = this.#loadedModel.memoryBytes();
    const total = performance.now() - arrived;
    const timings = { ...image.timings, queue: started - arrived, present, total };
    return { width, height, rgba, ids, reading, memoryBytes, timings };
  }

  /** @param {Protocol.ProfileArguments} options */
  #profile({ prompt, noise }) {
    return this.#restoring(() => this.#loadedModel.profile(prompt, this.#wasmNoise(noise)));
  }

  /** @param {Protocol.PngArguments} options */
  #png({ width, height, rgba, ids, prompt, noise, metadata }) {
    return this.#loadedModel.png(width, height, rgba, ids, prompt, this.#wasmNoise(noise), metadata);
  }

  /**
   * Generates an image and shows it on the canvas, if there is one, which takes `present` milliseconds.
   * @param {Protocol.GenerateArguments} options
   * @param {AbortSignal} signal
   */
  async #generateOnce({ prompt, noise, canvas, stages, pixels }, signal) {
    const model = this.#loadedModel;
    const image = await model.generate(
      prompt,
      this.#wasmNoise(noise),
      stages,
      !pixels,
      () => !signal.aborted,
    );
    const before = performance.now();
    const surface = canvas && this.#canvases.get(canvas.id);
    if (canvas && surface) {
      if (model.attachCanvas && model.showOnCanvas) {
        if (this.#attached !== canvas.id) {
          this.#attached = undefined;
          await model.attachCanvas(surface);
          this.#attached = canvas.id;
        }
        await model.showOnCanvas();
      } else {
        showOnCanvas2d(surface, image);
      }
    }
    return { image, present: performance.now() - before };
  }

  /**
   * Does `work`. If the device is lost meanwhile, loads the model on another device, mostly from the store,
   * and does it once more.
   * @template T
   * @param {() => Promise<T>} work
   */
  async #restoring(work) {
    try {
      return await work();
    } catch (error) {
      const lost = /** @type {{ kind?: unknown } | undefined} */ (error)?.kind === "device-lost";
      if (!lost || this.#images === 0) throw error;
      [this.#attached, this.#images] = [undefined, 0];
      this.#model?.free();
      this.#model = undefined;
      try {
        // Its own signal, because a cancelled image does not take the model with it.
        await this.#reload?.(() => {}, new AbortController().signal);
      } catch {
        // What the caller has to know first is that the device is lost.
        throw error;
      }
      return work();
    }
  }

  get #loadedModel() {
    if (!this.#model) throw new OneStepError("internal", "The page's worker has no model.");
    return this.#model;
  }

  /**
   * wasm-bindgen consumes the noise of a call, so each call gets a new one.
   * @param {Protocol.WireNoise} noise
   */
  #wasmNoise(noise) {
    const { Noise } = /** @type {WasmExports} */ (this.#wasm);
    if ("latent" in noise) return Noise.latent(noise.latent);
    return "seed" in noise ? Noise.seed(noise.seed) : Noise.interpolated(noise.from, noise.to, noise.t);
  }
}

/**
 * Lets through the first and the last report of a phase, and one every 50 ms in between; the newest one
 * always, if late.
 * @param {OnProgress} post
 * @returns {OnProgress}
 */
function throttle(post) {
  /** @type {{ phase?: string, at: number }} */
  let last = { at: -Infinity };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @param {Parameters<OnProgress>} report */
  const send = (report) => {
    clearTimeout(timer);
    timer = undefined;
    last = { phase: report[0], at: performance.now() };
    post(...report);
  };
  /** @type {Parameters<OnProgress>} */
  let newest;
  return (...report) => {
    newest = report;
    const [phase, done, total] = report;
    const wait = last.at + PROGRESS_INTERVAL_MS - performance.now();
    if (phase !== last.phase || done >= total || wait <= 0) send(report);
    else timer ??= setTimeout(() => send(newest), wait);
  };
}
