// The page's side of the worker: calls that become messages, answers that become promises.
import { OneStepError } from "../public/errors.js";
import { Engine } from "./engine.js";
import { choose, sourceOf } from "./probe.js";
import { placeOf } from "./loading.js";
import { among, packaged } from "./modules.js";
import { check, noiseOf } from "./noise.js";

/** @type {typeof import("../../index.js").load} */
export async function load(bundle, options = {}) {
  const { signal, onProgress, maxBytes } = options;
  signal?.throwIfAborted();
  const { place, sha256 } = placeOf(bundle);
  if (maxBytes !== undefined && !(maxBytes >= 0))
    throw new OneStepError("invalid-option", "maxBytes must be a number of bytes.");
  const { cache = "persistent" } = options;
  if (cache !== "persistent" && cache !== "memory")
    throw new OneStepError("invalid-option", "cache must be persistent or memory.");
  const gpu = sourceOf(options);
  const beside = gpu !== undefined || options.worker === false || globalThis.Worker === undefined;
  if (beside && typeof options.worker === "function")
    throw new OneStepError(
      "invalid-option",
      "A GPU or a device of your own cannot be sent to a worker; leave out one of them.",
    );
  const { backend, reasons } = await choose(options.backend, gpu);
  if (backend === null) throw new OneStepError("unsupported", reasons[0]);
  const modules = options.assets === undefined ? packaged() : among(options.assets);

  const channel = new Channel(
    beside
      ? new Beside(gpu)
      : (options.worker?.() ?? new Worker(new URL("./worker.js", import.meta.url), { type: "module" })),
  );
  try {
    const loaded = await channel.call(
      "load",
      { place, sha256, modules, maxBytes, backend, cache: beside ? "memory" : cache },
      { signal, onProgress },
    );
    return new Client(channel, backend, loaded);
  } catch (error) {
    channel.close(
      error instanceof OneStepError ? error : new OneStepError("disposed", "Loading was cancelled."),
    );
    throw error;
  }
}

/** An engine on the caller's own thread, in the place of a worker: for devices that cannot be sent to one, and where there are no workers. */
class Beside {
  #engine;
  onmessage;

  /** @param {GPU} [gpu] */
  constructor(gpu) {
    this.#engine = new Engine((data) => this.onmessage({ data }), gpu);
  }
  postMessage(data) {
    this.#engine.receive(data);
  }
  terminate() {
    this.#engine.end();
  }
}

/** Numbered calls to a worker. Every promise settles, also when the worker is gone. */
class Channel {
  #worker;
  #calls = new Map();
  #next = 0;
  #closed;
  #lose;
  /** Resolves when the worker is gone without having been told to. */
  lost = new Promise((resolve) => (this.#lose = resolve));

  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onmessageerror = () =>
      this.#fail(new OneStepError("internal", "A message of the page's worker could not be read."));
    worker.onerror = (event) => {
      event.preventDefault?.();
      this.#fail(
        new OneStepError(
          "internal",
          `The page's worker could not be started or has stopped${event.message ? `: ${event.message}` : "."}`,
        ),
      );
    };
  }

