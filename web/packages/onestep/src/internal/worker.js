// The worker: it alone holds the wasm module, the GPU and the canvases. One message is one call; calls are done in their order.
//
// In:  { id, call, ... } or { cancel: id }
// Out: { id, progress } any number of times, then { id, result } or { id, error }
import { OneStepError } from "../public/errors.js";
import { fetchFile, fetchManifest } from "./loading.js";
import { openStore } from "./store.js";
import { recallForms, rememberForms } from "./forms.js";
import { paint } from "./paint.js";
import { compileAhead, uploadWeights } from "./upload.js";

/** A module whose one function multiplies and adds vectors in one instruction, which relaxed SIMD has and not every browser. */
const FUSED = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0],
  ...[10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2, 253, 133, 2, 11],
);

/** A module has one path; the others are not fetched. */
const MODULES = { webgpu: "onestep-wasm", cpu: WebAssembly.validate(FUSED) ? "onestep-wasm-cpu-relaxed" : "onestep-wasm-cpu" };

/** The wasm module's side of the boundary, once it is there. */
let wasm;
/** The loaded model, and how it is loaded again. */
let loaded;
let again;
/** Canvases that were handed over, by the number that the client gave them, and the one that the GPU shows on. */
const canvases = new Map();
let attached;
/** Calls that have not been answered. */
const controllers = new Map();
let queue = Promise.resolve();

/** Pictures since the model was loaded. A device that is lost before it has drawn one is not asked for again. */
let drawn = 0;

self.onmessage = ({ data }) => {
  if (data.cancel !== undefined) {
    controllers.get(data.cancel)?.abort();
    return;
  }
  // Kept even if the call is cancelled before its turn: a canvas is handed over once.
  if (data.canvas?.surface) canvases.set(data.canvas.id, data.canvas.surface);
  const controller = new AbortController();
  controllers.set(data.id, controller);
  const arrived = performance.now();
  queue = queue.then(() => answer(data, controller.signal, arrived)).finally(() => controllers.delete(data.id));
};

async function answer(data, signal, arrived) {
  try {
    signal.throwIfAborted();
    const { result, transfer } = await CALLS[data.call](data, signal, arrived);
    self.postMessage({ id: data.id, result }, transfer ?? []);
  } catch (error) {
    self.postMessage({ id: data.id, error: describe(error) });
  }
}

const CALLS = {
  async load({ id, place, sha256, modules, maxBytes, backend, cache }, signal) {
    const progress = throttle((phase, done, total, cached = 0) => self.postMessage({ id, progress: { phase, done, total, cached } }));
    // Files of this device are there the next time without being kept.
    const store = openStore(place.files ? "memory" : cache);
    const [manifest] = await Promise.all([fetchManifest(place, sha256, { signal, store }), start(modules[MODULES[backend]])]);
    const description = wasm.describe(manifest);
    if (maxBytes !== undefined && description.bytes > maxBytes) {
      throw new OneStepError("invalid-option", `The model has ${description.bytes} bytes, and no more than ${maxBytes} were allowed.`, { limit: maxBytes });
    }
    await store.note(place.url, manifest);
    const open = async (progress, signal) => {
      progress("download", 0, description.bytes);
      let [done, cached] = [0, 0];
      const onBytes = (bytes, kept) => progress("download", (done += bytes), description.bytes, (cached += kept));
      loaded = await (wasm.begin ? loadOnGpu : loadInMemory)({ manifest, place, description, options: { store, onBytes, signal }, progress });
      progress("compile", 1, 1);
    };
    await open(progress, signal);
    again = open;
    const { title, license, width, height } = description;
    const notices = store.refusal ? [store.refusal] : [];
    return { result: { model: { id: description.id, title, license, sizes: [[width, height]] }, device: loaded.device(), card: loaded.card(), notices } };
  },

  async generate({ canvas, ...options }, signal, arrived) {
    const started = performance.now();
    let picture;
    try {
      picture = await draw(options, canvas, signal);
    } catch (error) {
      if (error?.kind !== "device-lost" || drawn === 0) throw error;
      await restore(error);
      picture = await draw(options, canvas, signal);
    }
    drawn++;
    const { rgba, ids, timings, present, ...rest } = picture;
    const result = { ...rest, rgba, ids, timings: { queue: started - arrived, ...timings, present, total: performance.now() - arrived } };
    return { result, transfer: [rgba.buffer, ids.buffer] };
  },

  async png({ width, height, rgba, ids, prompt, noise, metadata }) {
    const file = loaded.png(width, height, rgba, ids, prompt, noiseOf(noise), metadata);
    return { result: file, transfer: [file.buffer] };
  },
};

