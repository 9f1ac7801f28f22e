// The engine: it alone holds a model of the wasm module, its GPU and the canvases that were handed to it. One message is one call; calls are done in
// their order. It runs in the package's worker, or beside its caller where that has a device of its own or there are no workers.
//
// In:  { id, call, ... } or { cancel: id }
// Out: { id, progress } any number of times, then { id, result } or { id, error }
import { OneStepError } from "../public/errors.js";
import { describe } from "./failure.js";
import { fetchManifest } from "./loading.js";
import { moduleFor } from "./modules.js";
import { openModel } from "./opening.js";
import { openStore } from "./store.js";
import { paint } from "./paint.js";

const CALLS = ["load", "generate", "profile", "png"];

export class Engine {
  /** Where answers go: `(message, transfer) => void`. */
  #post;
  /** Where WebGPU comes from, if not from `navigator`. */
  #gpu;
  /** The wasm module's side of the boundary, once it is there. */
  #wasm;
  /** The loaded model, and how it is loaded again. */
  #loaded;
  #again;
  /** Canvases that were handed over, by the number that the client gave them, and the one that the GPU shows on. */
  #canvases = new Map();
  #attached;
  /** Calls that have not been answered. */
  #controllers = new Map();
  #queue = Promise.resolve();
  /** Images since the model was loaded. A device that is lost before it has drawn one is not asked for again. */
  #drawn = 0;

  /** @param {(message: object, transfer: Transferable[]) => void} post @param {GPU} [gpu] */
  constructor(post, gpu) {
    this.#post = post;
    this.#gpu = gpu;
  }

  receive(data) {
    if (data.cancel !== undefined) {
      this.#controllers.get(data.cancel)?.abort();
      return;
    }
    // Kept even if the call is cancelled before its turn: a canvas is handed over once.
    if (data.canvas?.surface) this.#canvases.set(data.canvas.id, data.canvas.surface);
    const controller = new AbortController();
    this.#controllers.set(data.id, controller);
    const arrived = performance.now();
    this.#queue = this.#queue
      .then(() => this.#answer(data, controller.signal, arrived))
      .finally(() => this.#controllers.delete(data.id));
  }

  /** Frees the model once nothing uses it any more. Where a worker ends, so does all it has. */
  end() {
    for (const controller of this.#controllers.values()) controller.abort();
    this.#queue = this.#queue.finally(() => {
      this.#loaded?.free();
      this.#loaded = undefined;
    });
  }

  async #answer(data, signal, arrived) {
    try {
      signal.throwIfAborted();
      if (!CALLS.includes(data.call)) throw new OneStepError("internal", `There is no call ${data.call}.`);
      const { result, transfer } = await this[data.call](data, signal, arrived);
      this.#post({ id: data.id, result }, transfer ?? []);
    } catch (error) {
      this.#post({ id: data.id, error: describe(error, this.#wasm) }, []);
    }
  }