  throwIfClosed() {
    if (this.#closed) throw this.#closed;
  }

  call(name, data, { signal, onProgress, transfer = [] } = {}) {
    if (this.#closed) return Promise.reject(this.#closed);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#worker.postMessage({ cancel: id });
        settle(reject)(signal.reason);
      };
      const settle = (how) => (value) => {
        signal?.removeEventListener("abort", abort);
        this.#calls.delete(id);
        how(value);
      };
      this.#calls.set(id, { resolve: settle(resolve), reject: settle(reject), onProgress });
      signal?.addEventListener("abort", abort);
      this.#worker.postMessage({ id, call: name, ...data }, transfer);
    });
  }

  #receive({ id, progress, result, error }) {
    const call = this.#calls.get(id);
    if (error) {
      const { kind, message, detail, fatal } = error;
      const failure = new OneStepError(kind === "cancelled" ? "disposed" : kind, message, detail);
      call?.reject(failure);
      if (fatal || kind === "device-lost") this.#fail(failure);
    } else if (progress) {
      call?.onProgress?.(progress);
    } else {
      call?.resolve(result);
    }
  }

  #fail(error) {
    if (this.#closed) return;
    this.close(error);
    this.#lose(error);
  }

  /** Ends the worker and with it everything it holds. */
  close(error) {
    if (this.#closed) return;
    this.#closed = error;
    this.#worker.terminate();
    for (const call of [...this.#calls.values()]) call.reject(error);
  }
}

/** Numbers of the canvases that were handed over; a canvas can be handed over once. */
const handed = new WeakMap();
let nextCanvas = 0;

class Client {
  #channel;
  /** Ends the live image that is under way. */
  #overtake;

  constructor(channel, backend, { model, device, card, memory, notices }) {
    this.#channel = channel;
    this.memoryBytes = memory;
    this.backend = backend;
    this.model = model;
    this.device = device;
    this.card = card;
    this.notices = notices;
    this.lost = channel.lost;
  }

  async generate(prompt, options = {}) {
    const noise = noiseOf(options);
    const { stages = false, pixels = true } = options;
    if (typeof prompt !== "string") throw new OneStepError("invalid-option", "The prompt must be text.");
    // Before the canvas is handed over, which cannot be undone.
    this.#channel.throwIfClosed();
    options.signal?.throwIfAborted();
    const [canvas, transfer] = this.#hand(options.canvas);
    const result = await this.#channel.call(
      "generate",
      { prompt, noise, canvas, stages: Boolean(stages), pixels: Boolean(pixels) },
      { signal: options.signal, transfer },
    );
    this.memoryBytes = result.memory;
    return new Image(this.#channel, prompt, noise, result);
  }

  async profile(prompt, options = {}) {
    if (typeof prompt !== "string") throw new OneStepError("invalid-option", "The prompt must be text.");
    return this.#channel.call("profile", { prompt, noise: noiseOf(options) }, { signal: options.signal });
  }

  async live(prompt, options = {}) {
    this.#overtake?.();
    const newer = new AbortController();
    const overtake = () => newer.abort();
    this.#overtake = overtake;
    try {
      return await this.generate(prompt, {
        ...options,
        signal: options.signal ? AbortSignal.any([options.signal, newer.signal]) : newer.signal,
      });
    } catch (error) {
      if (newer.signal.aborted && error === newer.signal.reason) return null;
      throw error;
    } finally {
      if (this.#overtake === overtake) this.#overtake = undefined;
    }
  }

  async *walk(prompt, seeds, frames, options = {}) {
    const stops = [...seeds].map(check);
    if (stops.length < 2) throw new OneStepError("invalid-option", "A walk goes between two seeds or more.");
    if (!Number.isSafeInteger(frames) || frames < 1)
      throw new OneStepError(
        "invalid-option",
        "The frames from one seed to the next must be a whole number from 1.",
      );
    for (let stop = 0; stop + 1 < stops.length; stop++) {
      for (let frame = 0; frame < frames; frame++) {
        const noise =
          frame === 0 ? { seed: stops[stop] } : { from: stops[stop], to: stops[stop + 1], t: frame / frames };
        yield await this.generate(prompt, { ...options, noise });
      }
    }
    yield await this.generate(prompt, { ...options, noise: { seed: stops.at(-1) } });
  }

  async dispose() {
    this.#channel.close(new OneStepError("disposed", "The model has been disposed of."));
  }
  [Symbol.asyncDispose ?? Symbol("asyncDispose")]() {
    return this.dispose();
  }

  #hand(canvas) {
    if (canvas === undefined) return [undefined, []];
    const known = handed.get(canvas);
    if (known?.channel === this.#channel) return [{ id: known.id }, []];
    if (known)
      throw new OneStepError("invalid-option", "This canvas was handed to another model; take a new one.");
    let surface;
    try {
      surface = canvas instanceof HTMLCanvasElement ? canvas.transferControlToOffscreen() : canvas;
    } catch {
      throw new OneStepError(
        "invalid-option",
        "This canvas has a context already, so the model cannot draw on it; take a new one.",
      );
    }
    const id = nextCanvas++;
    handed.set(canvas, { id, channel: this.#channel });
    return [{ id, surface }, [surface]];
  }
}

class Image {
  #channel;
  #rgba;
  #ids;

  constructor(channel, prompt, noise, { width, height, rgba, ids, timings, reading }) {
    Object.assign(this, { width, height, prompt, noise, seed: noise.seed, timings, reading });
    this.#channel = channel;
    this.#rgba = rgba;
    this.#ids = ids;
  }

  pixels() {
    this.#throwIfLeft();
    const { width, height } = this;
    const data = new Uint8ClampedArray(this.#rgba);
    // Outside of browsers there is no such class; the same three things are.
    return globalThis.ImageData
      ? new ImageData(data, width, height)
      : { data, width, height, colorSpace: "srgb" };
  }

  async png({ metadata = true } = {}) {
    this.#throwIfLeft();
    const { width, height, prompt, noise } = this;
    const file = await this.#channel.call("png", {
      width,
      height,
      rgba: this.#rgba,
      ids: this.#ids,
      prompt,
      noise,
      metadata,
    });
    return new Blob([file], { type: "image/png" });
  }

  #throwIfLeft() {
    if (this.#rgba.length === 0)
      throw new OneStepError(
        "invalid-option",
        "This image was asked for without its pixels; they are on the canvas alone.",
      );
  }
}
