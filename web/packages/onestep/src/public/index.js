// All that the package promises. What is in `internal/` may change in any version.
export { OneStepError } from "./errors.js";
export { probe } from "./probe.js";
export { load } from "./load.js";
export { Model } from "./model.js";
export { GeneratedImage } from "./image.js";
export { ModelPool } from "./model-pool.js";
export { cache } from "./cache.js";
export * from "./types.js";

/** The version of this package. */
export const version = "0.1.0";
