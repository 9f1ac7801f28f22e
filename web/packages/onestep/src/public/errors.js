/** @import { ErrorKind } from "./types.js" */

/** Kinds for which the same call may succeed if it is made again. @type {ReadonlySet<ErrorKind>} */
const RETRYABLE = new Set(
  /** @type {const} */ (["network", "integrity", "out-of-memory", "device-lost", "non-finite"]),
);

/**
 * Every error of this package. An aborted call is the exception: it rejects with the reason of its signal.
 * `message` is a sentence for people.
 */
export class OneStepError extends Error {
  /**
   * @param {ErrorKind} kind
   * @param {string} message a sentence for people
   * @param {Record<string, string | number | boolean>} [detail]
   * @hideconstructor
   */
  constructor(kind, message, detail = {}) {
    super(message);
    this.name = "OneStepError";
    /**
     * The category, to branch on.
     * @readonly
     */
    this.kind = kind;
    /**
     * Whether the same call may succeed if it is made again.
     * @readonly
     */
    this.retryable = RETRYABLE.has(kind);
    /**
     * The file, what was expected and what was found, if that says more than the message.
     * @readonly
     * @type {Readonly<Record<string, string | number | boolean>>}
     */
    this.detail = Object.freeze({ ...detail });
  }
}
