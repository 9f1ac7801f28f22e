// WebGPU from elsewhere than `navigator`: a package of Node.js, or a device that the caller has already.
import { OneStepError } from "../public/errors.js";

/** Those who borrow `navigator.gpu`, one after another. */
let turn = Promise.resolve();

/**
 * Does what asks for a device, with `gpu` in the place of `navigator.gpu`, where the wasm module looks for it. It is there until the module has asked it
 * for an adapter, a few steps of the queue of microtasks later.
 * @template T
 * @param {GPU | undefined} gpu
 * @param {() => Promise<T>} begin
 * @returns {Promise<T>}
 */
export async function lend(gpu, begin) {
  if (gpu === undefined) return begin();
  const before = turn;
  let done;
  turn = new Promise((resolve) => (done = resolve));
  await before;
  const restores = [];
  const put = (object, name, value) => {
    const own = Object.getOwnPropertyDescriptor(object, name);
    Object.defineProperty(object, name, { value, configurable: true, writable: true });
    restores.push(() => (own ? Object.defineProperty(object, name, own) : delete object[name]));
  };
  const restore = () => {
    for (const back of restores.splice(0).reverse()) back();
    done();
  };
  if (globalThis.navigator === undefined) put(globalThis, "navigator", {});
  // By these the module knows that it may look.
  if (globalThis.Window === undefined && globalThis.WorkerGlobalScope === undefined)
    put(globalThis, "WorkerGlobalScope", class {});
  put(globalThis.navigator, "gpu", {
    requestAdapter(options) {
      restore();
      return gpu.requestAdapter(options);
    },
    getPreferredCanvasFormat: () => gpu.getPreferredCanvasFormat(),
    wgslLanguageFeatures: gpu.wgslLanguageFeatures ?? new Set(),
  });
  try {
    return await begin();
  } finally {
    restore();
  }
}

/**
 * A device of the caller's as what the module asks for a device. Its handler of errors stays the caller's.
 * @param {GPUDevice} device
 * @returns {any}
 */
export function ofDevice(device) {
  if (typeof device?.createBuffer !== "function")
    throw new OneStepError("invalid-option", "device must be a GPUDevice.");
  const info = device.adapterInfo ?? {};
  const adapter = {
    info,
    features: device.features,
    limits: device.limits,
    isFallbackAdapter: info.isFallbackAdapter === true,
    async requestDevice() {
      const theirs = device.onuncapturederror;
      // The module sets its own in the next steps. What goes wrong in its own calls it is told all the same, by scopes of errors.
      setTimeout(() => (device.onuncapturederror = theirs));
      return device;
    },
  };
  return {
    async requestAdapter() {
      return adapter;
    },
    getPreferredCanvasFormat: () => globalThis.navigator.gpu.getPreferredCanvasFormat(),
  };
}
