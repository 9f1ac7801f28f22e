import { Channel } from "../internal/channel.js";
import { chooseBackend } from "../internal/choose-backend.js";
import { InThreadWorker } from "../internal/in-thread-worker.js";
import { gpuSource } from "../internal/gpu-source.js";
import { locateBundle } from "../internal/bundle-location.js";
import { buildsIn, packagedBuilds } from "../internal/wasm-builds.js";
import { OneStepError } from "./errors.js";
import { Model } from "./model.js";

/** @import { BundleRef, LoadOptions } from "./types.js" */

/**
 * Downloads, verifies and compiles a model.
 * @param {BundleRef} bundle The bundle.
 * @param {LoadOptions} [options] What computes, where, and how much may be downloaded.
 * @returns {Promise<Model>}
 */
export async function load(bundle, options = {}) {
  const { signal, onProgress, maxBytes, cache = "persistent" } = options;
  signal?.throwIfAborted();
  const { location, sha256 } = locateBundle(bundle);
  if (maxBytes !== undefined && !(maxBytes >= 0)) {
    throw new OneStepError("invalid-option", "maxBytes must be a number of bytes.");
  }
  if (cache !== "persistent" && cache !== "memory") {
    throw new OneStepError("invalid-option", "cache must be persistent or memory.");
  }
  const gpu = gpuSource(options);
  const inThread = gpu !== undefined || options.worker === false || globalThis.Worker === undefined;
  if (inThread && typeof options.worker === "function") {
    throw new OneStepError(
      "invalid-option",
      "A GPU or a device of your own cannot be sent to a worker; leave out one of them.",
    );
  }
  const { backend, reasons } = await chooseBackend(options.backend, gpu);
  if (backend === null) throw new OneStepError("unsupported", reasons[0]);
  const builds = options.assets === undefined ? packagedBuilds() : buildsIn(options.assets);

  const worker = inThread ? new InThreadWorker(gpu) : (options.worker || startWorker)();
  const channel = new Channel(worker);
  try {
    const loadArguments = {
      location,
      sha256,
      builds,
      maxBytes,
      backend,
      cache: inThread ? /** @type {const} */ ("memory") : cache,
    };
    const loaded = await channel.call("load", loadArguments, { signal, onProgress });
    return new Model(channel, backend, loaded);
  } catch (error) {
    const reason =
      error instanceof OneStepError ? error : new OneStepError("disposed", "Loading was cancelled.");
    channel.close(reason);
    throw error;
  }
}

// One expression: bundlers find it and bundle the worker.
const startWorker = () => new Worker(new URL("../internal/worker.js", import.meta.url), { type: "module" });
