// All that the package promises; index.d.ts documents it.
export { OneStepError } from "./errors.js";
export { probe } from "../internal/probe.js";
export { load } from "../internal/client.js";
export { cache } from "./cache.js";
export { shelf } from "./shelf.js";
export const version = "0.1.0";
