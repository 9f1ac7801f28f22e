// What this browser can do, and what the model would cost it. Runs on the page: no worker, no wasm, no bytes but the manifest's.
import { bundleAddress, fetchManifest } from "./loading.js";
import { readManifest } from "./manifest.js";

/** Software that does a GPU's work names itself like this. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/** @type {typeof import("../../index.js").probe} */
export async function probe(bundle, options = {}) {
  const { url, sha256 } = bundleAddress(bundle);
  const [manifest, found] = await Promise.all([fetchManifest(url, sha256, options.signal).then(readManifest), findAdapter()]);
  return { ...found, model: manifest.model, downloadBytes: manifest.bytes };
}

/** The adapter that would be used, or the sentence that says why there is none. */
export async function findAdapter() {
  const none = (reason) => ({ backend: null, reasons: [reason] });
  if (globalThis.navigator === undefined) {
    return none("There is no browser here, and the model runs in a browser's WebGPU.");
  }
  if (!globalThis.isSecureContext) {
    return none("This page was opened by an insecure address, for which browsers switch WebGPU off. Open it by https:// or on localhost.");
  }
  if (!navigator.gpu) {
    return none("This browser has no WebGPU, which the model needs. Chrome and Edge have it since version 113, Safari since 26, Firefox since 141 on Windows and 145 on macOS.");
  }
  let adapter = null;
  try {
    adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch {
    // The same as none.
  }
  if (!adapter) {
    return none("This browser has WebGPU but gives no graphics adapter. Hardware acceleration may be switched off in its settings, or the graphics driver is too old.");
  }
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  const software = adapter.info?.isFallbackAdapter === true || SOFTWARE.test(`${vendor} ${architecture} ${description}`);
  const reasons = software ? ["Only a software adapter was found: it works, but much slower than a graphics processor."] : [];
  return { backend: "webgpu", reasons, adapter: { vendor, architecture, software, f16: adapter.features.has("shader-f16") } };
}
