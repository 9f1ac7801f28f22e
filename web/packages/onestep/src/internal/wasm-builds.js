// The three WebAssembly builds: where their files are, how one is loaded, and what it exports. `chooseBuild`
// says which one a backend uses.
import { OneStepError } from "../public/errors.js";
import { chooseBuild } from "./choose-backend.js";
import { baseUrl, readLocalFile } from "./local-files.js";

/** @import { Backend, Device, KernelCost, Reading } from "../public/types.js" */
/** @import { FileEntry } from "./download.js" */

/** @typedef {"onestep-wasm" | "onestep-wasm-cpu" | "onestep-wasm-cpu-relaxed"} BuildName */

/**
 * The URLs of a build's JavaScript and of its `.wasm`.
 * @typedef {[script: string, wasm: string]} BuildFiles
 */

/**
 * Called as a stage goes on; `false` cancels.
 * @typedef {(stage: string, done: number, total: number) => boolean} OnStage
 */

/**
 * Noise of one call, which takes it; create a new one for each.
 * @typedef {{ readonly noise: unique symbol }} WasmNoise
 */

/**
 * A manifest, checked.
 * @typedef {object} ManifestSummary
 * @property {string} id
 * @property {string} title
 * @property {string} license
 * @property {number} width
 * @property {number} height
 * @property {number} bytes of all `files`
 * @property {FileEntry[]} files those that loading reads
 * @property {string[]} weights names of the weight files
 */

/**
 * @typedef {object} WasmImage
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array<ArrayBuffer>} rgba
 * @property {Int32Array<ArrayBuffer>} ids
 * @property {Reading} reading
 * @property {{ text?: number, generator?: number, decoder?: number, total: number }} timings
 */

/**
 * A loaded model. The builds for the CPU have no canvas.
 * @typedef {object} LoadedModel
 * @property {() => Device} device
 * @property {() => string} card
 * @property {() => number} memoryBytes
 * @property {(prompt: string, noise: WasmNoise, timeStages: boolean, skipPixels: boolean, onStage: OnStage)
 *   => Promise<WasmImage>} generate
 * @property {(prompt: string, noise: WasmNoise) => Promise<KernelCost[]>} profile
 * @property {(width: number, height: number, rgba: Uint8Array, ids: Int32Array, prompt: string, noise:
 *   WasmNoise, metadata: boolean) => Uint8Array<ArrayBuffer>} png
 * @property {(canvas: OffscreenCanvas) => Promise<void>} [attachCanvas]
 * @property {() => Promise<void>} [showOnCanvas]
 * @property {() => void} free
 */

/** @typedef {{ code: string, entryPoint: string, entries: GPUBindGroupLayoutEntry[] }} Kernel */

/**
 * A model on its way to the GPU.
 * @typedef {object} ModelLoader
 * @property {() => GPUDevice} device
 * @property {() => GPUBuffer} stagingBuffer where chunks of weights are written
 * @property {() => number} overlapBytes how many bytes of the chunk before stand in front of each chunk
 * @property {() => Kernel[]} kernels what will be compiled
 * @property {() => string | undefined} kernelVariants the line to store for the next time, if it is new
 * @property {(file: number, bytes: Uint8Array) => void} readHeader
 * @property {(start: number, end: number) => Promise<void>} pack
 * @property {(onStage: OnStage) => Promise<LoadedModel>} finish
 * @property {() => void} free
 */

/** @typedef {{ add(name: string, bytes: Uint8Array): void }} WasmFiles */