/** A picture, shown on the canvas if there is one; `present` are the milliseconds that took. */
async function draw({ prompt, noise, stages, pixels }, canvas, signal) {
  const picture = await loaded.generate(prompt, noiseOf(noise), stages, !pixels, () => !signal.aborted);
  const before = performance.now();
  if (canvas && !loaded.show) {
    paint(canvases.get(canvas.id), picture);
  } else if (canvas) {
    if (attached !== canvas.id) {
      attached = undefined;
      await loaded.attach(canvases.get(canvas.id));
      attached = canvas.id;
    }
    await loaded.show();
  }
  return { ...picture, present: performance.now() - before };
}

/** The same model on another device, with weights that are mostly here. */
async function restore(lost) {
  [attached, drawn] = [undefined, 0];
  loaded.free();
  loaded = undefined;
  try {
    // A picture that is given up meanwhile does not take the model with it.
    await again(() => {}, new AbortController().signal);
  } catch {
    // What the caller has to know first is that the device is gone.
    throw lost;
  }
}

/** A call takes it. @param {{ seed: bigint } | { from: bigint, to: bigint, t: number } | { latent: Float32Array }} noise */
function noiseOf(noise) {
  if ("latent" in noise) return wasm.Noise.given(noise.latent);
  return "seed" in noise ? wasm.Noise.seed(noise.seed) : wasm.Noise.between(noise.from, noise.to, noise.t);
}

/** The module has all files, and computes itself. */
async function loadInMemory({ manifest, place, description, options, progress }) {
  const files = new wasm.Files(manifest);
  for (const entry of description.files) files.add(entry.name, await fetchFile(place, entry, options));
  progress("verify", 0, 1);
  return wasm.open(files, (stage, done, total) => {
    if (stage === "compile") progress("compile", done, total);
    return !options.signal.aborted;
  });
}

/** What the programs are comes first; while the weights come, straight to the device, the kernels are compiled. */
async function loadOnGpu({ manifest, place, description, options, progress }) {
  const files = new wasm.Files(manifest);
  const isWeights = ({ name }) => description.weights.includes(name);
  const add = async (entry) => files.add(entry.name, await fetchFile(place, entry, options));
  await Promise.all(description.files.filter((entry) => !isWeights(entry)).map(add));
  const going = () => !options.signal.aborted;
  const loading = await wasm.begin(files, await recallForms(), going);
  const forms = loading.remember();
  if (forms !== undefined) rememberForms(forms);
  let finishing = false;
  try {
    let [compiled, fetched] = [[0, 1], false];
    const compiling = compileAhead(loading, (...counts) => {
      compiled = counts;
      if (fetched) progress("compile", ...compiled);
    });
    for (const [number, name] of description.weights.entries()) {
      const entry = description.files.find((entry) => entry.name === name);
      await uploadWeights(place, entry, number, loading, options);
    }
    fetched = true;
    progress("compile", ...compiled);
    const kept = await compiling;
    options.signal.throwIfAborted();
    finishing = true;
    const model = await loading.finish(going);
    // Not before the module's own pipelines are there.
    kept.length = 0;
    return model;
  } finally {
    if (!finishing) loading.free();
  }
}

/** Loads a wasm module once. */
async function start([script, bytes]) {
  if (wasm) return;
  const missing = (address) => {
    const file = new URL(address).pathname.split("/").pop();
    return new OneStepError("network", `The page's own program could not be loaded (${file}). Loading the page again may help.`, { file });
  };
  let module;
  try {
    module = await import(/* webpackIgnore: true */ /* @vite-ignore */ script);
  } catch {
    throw missing(script);
  }
  try {
    await module.default({ module_or_path: new URL(bytes) });
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) {
      throw new OneStepError("unsupported", `This browser cannot run the page's program: ${error.message}`);
    }
    throw missing(bytes);
  }
  wasm = module;
}

/** Errors cannot cross to the page as they are. */
function describe(error) {
  if (error instanceof OneStepError) return { kind: error.kind, message: error.message, detail: error.detail };
  if (error?.name === "AbortError" || error?.kind === "cancelled") return { kind: "cancelled", message: "cancelled", detail: {} };
  if (typeof error?.kind === "string") return { kind: error.kind, message: sentence(error.message), detail: error.file ? { file: error.file } : {} };
  // A panic: the module must not be used any more.
  const panic = wasm?.lastPanic?.();
  if (error instanceof WebAssembly.RuntimeError || panic) {
    return { kind: "internal", message: `The page's program stopped by a mistake of its own: ${panic ?? error.message}`, detail: {}, fatal: true };
  }
  return { kind: "internal", message: `Something unexpected happened: ${error?.message ?? error}`, detail: {} };
}

/** As it stands on a page: a capital first, a full stop last. */
function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

/** Lets through the first and last number of a phase, and between them some twenty a second. */
function throttle(post) {
  let last = { phase: undefined, at: 0 };
  return (phase, done, total, cached) => {
    const at = performance.now();
    if (phase === last.phase && done < total && at - last.at < 50) return;
    last = { phase, at };
    post(phase, done, total, cached);
  };
}
