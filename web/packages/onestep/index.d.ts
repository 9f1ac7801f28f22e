/** What computes: the graphics processor, or the processor by WebAssembly. */
export type Backend = "webgpu" | "cpu";

/** `auto`, the default, takes the graphics processor where there is one, and the processor where there is none or only software in its place. */
export type BackendChoice = Backend | "auto";

/** The category of an error. May gain members in a minor version. */
export type ErrorKind =
  | "unsupported" | "network" | "integrity" | "invalid-bundle" | "invalid-option" | "storage-full"
  | "out-of-memory" | "device-lost" | "non-finite" | "disposed" | "internal";

/** Every error of this package but an abort, which is the signal's own reason. `message` is a sentence for people. */
export declare class OneStepError extends Error {
  readonly kind: ErrorKind;
  /** Whether the same call may succeed if it is made again. */
  readonly retryable: boolean;
  /** The file, what was expected and what was found, where that says more. */
  readonly detail: Readonly<Record<string, string | number | boolean>>;
}

/** The folder of a bundle or its manifest's address, or all of its files, as they come from a dropped folder; `sha256` pins the manifest, and through it every file. */
export type BundleRef = string | URL | { url: string | URL; sha256?: string } | { files: Iterable<File>; sha256?: string };

export interface ModelInfo {
  /** The SHA-256 of the manifest. */
  readonly id: string;
  readonly title: string;
  /** SPDX expression of the weights' licence. */
  readonly license: string;
  /** Width and height in pixels. */
  readonly sizes: readonly (readonly [number, number])[];
}

export interface Adapter { readonly vendor: string; readonly architecture: string; readonly software: boolean; readonly f16: boolean }

export interface Probe {
  /** What `load` with the same choice would take; `null` where nothing here can run the model. */
  readonly backend: Backend | null;
  /** Why it is not a graphics processor, in sentences. */
  readonly reasons: readonly string[];
  readonly model: ModelInfo;
  readonly adapter?: Adapter;
  /** Bytes that `load` would fetch, and bytes that are on this device already. */
  readonly downloadBytes: number;
  readonly cachedBytes: number;
  /** What the browser lets this page keep besides, where it tells. */
  readonly freeBytes?: number;
}

/**
 * One stream of numbers. `download` counts bytes, each compared with its hash as it comes; `verify` and `compile` count steps. On WebGPU kernels are
 * compiled during the download already, `compile` tells what is left of them, and nothing is left to verify. May gain phases in a minor version.
 */
export interface Progress {
  readonly phase: "download" | "verify" | "compile";
  readonly done: number;
  readonly total: number;
  /** How much of a download came from this device. */
  readonly cached: number;
}

/** Where WebGPU comes from, if not from `navigator.gpu`. Both are used on the caller's own thread, since they cannot be sent to a worker. */
export interface GpuSource {
  /** As the package `webgpu` for Node.js gives it. */
  gpu?: GPU;
  /**
   * A device of your own, which stays yours: it is never destroyed, and its handler of errors is never replaced. Opened with the largest
   * `maxStorageBufferBindingSize` and `maxBufferSize` of its adapter it takes larger models. When it is lost, so is the model.
   */
  device?: GPUDevice;
}

export interface ProbeOptions extends GpuSource { signal?: AbortSignal; backend?: BackendChoice }

export interface LoadOptions extends GpuSource {
  signal?: AbortSignal;
  onProgress?(progress: Progress): void;
  /** What shall compute; `auto` where it is missing. */
  backend?: BackendChoice;
  /** The folder of the modules (`onestep-wasm.js`, `onestep-wasm_bg.wasm`, the same with `-cpu` and `-cpu-relaxed`; only one of the three is fetched), if it is not the package's own `wasm/`. */
  assets?: string | URL;
  /**
   * Makes the worker, where a bundler needs to see the expression: `() => new Worker(new URL("onestep/worker", import.meta.url), { type: "module" })`. `false`: all is done
   * on the caller's own thread, as it is where there are no workers (Node.js), and with a `gpu` or `device` of your own.
   */
  worker?: false | (() => Worker);
  /** Refuses before anything but the manifest is fetched. */
  maxBytes?: number;
  /** Whether the model is kept on this device for the next time (`persistent`, the default) or only for as long as it is used, which is what happens without a worker. */
  cache?: "persistent" | "memory";
}

/**
 * What a picture is drawn from: the noise of a seed; a part `t` (0 to 1) of the way between the noises of two seeds, on the sphere; or numbers of your own,
 * about normally distributed, in the order [channels, rows, columns] of the model's latents.
 */
export type Noise =
  | { readonly seed: number | bigint }
  | { readonly from: number | bigint; readonly to: number | bigint; readonly t: number }
  | { readonly latent: Float32Array };

export interface GenerateOptions {
  /** 0 to 2^64 - 1, short for `noise: { seed }`; a random one is chosen, and reported, where both are missing. */
  seed?: number | bigint;
  noise?: Noise;
  /** Shows the picture, from the GPU straight away. The canvas is handed to the worker for good: give it no context of your own. */
  canvas?: HTMLCanvasElement | OffscreenCanvas;
  signal?: AbortSignal;
  /** Also times each stage, for a few waits for the device more; else a GPU gets the whole picture in one submission. */
  stages?: boolean;
  /** `false`: the picture is shown and not read back; `pixels()` and `png()` of it are refused. */
  pixels?: boolean;
}