  async load({ id, place, sha256, modules, maxBytes, backend, cache }, signal) {
    const progress = throttle((phase, done, total, cached = 0) =>
      this.#post({ id, progress: { phase, done, total, cached } }, []),
    );
    // Files of this device are there the next time without being kept.
    const store = openStore(place.files ? "memory" : cache);
    let manifest;
    [manifest, this.#wasm] = await Promise.all([
      fetchManifest(place, sha256, { signal, store }),
      moduleFor(backend, modules),
    ]);
    const description = this.#wasm.describe(manifest);
    if (maxBytes !== undefined && description.bytes > maxBytes) {
      throw new OneStepError(
        "invalid-option",
        `The model has ${description.bytes} bytes, and no more than ${maxBytes} were allowed.`,
        { limit: maxBytes },
      );
    }
    await store.note(place.url, manifest);
    const open = async (progress, signal) => {
      progress("download", 0, description.bytes);
      let [done, cached] = [0, 0];
      const onBytes = (bytes, kept) =>
        progress("download", (done += bytes), description.bytes, (cached += kept));
      this.#loaded = await openModel(this.#wasm, {
        manifest,
        place,
        description,
        options: { store, onBytes, signal },
        progress,
        gpu: this.#gpu,
      });
      progress("compile", 1, 1);
    };
    await open(progress, signal);
    this.#again = open;
    const { title, license, width, height } = description;
    const notices = store.refusal ? [store.refusal] : [];
    const [device, card, memory] = [this.#loaded.device(), this.#loaded.card(), this.#loaded.memory()];
    return {
      result: {
        model: { id: description.id, title, license, sizes: [[width, height]] },
        device,
        card,
        memory,
        notices,
      },
    };
  }

  async generate({ canvas, ...options }, signal, arrived) {
    const started = performance.now();
    const image = await this.#restoring(() => this.#draw(options, canvas, signal));
    this.#drawn++;
    const { rgba, ids, timings, present, ...rest } = image;
    const memory = this.#loaded.memory();
    const result = {
      ...rest,
      rgba,
      ids,
      memory,
      timings: { queue: started - arrived, ...timings, present, total: performance.now() - arrived },
    };
    return { result, transfer: [rgba.buffer, ids.buffer] };
  }

  async profile({ prompt, noise }) {
    return { result: await this.#restoring(() => this.#loaded.profile(prompt, this.#noise(noise))) };
  }

  async png({ width, height, rgba, ids, prompt, noise, metadata }) {
    const file = this.#loaded.png(width, height, rgba, ids, prompt, this.#noise(noise), metadata);
    return { result: file, transfer: [file.buffer] };
  }

  /** An image, shown on the canvas if there is one; `present` are the milliseconds that took. */
  async #draw({ prompt, noise, stages, pixels }, canvas, signal) {
    const image = await this.#loaded.generate(
      prompt,
      this.#noise(noise),
      stages,
      !pixels,
      () => !signal.aborted,
    );
    const before = performance.now();
    if (canvas && !this.#loaded.show) {
      paint(this.#canvases.get(canvas.id), image);
    } else if (canvas) {
      if (this.#attached !== canvas.id) {
        this.#attached = undefined;
        await this.#loaded.attach(this.#canvases.get(canvas.id));
        this.#attached = canvas.id;
      }
      await this.#loaded.show();
    }
    return { ...image, present: performance.now() - before };
  }

  /** Does it, and once more with the same model on another device, with weights that are mostly here, if the device was lost meanwhile. */
  async #restoring(work) {
    try {
      return await work();
    } catch (lost) {
      if (lost?.kind !== "device-lost" || this.#drawn === 0) throw lost;
      [this.#attached, this.#drawn] = [undefined, 0];
      this.#loaded.free();
      this.#loaded = undefined;
      try {
        // An image that is given up meanwhile does not take the model with it.
        await this.#again(() => {}, new AbortController().signal);
      } catch {
        // What the caller has to know first is that the device is gone.
        throw lost;
      }
      return work();
    }
  }

  /** A call takes it. @param {{ seed: bigint } | { from: bigint, to: bigint, t: number } | { latent: Float32Array }} noise */
  #noise(noise) {
    const { Noise } = this.#wasm;
    if ("latent" in noise) return Noise.given(noise.latent);
    return "seed" in noise ? Noise.seed(noise.seed) : Noise.between(noise.from, noise.to, noise.t);
  }
}

/** Lets through the first and last number of a phase, and between them some twenty a second; the newest one always, if late. */
function throttle(post) {
  let last = { phase: undefined, at: -Infinity };
  let timer;
  const send = (numbers) => {
    clearTimeout(timer);
    timer = undefined;
    last = { phase: numbers[0], at: performance.now() };
    post(...numbers);
  };
  let newest;
  return (...numbers) => {
    const [phase, done, total] = (newest = numbers);
    const wait = last.at + 50 - performance.now();
    if (phase !== last.phase || done >= total || wait <= 0) send(numbers);
    else timer ??= setTimeout(() => send(newest), wait);
  };
}
