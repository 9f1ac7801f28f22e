// Errors on their way to the caller, to whom they cannot cross as they are.
import { OneStepError } from "../public/errors.js";

/** @param {any} error @param {any} wasm the module that it may have come from */
export function describe(error, wasm) {
  if (error instanceof OneStepError)
    return { kind: error.kind, message: error.message, detail: error.detail };
  if (error?.name === "AbortError" || error?.kind === "cancelled")
    return { kind: "cancelled", message: "cancelled", detail: {} };
  if (typeof error?.kind === "string")
    return {
      kind: error.kind,
      message: sentence(error.message),
      detail: error.file ? { file: error.file } : {},
    };
  // A panic: the module must not be used any more.
  const panic = wasm?.lastPanic?.();
  if (error instanceof WebAssembly.RuntimeError || panic) {
    return {
      kind: "internal",
      message: `The page's program stopped by a mistake of its own: ${panic ?? error.message}`,
      detail: {},
      fatal: true,
    };
  }
  return {
    kind: "internal",
    message: `Something unexpected happened: ${error?.message ?? error}`,
    detail: {},
  };
}

/** As it stands on a page: a capital first, a full stop last. */
function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}
