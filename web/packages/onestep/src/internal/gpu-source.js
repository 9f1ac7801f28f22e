// WebGPU that does not come from `navigator.gpu`: a package of Node.js, or a device of the caller.
import { OneStepError } from "../public/errors.js";

/** The last caller of `withGpu`, for which the next one waits. */
let previous = Promise.resolve();

/**
 * Calls `requestDevice` with `gpu` in place of `navigator.gpu`, where the WebAssembly build looks for it. It
 * stays there until the build requests an adapter, which it does a few microtasks later.
 * @template T
 * @param {GPU | undefined} gpu
 * @param {() => Promise<T>} requestDevice
 * @returns {Promise<T>}
 */
export async function withGpu(gpu, requestDevice) {
  if (gpu === undefined) return requestDevice();
  const before = previous;
  let release = () => {};
  previous = new Promise((resolve) => (release = resolve));
  await before;
  /** @type {(() => void)[]} */
  const restores = [];
  /** @param {any} object @param {string} name @param {unknown} value */
  const put = (object, name, value) => {
    const original = Object.getOwnPropertyDescriptor(object, name);
    Object.defineProperty(object, name, { value, configurable: true, writable: true });
    restores.push(() => {
      if (original) Object.defineProperty(object, name, original);
      else delete object[name];
    });
  };
  const restore = () => {
    for (const back of restores.splice(0).reverse()) back();
    release();
  };
  if (globalThis.navigator === undefined) put(globalThis, "navigator", {});
  // The build looks for WebGPU only where one of these exists.
  const scope = /** @type {any} */ (globalThis);
  if (scope.Window === undefined && scope.WorkerGlobalScope === undefined) {
    put(globalThis, "WorkerGlobalScope", class {});
  }
  put(globalThis.navigator, "gpu", {
    /** @param {GPURequestAdapterOptions} options */
    requestAdapter(options) {
      restore();
      return gpu.requestAdapter(options);
    },
    getPreferredCanvasFormat: () => gpu.getPreferredCanvasFormat(),
    wgslLanguageFeatures: gpu.wgslLanguageFeatures ?? new Set(),
  });
  try {
    return await requestDevice();
  } finally {
    restore();
  }
}

/**
 * WebGPU of the caller, if there is one.
 * @param {{ gpu?: GPU, device?: GPUDevice }} options
 * @returns {GPU | undefined}
 */
export const gpuSource = ({ gpu, device }) => (device === undefined ? gpu : gpuOfDevice(device));

/**
 * A GPU with one device, the caller's. The device keeps the caller's handler of uncaptured errors.
 * @param {GPUDevice} device
 * @returns {GPU}
 */
function gpuOfDevice(device) {
  if (typeof device?.createBuffer !== "function") {
    throw new OneStepError("invalid-option", "device must be a GPUDevice.");
  }
  const info = /** @type {Partial<GPUAdapterInfo>} */ (device.adapterInfo ?? {});
  const adapter = {
    info,
    features: device.features,
    limits: device.limits,
    isFallbackAdapter: info.isFallbackAdapter === true,
    async requestDevice() {
      const handler = device.onuncapturederror;
      // The build sets its handler next. It learns of its errors through error scopes all the same.
      setTimeout(() => (device.onuncapturederror = handler));
      return device;
    },
  };
  const gpu = {
    async requestAdapter() {
      return adapter;
    },
    getPreferredCanvasFormat: () => globalThis.navigator.gpu.getPreferredCanvasFormat(),
  };
  return /** @type {GPU} */ (/** @type {unknown} */ (gpu));
}
