// Errors on their way to the caller, to whom they cannot cross as they are.
import { OneStepError } from "../public/errors.js";

/** @import { WireError } from "./protocol.js" */
/** @import { WasmExports } from "./wasm-builds.js" */

/**
 * @param {any} error
 * @param {WasmExports | undefined} wasm the build that the error may have come from
 * @returns {WireError}
 */
export function serializeError(error, wasm) {
  if (error instanceof OneStepError) {
    return { kind: error.kind, message: error.message, detail: error.detail };
  }
  if (error?.name === "AbortError" || error?.kind === "cancelled") {
    return { kind: "cancelled", message: "cancelled", detail: {} };
  }
  if (typeof error?.kind === "string") {
    const message = toSentence(error.message);
    return { kind: error.kind, message, detail: error.file ? { file: error.file } : {} };
  }
  // After a panic no function of the build may be called.
  const panic = wasm?.lastPanic?.();
  if (error instanceof WebAssembly.RuntimeError || panic) {
    const message = `The page's program stopped by a mistake of its own: ${panic ?? error.message}`;
    return { kind: "internal", message, detail: {}, fatal: true };
  }
  const message = `Something unexpected happened: ${error?.message ?? error}`;
  return { kind: "internal", message, detail: {} };
}

/** Starts with a capital and ends with a full stop. @param {string} text */
function toSentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}
