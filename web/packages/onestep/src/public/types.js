// The types of the package. Its declarations (`types/`) are generated from these and from the classes and
// functions in this folder.
export {};

/**
 * What computes: the GPU by WebGPU, or the CPU by WebAssembly.
 * @typedef {"webgpu" | "cpu"} Backend
 */

/**
 * The backend to use. `auto`, the default, takes the GPU, and the CPU if there is no GPU or only a software
 * adapter.
 * @typedef {Backend | "auto"} BackendChoice
 */

/**
 * The category of an error. A minor version may add members.
 * @typedef {"unsupported" | "network" | "integrity" | "invalid-bundle" | "invalid-option" | "storage-full"
 *   | "out-of-memory" | "device-lost" | "non-finite" | "disposed" | "internal"} ErrorKind
 */

/**
 * Pins a bundle to one manifest.
 * @typedef {object} Pin
 * @property {string} [sha256] SHA-256 of the manifest in 64 hexadecimal digits. It covers every file of the
 *   bundle through the hashes in the manifest; any other manifest is refused with `integrity`.
 */

/**
 * The address of a bundle.
 * @typedef {object} BundleUrl
 * @property {string | URL} url URL of the bundle's folder or of its manifest, relative to the page.
 */

/**
 * The files of a bundle that the user has, as they come from a dropped folder.
 * @typedef {object} BundleFiles
 * @property {Iterable<File>} files All files of the bundle, including its manifest.
 */

/**
 * A bundle with a pin.
 * @typedef {BundleUrl & Pin} BundleAddress
 */

/**
 * A bundle: a URL, or a URL or files with an optional pin.
 * @typedef {string | URL | BundleAddress | (BundleFiles & Pin)} BundleRef
 */

/**
 * What a manifest says about its model.
 * @typedef {object} ModelInfo
 * @property {string} id SHA-256 of the manifest.
 * @property {string} title Name of the model, for people.
 * @property {string} license SPDX expression of the licence of the weights.
 * @property {readonly (readonly [number, number])[]} sizes Sizes of images: width and height in pixels.
 */

/**
 * The GPU adapter, as far as the browser describes it.
 * @typedef {object} Adapter
 * @property {string} vendor Vendor; empty if the browser hides it.
 * @property {string} architecture Architecture; empty if the browser hides it.
 * @property {boolean} software True if the adapter is a software rasteriser (SwiftShader, lavapipe), which is
 *   slow.
 * @property {boolean} f16 True if its shaders support 16-bit floats. No model needs them.
 */

/**
 * What loading a model would cost, and what would compute.
 * @typedef {object} Probe
 * @property {Backend | null} backend The backend that `load` would use with the same options; `null` if this
 *   browser cannot run the model.
 * @property {readonly string[]} reasons Sentences that say why it is not the GPU; empty if it is.
 * @property {ModelInfo} model The model.
 * @property {Adapter} [adapter] The adapter that was found, whether or not it would be used.
 * @property {number} downloadBytes Bytes that `load` would download.
 * @property {number} cachedBytes Bytes of the model that are in the persistent cache of this origin.
 * @property {number} [freeBytes] Bytes that the browser would store for this origin besides, if it says so.
 */

/**
 * Progress of loading. On WebGPU the kernels are compiled during the download and each chunk is verified as
 * it arrives, so `compile` reports the rest and there is no `verify`. A minor version may add phases.
 * @typedef {object} Progress
 * @property {"download" | "verify" | "compile"} phase The phase.
 * @property {number} done How much of the phase is done: bytes of a download, otherwise steps.
 * @property {number} total How much the phase has.
 * @property {number} cached Bytes of the download that came from the persistent cache.
 */

/**
 * Options of a call that can be aborted.
 * @typedef {object} Abortable
 * @property {AbortSignal} [signal] Aborts the call, which then rejects with the signal's reason, as `fetch`
 *   does.
 */

/**
 * Where WebGPU comes from, if not from `navigator.gpu`. Neither can be sent to a worker, so the model then
 * runs on the caller's thread.
 * @typedef {object} GpuSource
 * @property {GPU} [gpu] A WebGPU implementation, such as the one of the npm package `webgpu`.
 * @property {GPUDevice} [device] A device of the caller, who stays its owner: it is never destroyed and keeps
 *   its handler of uncaptured errors. Request it with the `maxStorageBufferBindingSize` and `maxBufferSize`
 *   of its adapter, because larger models need them. If the device is lost, so is the model.
 */

/**
 * Options of `probe`.
 * @typedef {object} ProbeBackendOptions
 * @property {BackendChoice} [backend] The backend to use. Default: `auto`.
 */

/**
 * Options of `probe`.
 * @typedef {ProbeBackendOptions & GpuSource & Abortable} ProbeOptions
 */

/**
 * Options of loading that hold for every model of a pool too.
 * @typedef {object} RuntimeOptions
 * @property {string | URL} [assets] Folder of the WebAssembly builds: `onestep-wasm.js` and
 *   `onestep-wasm_bg.wasm`, and both again with `-cpu` and `-cpu-relaxed`. One of the three builds is
 *   fetched. Default: the folder `wasm/` of the package.
 * @property {false | (() => Worker)} [worker] Creates the worker, for bundlers that need to see the
 *   expression: `() => new Worker(new URL("onestep/worker", import.meta.url), { type: "module" })`. `false`
 *   runs the model on the caller's thread, which also happens without workers (Node.js) and with a `gpu` or
 *   `device`.
 * @property {"persistent" | "memory"} [cache] `persistent` stores the model in the origin's private file
 *   system for the next visit; `memory` stores nothing, which is also what happens without a worker. Default:
 *   `persistent`.
 */

