import { chooseBackend } from "../internal/choose-backend.js";
import { fetchManifest } from "../internal/download.js";
import { gpuSource } from "../internal/gpu-source.js";
import { locateBundle } from "../internal/bundle-location.js";
import { readManifest } from "../internal/manifest.js";
import { openStore, storedBytes } from "../internal/store.js";

/** @import { BundleRef, Probe, ProbeOptions } from "./types.js" */

/**
 * Finds out what loading a model would cost and whether this browser can run it. Downloads the manifest and
 * nothing else, and starts no worker.
 * @param {BundleRef} bundle The bundle.
 * @param {ProbeOptions} [options] The backend, and where WebGPU comes from.
 * @returns {Promise<Probe>}
 */
export async function probe(bundle, options = {}) {
  const { location, sha256 } = locateBundle(bundle);
  const store = openStore();
  const [{ model, bytes, chunks }, choice, freeBytes] = await Promise.all([
    fetchManifest(location, sha256, { signal: options.signal, store }).then(readManifest),
    chooseBackend(options.backend, gpuSource(options)),
    freeStorage(),
  ]);
  const cachedBytes = location.files ? bytes : await storedBytes(store, chunks);
  return {
    ...choice,
    model,
    downloadBytes: bytes - cachedBytes,
    cachedBytes,
    ...(freeBytes === undefined ? {} : { freeBytes }),
  };
}

/** Bytes that the browser would store for this origin besides, if it says so. */
async function freeStorage() {
  try {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    return Math.max(0, quota - usage);
  } catch {
    return undefined;
  }
}
