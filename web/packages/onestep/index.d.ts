/** What computes: the graphics processor, or the processor by WebAssembly. */
export type Backend = "webgpu" | "cpu";

/** `auto`, the default, takes the graphics processor where there is one, and the processor where there is none or only software in its place. */
export type BackendChoice = Backend | "auto";

/** The category of an error. May gain members in a minor version. */
export type ErrorKind =
  | "unsupported"
  | "network"
  | "integrity"
  | "invalid-bundle"
  | "invalid-option"
  | "storage-full"
  | "out-of-memory"
  | "device-lost"
  | "non-finite"
  | "disposed"
  | "internal";

/** Every error of this package but an abort, which is the signal's own reason. `message` is a sentence for people. */
export declare class OneStepError extends Error {
  /** What went wrong, to branch on. */
  readonly kind: ErrorKind;
  /** Whether the same call may succeed if it is made again. */
  readonly retryable: boolean;
  /** The file, what was expected and what was found, where that says more. */
  readonly detail: Readonly<Record<string, string | number | boolean>>;
}

/** What pins a bundle. */
export interface Pin {
  /** The SHA-256 of the manifest, 64 hexadecimal digits, and through it every file; what is another's is refused. */
  sha256?: string;
}
/** A bundle at an address. */
export interface BundleAddress extends Pin {
  /** Of its folder or of its manifest. */
  url: string | URL;
}
/** A bundle in files that the user has, as they come from a dropped folder. */
export interface BundleFiles extends Pin {
  /** All of them, the manifest too. */
  files: Iterable<File>;
}
/** A model: an address, or an address or files with a pin. */
export type BundleRef = string | URL | BundleAddress | BundleFiles;

/** What a manifest says of its model. */
export interface ModelInfo {
  /** The SHA-256 of the manifest. */
  readonly id: string;
  /** Its name, for people. */
  readonly title: string;
  /** SPDX expression of the weights' licence. */
  readonly license: string;
  /** Width and height in pixels. */
  readonly sizes: readonly (readonly [number, number])[];
}

/** The graphics processor, as far as the browser tells. */
export interface Adapter {
  /** Its maker; empty where the browser hides it. */
  readonly vendor: string;
  /** Its kind; empty where the browser hides it. */
  readonly architecture: string;
  /** Whether a processor plays it, which is slow. */
  readonly software: boolean;
  /** Whether its shaders know 16-bit floats. Nothing here needs them. */
  readonly f16: boolean;
}

/** What loading would cost, and what would compute. */
export interface Probe {
  /** What `load` with the same choice would take; `null` where nothing here can run the model. */
  readonly backend: Backend | null;
  /** Why it is not a graphics processor, in sentences. */
  readonly reasons: readonly string[];
  /** The model. */
  readonly model: ModelInfo;
  /** The adapter that was found, whether or not it is taken. */
  readonly adapter?: Adapter;
  /** Bytes that `load` would fetch. */
  readonly downloadBytes: number;
  /** Bytes of the model that are on this device already. */
  readonly cachedBytes: number;
  /** What the browser lets this page keep besides, where it tells. */
  readonly freeBytes?: number;
}

/**
 * One stream of numbers. `download` counts bytes, each compared with its hash as it comes; `verify` and `compile` count steps. On WebGPU kernels are
 * compiled during the download already, `compile` tells what is left of them, and nothing is left to verify. May gain phases in a minor version.
 */
export interface Progress {
  /** What is being done. */
  readonly phase: "download" | "verify" | "compile";
  /** How much of it is done: bytes of a download, else steps. */
  readonly done: number;
  /** How much there is. */
  readonly total: number;
  /** How much of a download came from this device. */
  readonly cached: number;
}