/**
 * What a build exports: `startLoading` with WebGPU, `openModel` on the CPU.
 * @typedef {object} WasmExports
 * @property {(options: { module_or_path: URL | Uint8Array }) => Promise<unknown>} default
 * @property {() => string | undefined} lastPanic
 * @property {(manifest: Uint8Array) => ManifestSummary} checkManifest
 * @property {new (manifest: Uint8Array) => WasmFiles} BundleFiles
 * @property {{ seed(seed: bigint): WasmNoise, interpolated(from: bigint, to: bigint, t: number): WasmNoise,
 *   latent(values: Float32Array): WasmNoise }} Noise
 * @property {(files: WasmFiles, kernelVariants: string | undefined, onStage: OnStage) =>
 *   Promise<ModelLoader>} [startLoading]
 * @property {(files: WasmFiles, onStage: OnStage) => Promise<LoadedModel>} [openModel]
 */

/** The builds of the package. Whole expressions, because bundlers look for those and copy the files. */
const packagedUrls = () => ({
  "onestep-wasm": [
    new URL("../../wasm/onestep-wasm.js", import.meta.url),
    new URL("../../wasm/onestep-wasm_bg.wasm", import.meta.url),
  ],
  "onestep-wasm-cpu": [
    new URL("../../wasm/onestep-wasm-cpu.js", import.meta.url),
    new URL("../../wasm/onestep-wasm-cpu_bg.wasm", import.meta.url),
  ],
  "onestep-wasm-cpu-relaxed": [
    new URL("../../wasm/onestep-wasm-cpu-relaxed.js", import.meta.url),
    new URL("../../wasm/onestep-wasm-cpu-relaxed_bg.wasm", import.meta.url),
  ],
});

/** @type {BuildName[]} */
const NAMES = ["onestep-wasm", "onestep-wasm-cpu", "onestep-wasm-cpu-relaxed"];

/**
 * @param {(name: BuildName) => BuildFiles} files
 * @returns {Record<BuildName, BuildFiles>}
 */
const eachBuild = (files) =>
  /** @type {Record<BuildName, BuildFiles>} */ (Object.fromEntries(NAMES.map((name) => [name, files(name)])));

/** The builds of the package. */
export function packagedBuilds() {
  const urls = packagedUrls();
  // Some bundlers replace those URLs by paths relative to the site.
  /** @param {URL} url */
  const absolute = ({ href }) => new URL(href, globalThis.location?.href).href;
  return eachBuild((name) => [absolute(urls[name][0]), absolute(urls[name][1])]);
}

/** The builds in a folder. @param {string | URL} folder */
export function buildsIn(folder) {
  const base = new URL(folder, baseUrl());
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return eachBuild((name) => [new URL(`${name}.js`, base).href, new URL(`${name}_bg.wasm`, base).href]);
}

/**
 * Builds by their script: each is loaded once, however many models use it.
 * @type {Map<string, Promise<WasmExports>>}
 */
const loaded = new Map();

/**
 * Loads the build for a backend; the others are not fetched.
 * @param {Backend} backend
 * @param {Record<BuildName, BuildFiles>} builds
 * @returns {Promise<WasmExports>}
 */
export function loadBuild(backend, builds) {
  const files = builds[chooseBuild(backend)];
  const [script] = files;
  let build = loaded.get(script);
  if (!build) {
    build = instantiate(files);
    // A build that could not be loaded is tried again the next time.
    build.catch(() => loaded.delete(script));
    loaded.set(script, build);
  }
  return build;
}

/**
 * @param {BuildFiles} files
 * @returns {Promise<WasmExports>}
 */
async function instantiate([script, wasm]) {
  /** @param {string} url */
  const missing = (url) => {
    const file = new URL(url).pathname.split("/").pop() ?? url;
    return new OneStepError(
      "network",
      `The page's own program could not be loaded (${file}). Loading the page again may help.`,
      { file },
    );
  };
  /** @type {WasmExports} */
  let build;
  try {
    build = await import(/* webpackIgnore: true */ /* @vite-ignore */ script);
  } catch {
    throw missing(script);
  }
  try {
    await build.default({ module_or_path: (await readLocalFile(wasm)) ?? new URL(wasm) });
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) {
      throw new OneStepError("unsupported", `This browser cannot run the page's program: ${error.message}`);
    }
    throw missing(wasm);
  }
  return build;
}
