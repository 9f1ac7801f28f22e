// The messages between a `Channel` and an `Engine`, which is usually in a worker. Types only: both sides are
// checked against them. One message is one call; the engine answers calls in their order.
export {};

/** @import { Backend, Device, KernelCost, ModelInfo, Progress, Reading } from "../public/types.js" */
/** @import { Timings } from "../public/types.js" */
/** @import { Location } from "./bundle-location.js" */
/** @import { BuildName, BuildFiles } from "./wasm-builds.js" */

/**
 * Noise after `parseNoise`.
 * @typedef {{ seed: bigint } | { from: bigint, to: bigint, t: number } | { latent: Float32Array }} WireNoise
 */

/**
 * A canvas by its number; `surface` comes with its first use.
 * @typedef {{ id: number, surface?: OffscreenCanvas }} WireCanvas
 */

/**
 * @typedef {object} LoadArguments
 * @property {Location} location
 * @property {string | undefined} sha256 expected hash of the manifest
 * @property {Record<BuildName, BuildFiles>} builds
 * @property {number | undefined} maxBytes
 * @property {Backend} backend
 * @property {"persistent" | "memory"} cache
 */

/**
 * @typedef {{ model: ModelInfo, device: Device, card: string, memoryBytes: number, notices: string[] }}
 *   LoadResult
 */

/**
 * @typedef {object} GenerateArguments
 * @property {string} prompt
 * @property {WireNoise} noise
 * @property {WireCanvas | undefined} canvas
 * @property {boolean} stages whether to time each stage
 * @property {boolean} pixels whether to read the pixels back
 */

/**
 * @typedef {object} GenerateResult
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array<ArrayBuffer>} rgba empty if the pixels were not read back
 * @property {Int32Array<ArrayBuffer>} ids tokens of the prompt
 * @property {Reading} reading
 * @property {Timings} timings
 * @property {number} memoryBytes
 */

/** @typedef {{ prompt: string, noise: WireNoise }} ProfileArguments */

/**
 * @typedef {object} PngArguments
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array<ArrayBuffer>} rgba
 * @property {Int32Array<ArrayBuffer>} ids
 * @property {string} prompt
 * @property {WireNoise} noise
 * @property {boolean} metadata
 */

/**
 * Every call by name.
 * @typedef {object} Calls
 * @property {{ arguments: LoadArguments, result: LoadResult }} load
 * @property {{ arguments: GenerateArguments, result: GenerateResult }} generate
 * @property {{ arguments: ProfileArguments, result: KernelCost[] }} profile
 * @property {{ arguments: PngArguments, result: Uint8Array<ArrayBuffer> }} png
 */

/**
 * A call. `id` is its number on its channel.
 * @typedef {{ [Name in keyof Calls]: { id: number, call: Name, arguments: Calls[Name]["arguments"] } }[keyof
 *   Calls]} Call
 */

/** Cancels the call of that number. @typedef {{ cancel: number }} Cancellation */

/** @typedef {Call | Cancellation} Request */

/**
 * An error as it crosses. `cancelled` is no kind that callers see; after a `fatal` error the engine is of no
 * use.
 * @typedef {object} WireError
 * @property {import("../public/types.js").ErrorKind | "cancelled"} kind
 * @property {string} message
 * @property {Record<string, string | number | boolean>} detail
 * @property {boolean} [fatal]
 */

/**
 * An answer: any number of `progress`, then one `result` or `error`.
 * @typedef {{ id: number } & (
 *   | { progress: Progress }
 *   | { result: Calls[keyof Calls]["result"] }
 *   | { error: WireError }
 * )} Response
 */

/** Sends a response. @typedef {(response: Response, transfer?: Transferable[]) => void} Post */