/** What a call may have that can be given up. */
export interface Abortable {
  /** Rejects the call with its reason, as `fetch` does. */
  signal?: AbortSignal;
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

/** How to look. */
export interface ProbeOptions extends GpuSource, Abortable {
  /** What shall compute; `auto` where it is missing. */
  backend?: BackendChoice;
}

/** How to load. */
export interface LoadOptions extends ProbeOptions {
  /** Hears of every step of the way, some twenty times a second. */
  onProgress?(progress: Progress): void;
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

/** The noise of a seed. */
export interface SeedNoise {
  /** 0 to 2^64 - 1. */
  readonly seed: number | bigint;
}
/** Noise on the way between those of two seeds, on the sphere. */
export interface NoiseBetween {
  /** The seed at `t = 0`. */
  readonly from: number | bigint;
  /** The seed at `t = 1`. */
  readonly to: number | bigint;
  /** How far along, from 0 to 1. */
  readonly t: number;
}
/** Noise of your own. */
export interface GivenNoise {
  /** About normally distributed, in the order [channels, rows, columns] of the model's latents. */
  readonly latent: Float32Array;
}
/** What an image is drawn from. */
export type Noise = SeedNoise | NoiseBetween | GivenNoise;

/** How to draw. */
export interface GenerateOptions extends Abortable {
  /** 0 to 2^64 - 1, short for `noise: { seed }`; a random one is chosen, and reported, where both are missing. */
  seed?: number | bigint;
  /** What the image is drawn from, if not from one seed. */
  noise?: Noise;
  /** Shows the image, from the GPU straight away. The canvas is handed to the worker for good: give it no context of your own. */
  canvas?: HTMLCanvasElement | OffscreenCanvas;
  /** Also times each stage, for a few waits for the device more; else a GPU gets the whole image in one submission. */
  stages?: boolean;
  /** `false`: the image is shown and not read back; `pixels()` and `png()` of it are refused. */
  pixels?: boolean;
}

/** Milliseconds. Those of the stages where they were asked for. */
export interface Timings {
  /** Waiting for the images before. */
  readonly queue: number;
  /** The text encoder; 0 where the prompt is that of the image before. */
  readonly text?: number;
  /** The generator's one step. */
  readonly generator?: number;
  /** The decoder, and the way back from the device. */
  readonly decoder?: number;
  /** Showing it on a canvas. */
  readonly present: number;
  /** All of it, from the call on. */
  readonly total: number;
}

/** What the model read of a prompt. */
export interface Reading {
  /** Tokens that it knows. */
  readonly tokens: number;
  /** Whether the prompt was longer than it reads. */
  readonly truncated: boolean;
  /** Characters that it has never seen. */
  readonly unknown: string;
}

/** An image, and how it was made. */
export interface Image {
  /** In pixels. */
  readonly width: number;
  /** In pixels. */
  readonly height: number;
  /** As it was given. */
  readonly prompt: string;
  /** What it was drawn from; seeds are `bigint`. */
  readonly noise: Noise;
  /** Where the noise is that of one seed. */
  readonly seed?: bigint;
  /** How long it took. */
  readonly timings: Timings;
  /** What the model read of the prompt. */
  readonly reading: Reading;
  /** A copy of its pixels; outside of browsers an object with the same `width`, `height` and `data`. */
  pixels(): ImageData;
  /** A PNG file that says how it was made, unless `metadata` is false. */
  png(options?: PngOptions): Promise<Blob>;
}

/** What a file says. */
export interface PngOptions {
  /** Prompt, noise, model and program in the file; `true` where it is missing. */
  metadata?: boolean;
}

/** What the runs of one kernel cost in an image of a new prompt. */
export interface KernelCost {
  /** The network that it is part of. */
  readonly component: "text_encoder" | "generator" | "decoder";
  /** The kernel's name, on the processor the operation's. */
  readonly kernel: string;
  /** How often it runs. */
  readonly runs: number;
  /** Of all those runs together. */
  readonly milliseconds: number;
}

/** What computes. */
export interface Device {
  /** As its driver calls it. */
  readonly name: string;
  /** The interface below. */
  readonly interface: string;
  /** Whether a processor does a graphics processor's work, or is the one that computes. */
  readonly software: boolean;
}

/** A loaded model. */
export interface OneStep extends AsyncDisposable {
  /** What it is. */
  readonly model: ModelInfo;
  /** What computes; it never changes. */
  readonly backend: Backend;
  /** The model card, Markdown. */
  readonly card: string;
  /** The device that computes. */
  readonly device: Device;
  /** What the model takes: all of its buffers on a graphics processor; on the processor its weights and what images have needed so far. */
  readonly memoryBytes: number;
  /** Sentences for people about what is not as it should be, such as that the model could not be kept on this device. */
  readonly notices: readonly string[];
  /**
   * Resolves when the worker is gone, or the device and another could not be had; then nothing more can be generated with this object. A device that is
   * lost after it has drawn is replaced by itself, from what is kept of the model, and the call that met the loss goes on.
   */
  readonly lost: Promise<OneStepError>;
  /** One image after another, in the order of the calls. */
  generate(prompt: string, options?: GenerateOptions): Promise<Image>;
  /** The newest call wins: an older one that has not ended is cancelled and gives `null`. For images as you type. */
  live(prompt: string, options?: GenerateOptions): Promise<Image | null>;
  /** Images on the way from seed to seed: `frames` from each to the next, and the last one. Each is made when it is asked for. */
  walk(
    prompt: string,
    seeds: Iterable<number | bigint>,
    frames: number,
    options?: Omit<GenerateOptions, "seed" | "noise">,
  ): AsyncIterableIterator<Image>;
  /**
   * What each kernel costs in an image. On a graphics processor each one's runs are measured by themselves, since few browsers tell times within a
   * submission, so their sum is not exactly the time of an image. Takes as long as some images.
   */
  profile(
    prompt: string,
    options?: Pick<GenerateOptions, "seed" | "noise" | "signal">,
  ): Promise<KernelCost[]>;
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
export declare function shelf(
  options: Omit<LoadOptions, "signal" | "onProgress" | "maxBytes"> & { maxMemoryBytes: number },
): Shelf;

/** A model on this device. */
export interface CacheEntry {
  /** The SHA-256 of the manifest, as in `ModelInfo`. */
  readonly id: string;
  /** Its name, for people. */
  readonly title: string;
  /** Bytes on this device. */
  readonly bytes: number;
  /** Whether nothing of it has to be fetched. */
  readonly complete: boolean;
  /** When it was loaded last. */
  readonly lastUsed: Date;
}

/** What is kept on this device for this page's origin. */
export interface Cache {
  /** The models, the last used first. */
  list(): Promise<CacheEntry[]>;
  /** How many bytes were freed. Pieces that another model has too stay. */
  remove(id: string): Promise<number>;
  /** Removes everything; how many bytes were freed. */
  clear(): Promise<number>;
  /** Asks the browser not to drop them when it needs room; whether it agreed. */
  persist(): Promise<boolean>;
}

/** The models that are kept on this device for this page's origin. */
export declare const cache: Cache;

/** What loading would cost and whether this browser can run the model. Fetches the manifest and nothing else. */
export declare function probe(bundle: BundleRef, options?: ProbeOptions): Promise<Probe>;
/** Fetches, checks and compiles a model. */
export declare function load(bundle: BundleRef, options?: LoadOptions): Promise<OneStep>;
/** The version of this package. */
export declare const version: string;
