// What this browser can do, and what the model would cost it. Runs on the page: no worker, no module, no bytes but the manifest's.
import { OneStepError } from "../public/errors.js";
import { fetchManifest, placeOf } from "./loading.js";
import { readManifest } from "./manifest.js";
import { ofDevice } from "./gpu.js";
import { bytesHere, openStore } from "./store.js";

/** Software that does a GPU's work names itself like this. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/** A module whose one function makes a vector of 128 bits: whether the browser takes it says whether it can run the CPU path. */
const VECTORS = Uint8Array.of(
  0,
  97,
  115,
  109,
  1,
  0,
  0,
  0,
  1,
  5,
  1,
  96,
  0,
  1,
  123,
  3,
  2,
  1,
  0,
  10,
  10,
  1,
  8,
  0,
  65,
  0,
  253,
  15,
  253,
  98,
  11,
);

/** @type {typeof import("../../index.js").probe} */
export async function probe(bundle, options = {}) {
  const { place, sha256 } = placeOf(bundle);
  const store = openStore();
  const [{ model, bytes, chunks }, found, room] = await Promise.all([
    fetchManifest(place, sha256, { signal: options.signal, store }).then(readManifest),
    choose(options.backend, sourceOf(options)),
    free(),
  ]);
  const cachedBytes = place.files ? bytes : await bytesHere(store, chunks);
  return {
    ...found,
    model,
    downloadBytes: bytes - cachedBytes,
    cachedBytes,
    ...(room === undefined ? {} : { freeBytes: room }),
  };
}

/** What the browser lets this page keep, as far as it tells. */
async function free() {
  try {
    const { quota, usage } = await navigator.storage.estimate();
    return Math.max(0, quota - usage);
  } catch {
    return undefined;
  }
}

/**
 * What would compute, and the sentences that say why it is not a graphics processor.
 * @param {import("../../index.js").BackendChoice} [wanted]
 * @param {GPU} [gpu] from elsewhere than `navigator`
 */
export async function choose(wanted = "auto", gpu = globalThis.navigator?.gpu) {
  if (!["auto", "webgpu", "cpu"].includes(wanted)) {
    throw new OneStepError(
      "invalid-option",
      `${String(wanted).slice(0, 50)} is nothing that computes; there are auto, webgpu and cpu.`,
    );
  }
  if (globalThis.isSecureContext === false) {
    const reason =
      "This page was opened by an insecure address, for which browsers switch off WebGPU and what the model is checked with. Open it by https:// or on localhost.";
    return { backend: null, reasons: [reason] };
  }
  const { reason, adapter } = wanted === "cpu" ? {} : await findAdapter(gpu);
  const none = reason !== undefined;
  if (wanted === "webgpu") {
    if (none) return { backend: null, reasons: [reason] };
    return {
      backend: "webgpu",
      reasons: adapter.software
        ? ["Only a software adapter was found: it works, but much slower than a graphics processor."]
        : [],
      adapter,
    };
  }
  if (wanted === "auto" && !none && !adapter.software) return { backend: "webgpu", reasons: [], adapter };
  if (!globalThis.WebAssembly?.validate(VECTORS)) {
    // A slow GPU is better than none.
    if (wanted === "auto" && !none)
      return {
        backend: "webgpu",
        reasons: ["Only a software adapter was found: it works, but much slower than a graphics processor."],
        adapter,
      };
    const vectors =
      "This browser's WebAssembly has no vectors of 128 bits, which the model needs where it runs on the processor.";
    return { backend: null, reasons: none ? [reason, vectors] : [vectors] };
  }
  const why = {
    cpu: [],
    auto: none
      ? [reason]
      : ["Only a software adapter was found, and the processor itself is faster than that."],
  }[wanted];
  return {
    backend: "cpu",
    reasons: [...why, "The model runs on the processor."],
    ...(adapter ? { adapter } : {}),
  };
}

/** Where WebGPU comes from, if the caller says so. @param {{ gpu?: GPU, device?: GPUDevice }} options */
export const sourceOf = ({ gpu, device }) => (device === undefined ? gpu : ofDevice(device));

/** The adapter, or the sentence that says why there is none. */
async function findAdapter(gpu) {
  if (!gpu && globalThis.document === undefined && globalThis.WorkerGlobalScope === undefined) {
    return {
      reason:
        "There is no browser here and no WebGPU, with which the model would run faster. For Node.js there is the package webgpu; give its GPU as the option gpu.",
    };
  }
  if (!gpu) {
    return {
      reason:
        "This browser has no WebGPU, with which the model would run faster. Chrome and Edge have it since version 113, Safari since 26, Firefox since 141 on Windows and 145 on macOS.",
    };
  }
  let adapter = null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch {
    // The same as none.
  }
  if (!adapter) {
    return {
      reason:
        "This browser has WebGPU but gives no graphics adapter. Hardware acceleration may be switched off in its settings, or the graphics driver is too old.",
    };
  }
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  const software =
    adapter.info?.isFallbackAdapter === true || SOFTWARE.test(`${vendor} ${architecture} ${description}`);
  return { adapter: { vendor, architecture, software, f16: adapter.features.has("shader-f16") } };
}
