/** Kinds that may be gone when the call is made again. */
const RETRYABLE = new Set(["network", "integrity", "out-of-memory", "device-lost", "non-finite"]);

/** The package's one class of errors. */
export class OneStepError extends Error {
  /**
   * @param {import("../../index.js").ErrorKind} kind
   * @param {string} message a sentence for people
   * @param {Record<string, string | number | boolean>} [detail]
   */
  constructor(kind, message, detail = {}) {
    super(message);
    this.name = "OneStepError";
    this.kind = kind;
    this.retryable = RETRYABLE.has(kind);
    this.detail = Object.freeze({ ...detail });
  }
}
