// What computes: WebGPU, or the CPU by one of two WebAssembly builds.
import { OneStepError } from "../public/errors.js";

/** @import { Adapter, Backend, BackendChoice } from "../public/types.js" */
/** @import { BuildName } from "./wasm-builds.js" */

/** Names of software rasterisers. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/** A WebAssembly module with a 128-bit vector: valid if the browser can run a build for the CPU. */
const SIMD_MODULE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0],
  ...[10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
);

/** A WebAssembly module that multiplies and adds vectors in one instruction: valid with relaxed SIMD. */
const RELAXED_SIMD_MODULE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0],
  ...[10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2, 253, 133, 2, 11],
);

const INSECURE =
  "This page was opened by an insecure address, for which browsers switch off WebGPU and the hashes that " +
  "verify a model. Open it by https:// or on localhost.";
const NO_SIMD =
  "This browser's WebAssembly has no 128-bit vectors (SIMD), which the model needs where it runs on the CPU.";
const SLOW_GPU = "Only a software adapter was found: it works, but is much slower than a GPU.";
const FASTER_CPU = "Only a software adapter was found, and WebAssembly is faster than that.";
const ON_CPU = "The model runs on the CPU.";
const NO_BROWSER =
  "There is no browser here and no WebGPU, with which the model would run faster. For Node.js there is the " +
  "package webgpu; give its GPU as the option gpu.";
const NO_WEBGPU =
  "This browser has no WebGPU, with which the model would run faster. Chrome and Edge have it since version " +
  "113, Safari since 26, Firefox since 141 on Windows and 145 on macOS.";
const NO_ADAPTER =
  "This browser has WebGPU but gives no graphics adapter. Hardware acceleration may be switched off in its " +
  "settings, or the graphics driver is too old.";

/**
 * The backend, and the sentences that say why it is not the GPU; at least one if `backend` is null.
 * @typedef {{ backend: Backend | null, reasons: string[], adapter?: Adapter }} Choice
 */

/**
 * Chooses between WebGPU and the CPU.
 * @param {BackendChoice} [wanted]
 * @param {GPU} [gpu] WebGPU, if it does not come from `navigator`
 * @returns {Promise<Choice>}
 */
export async function chooseBackend(wanted = "auto", gpu = globalThis.navigator?.gpu) {
  if (!["auto", "webgpu", "cpu"].includes(wanted)) {
    throw new OneStepError(
      "invalid-option",
      `The backend must be auto, webgpu or cpu, and is ${String(wanted).slice(0, 50)}.`,
    );
  }
  if (globalThis.isSecureContext === false) return { backend: null, reasons: [INSECURE] };
  const hasSimd = Boolean(globalThis.WebAssembly?.validate(SIMD_MODULE));
  if (wanted === "cpu") {
    return hasSimd ? { backend: "cpu", reasons: [ON_CPU] } : { backend: null, reasons: [NO_SIMD] };
  }
  const found = await findAdapter(gpu);
  if ("missing" in found) {
    if (wanted === "webgpu") return { backend: null, reasons: [found.missing] };
    if (!hasSimd) return { backend: null, reasons: [found.missing, NO_SIMD] };
    return { backend: "cpu", reasons: [found.missing, ON_CPU] };
  }
  const { adapter } = found;
  if (!adapter.software) return { backend: "webgpu", reasons: [], adapter };
  // A software adapter is better than nothing.
  if (wanted === "webgpu" || !hasSimd) return { backend: "webgpu", reasons: [SLOW_GPU], adapter };
  return { backend: "cpu", reasons: [FASTER_CPU, ON_CPU], adapter };
}

/**
 * Chooses the WebAssembly build for a backend: the one that drives WebGPU, or one of the two that compute on
 * the CPU.
 * @param {Backend} backend
 * @returns {BuildName}
 */
export function chooseBuild(backend) {
  if (backend === "webgpu") return "onestep-wasm";
  return WebAssembly.validate(RELAXED_SIMD_MODULE) ? "onestep-wasm-cpu-relaxed" : "onestep-wasm-cpu";
}

/**
 * The adapter, or the sentence that says why there is none.
 * @param {GPU | undefined} gpu
 * @returns {Promise<{ adapter: Adapter } | { missing: string }>}
 */
async function findAdapter(gpu) {
  if (!gpu) {
    const scope = /** @type {any} */ (globalThis);
    const isBrowser = scope.document !== undefined || scope.WorkerGlobalScope !== undefined;
    return { missing: isBrowser ? NO_WEBGPU : NO_BROWSER };
  }
  let adapter = null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch {
    // The same as none.
  }
  if (!adapter) return { missing: NO_ADAPTER };
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  const names = `${vendor} ${architecture} ${description}`;
  const software = adapter.info?.isFallbackAdapter === true || SOFTWARE.test(names);
  return { adapter: { vendor, architecture, software, f16: adapter.features.has("shader-f16") } };
}