/** Milliseconds. Those of the stages where they were asked for; `text` is 0 where the prompt is that of the picture before. */
export interface Timings { readonly queue: number; readonly text?: number; readonly generator?: number; readonly decoder?: number; readonly present: number; readonly total: number }

/** What the model read of a prompt. */
export interface Reading {
  /** Tokens that it knows. */
  readonly tokens: number;
  /** Whether the prompt was longer than it reads. */
  readonly truncated: boolean;
  /** Characters that it has never seen. */
  readonly unknown: string;
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly prompt: string;
  readonly noise: Noise;
  /** Where the noise is that of one seed. */
  readonly seed?: bigint;
  readonly timings: Timings;
  readonly reading: Reading;
  pixels(): ImageData;
  /** Says how it was made, unless `metadata` is false. */
  png(options?: { metadata?: boolean }): Promise<Blob>;
}

/** What the runs of one kernel cost in a picture of a new prompt. */
export interface KernelCost {
  readonly component: "text_encoder" | "generator" | "decoder";
  /** The kernel's name, on the processor the operation's. */
  readonly kernel: string;
  readonly runs: number;
  readonly milliseconds: number;
}

export interface OneStep extends AsyncDisposable {
  readonly model: ModelInfo;
  readonly backend: Backend;
  /** The model card, Markdown. */
  readonly card: string;
  readonly device: { readonly name: string; readonly interface: string; readonly software: boolean };
  /** What the model takes: all of its buffers on a graphics processor; on the processor its weights and what pictures have needed so far. */
  readonly memoryBytes: number;
  /** Sentences for people about what is not as it should be, such as that the model could not be kept on this device. */
  readonly notices: readonly string[];
  /**
   * Resolves when the worker is gone, or the device and another could not be had; then nothing more can be generated with this object. A device that is
   * lost after it has drawn is replaced by itself, from what is kept of the model, and the call that met the loss goes on.
   */
  readonly lost: Promise<OneStepError>;
  /** One picture after another, in the order of the calls. */
  generate(prompt: string, options?: GenerateOptions): Promise<Picture>;
  /** The newest call wins: an older one that has not ended is cancelled and gives `null`. For pictures as you type. */
  live(prompt: string, options?: GenerateOptions): Promise<Picture | null>;
  /** Pictures on the way from seed to seed: `frames` from each to the next, and the last one. Each is made when it is asked for. */
  walk(prompt: string, seeds: Iterable<number | bigint>, frames: number, options?: Omit<GenerateOptions, "seed" | "noise">): AsyncIterableIterator<Picture>;
  /**
   * What each kernel costs in a picture. On a graphics processor each one's runs are measured by themselves, since few browsers tell times within a
   * submission, so their sum is not exactly the time of a picture. Takes as long as some pictures.
   */
  profile(prompt: string, options?: Pick<GenerateOptions, "seed" | "noise" | "signal">): Promise<KernelCost[]>;
  /** Frees the GPU, the worker and its memory; what is pending rejects with `disposed`. May be called twice. */
  dispose(): Promise<void>;
}

/** Models that are loaded at the same time, within a budget of memory. */
export interface Shelf extends AsyncDisposable {
  /**
   * The model, loaded if it is not there. Where the budget would be exceeded, those that were asked for longest ago are disposed of first; what is asked of one of
   * those afterwards rejects with `disposed`, so ask the shelf each time. A model that alone is beyond the budget is refused before it is fetched.
   */
  take(bundle: BundleRef, options?: Pick<LoadOptions, "signal" | "onProgress">): Promise<OneStep>;
  /** Those that are loaded, the last used first. */
  readonly models: readonly OneStep[];
  /** What they take together. */
  readonly memoryBytes: number;
  /** Disposes of all of them. */
  dispose(): Promise<void>;
}

/** Several models within `maxMemoryBytes`; the other options are those of every load. */
export declare function shelf(options: Omit<LoadOptions, "signal" | "onProgress" | "maxBytes"> & { maxMemoryBytes: number }): Shelf;

export interface CacheEntry {
  /** The SHA-256 of the manifest, as in `ModelInfo`. */
  readonly id: string;
  readonly title: string;
  /** Bytes on this device. */
  readonly bytes: number;
  /** Whether nothing of it has to be fetched. */
  readonly complete: boolean;
  readonly lastUsed: Date;
}

/** The models that are kept on this device for this page's origin. */
export declare const cache: {
  list(): Promise<CacheEntry[]>;
  /** How many bytes were freed. Pieces that another model has too stay. */
  remove(id: string): Promise<number>;
  clear(): Promise<number>;
  /** Asks the browser not to drop them when it needs room; whether it agreed. */
  persist(): Promise<boolean>;
};

/** What loading would cost and whether this browser can run the model. Fetches the manifest and nothing else. */
export declare function probe(bundle: BundleRef, options?: ProbeOptions): Promise<Probe>;
/** Fetches, checks and compiles a model. */
export declare function load(bundle: BundleRef, options?: LoadOptions): Promise<OneStep>;
export declare const version: string;