/**
 * Options of one load.
 * @typedef {object} LoadCallOptions
 * @property {(progress: Progress) => void} [onProgress] Called about 20 times a second while the model loads.
 * @property {number} [maxBytes] Refuses a model with more bytes than this before anything but its manifest is
 *   downloaded. Default: no limit.
 */

/**
 * Options of `load`.
 * @typedef {ProbeOptions & RuntimeOptions & LoadCallOptions} LoadOptions
 */

/**
 * Options of a `ModelPool`.
 * @typedef {object} MemoryBudget
 * @property {number} maxMemoryBytes Bytes that the loaded models may take together.
 */

/**
 * Options of a `ModelPool`: its budget, and what every load of it uses.
 * @typedef {MemoryBudget & ProbeBackendOptions & GpuSource & RuntimeOptions} ModelPoolOptions
 */

/**
 * The noise of a seed.
 * @typedef {object} SeedNoise
 * @property {number | bigint} seed Seed from 0 to 2^64 - 1.
 */

/**
 * Spherical interpolation between the noise of two seeds.
 * @typedef {object} InterpolatedNoise
 * @property {number | bigint} from The seed at `t = 0`.
 * @property {number | bigint} to The seed at `t = 1`.
 * @property {number} t Position from 0 to 1.
 */

/**
 * Noise given as numbers.
 * @typedef {object} LatentNoise
 * @property {Float32Array} latent Standard normal values, in the order [channels, rows, columns] of the
 *   model's latents.
 */

/**
 * The noise that an image is generated from.
 * @typedef {SeedNoise | InterpolatedNoise | LatentNoise} Noise
 */

/**
 * Where an image comes from.
 * @typedef {object} NoiseOptions
 * @property {number | bigint} [seed] Seed from 0 to 2^64 - 1, short for `noise: { seed }`. Default: a random
 *   seed, which the image reports.
 * @property {Noise} [noise] The noise, if it is not that of one seed. Give `seed` or `noise`, not both.
 */

/**
 * What is done with an image.
 * @typedef {object} OutputOptions
 * @property {HTMLCanvasElement | OffscreenCanvas} [canvas] Canvas to show the image on, directly from the
 *   GPU. It is transferred to the worker for good, so it must not have a context.
 * @property {boolean} [stages] Also measures each stage, which costs a few waits for the device; otherwise
 *   the GPU gets the whole image in one submission. Default: false.
 * @property {boolean} [pixels] Whether to read the pixels back. With `false` the image is on the canvas
 *   alone: its `pixels()` and `png()` are refused. Default: true.
 */

/**
 * Options of `Model.generate` and `Model.live`.
 * @typedef {NoiseOptions & OutputOptions & Abortable} GenerateOptions
 */

/**
 * Options of `Model.walk`.
 * @typedef {OutputOptions & Abortable} WalkOptions
 */

/**
 * Options of `Model.profile`.
 * @typedef {NoiseOptions & Abortable} ProfileOptions
 */

/**
 * Times of an image in milliseconds; those of the stages only with the option `stages`.
 * @typedef {object} Timings
 * @property {number} queue Waiting for earlier calls.
 * @property {number} [text] Text encoder; 0 if the prompt is that of the image before.
 * @property {number} [generator] The single step of the generator.
 * @property {number} [decoder] Decoder, and reading back from the device.
 * @property {number} present Showing the image on a canvas.
 * @property {number} total The whole call.
 */

/**
 * How the tokenizer read a prompt. Of a model with two text encoders, the counts are those of the encoder
 * that needs more tokens.
 * @typedef {object} Reading
 * @property {number} tokens Number of known tokens.
 * @property {boolean} truncated True if the prompt has more tokens than the model takes; the rest was cut
 *   off.
 * @property {string} unknown Characters that the tokenizer does not know.
 */

/**
 * Options of `GeneratedImage.png`.
 * @typedef {object} PngOptions
 * @property {boolean} [metadata] Whether the file says its prompt, noise, model and program. Default: true.
 */

/**
 * What the runs of one kernel cost in an image of a new prompt.
 * @typedef {object} KernelCost
 * @property {"text_encoder" | "generator" | "decoder"} component The network that the kernel is part of.
 * @property {string} kernel Name of the kernel; on the CPU, of the operation.
 * @property {number} runs Number of runs.
 * @property {number} milliseconds Time of all runs together.
 */

/**
 * The device that computes.
 * @typedef {object} Device
 * @property {string} name Name that its driver gives.
 * @property {string} interface The interface below, such as Vulkan or WebAssembly.
 * @property {boolean} software True if a CPU does the work: with the backend `cpu`, or with a software
 *   adapter.
 */

/**
 * A model in the persistent cache.
 * @typedef {object} CacheEntry
 * @property {string} id SHA-256 of the manifest, as in `ModelInfo`.
 * @property {string} title Name of the model, for people.
 * @property {number} bytes Bytes of it in the cache.
 * @property {boolean} complete True if nothing of it has to be downloaded.
 * @property {Date} lastUsed When it was loaded last.
 */

/**
 * The persistent cache of this page's origin.
 * @typedef {object} Cache
 * @property {() => Promise<CacheEntry[]>} list Lists the models, the last used first.
 * @property {(id: string) => Promise<number>} remove Removes a model and returns how many bytes that freed.
 *   Chunks that another model has too stay.
 * @property {() => Promise<number>} clear Removes everything and returns how many bytes that freed.
 * @property {() => Promise<boolean>} persist Asks the browser not to evict the cache; whether it agreed.
 */
