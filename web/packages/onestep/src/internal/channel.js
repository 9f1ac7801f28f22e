// Calls to an engine: a promise for each, which settles even if the worker is gone.
import { OneStepError } from "../public/errors.js";

/** @import { Progress } from "../public/types.js" */
/** @import { Calls, Request, Response } from "./protocol.js" */

/**
 * A worker, or what stands in for one.
 * @typedef {object} WorkerLike
 * @property {(request: Request, transfer: Transferable[]) => void} postMessage
 * @property {() => void} terminate
 * @property {((event: MessageEvent) => void) | null} onmessage
 * @property {((event: MessageEvent) => void) | null} onmessageerror
 * @property {((event: ErrorEvent) => void) | null} onerror
 */

/**
 * @typedef {object} Pending
 * @property {(value: any) => void} resolve
 * @property {(reason: unknown) => void} reject
 * @property {(progress: Progress) => void} [onProgress]
 */

/**
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]
 * @property {(progress: Progress) => void} [onProgress]
 * @property {Transferable[]} [transfer]
 */

export class Channel {
  #worker;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #nextId = 0;
  /** Why the channel is closed. @type {OneStepError | undefined} */
  #closed;
  /** @type {(error: OneStepError) => void} */
  #resolveLost = () => {};
  /** Resolves when the worker ended without having been told to. @type {Promise<OneStepError>} */
  lost = new Promise((resolve) => (this.#resolveLost = resolve));

  /** @param {WorkerLike} worker */
  constructor(worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onmessageerror = () =>
      this.#fail(new OneStepError("internal", "A message of the page's worker could not be read."));
    worker.onerror = (event) => {
      event.preventDefault?.();
      const why = event.message ? `: ${event.message}` : ".";
      this.#fail(new OneStepError("internal", `The page's worker could not be started or has stopped${why}`));
    };
  }

  throwIfClosed() {
    if (this.#closed) throw this.#closed;
  }

  /**
   * @template {keyof Calls} Name
   * @param {Name} call
   * @param {Calls[Name]["arguments"]} callArguments
   * @param {CallOptions} [options]
   * @returns {Promise<Calls[Name]["result"]>}
   */
  call(call, callArguments, { signal, onProgress, transfer = [] } = {}) {
    if (this.#closed) return Promise.reject(this.#closed);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#worker.postMessage({ cancel: id }, []);
        settle(reject)(signal?.reason);
      };
      /** @param {(value: any) => void} how */
      const settle = (how) => (/** @type {unknown} */ value) => {
        signal?.removeEventListener("abort", abort);
        this.#pending.delete(id);
        how(value);
      };
      this.#pending.set(id, { resolve: settle(resolve), reject: settle(reject), onProgress });
      signal?.addEventListener("abort", abort);
      // The pair of a name and its arguments, which TypeScript does not follow through a type parameter.
      const request = /** @type {Request} */ ({ id, call, arguments: callArguments });
      this.#worker.postMessage(request, transfer);
    });
  }

  /** @param {Response} response */
  #receive(response) {
    const pending = this.#pending.get(response.id);
    if ("error" in response) {
      const { kind, message, detail, fatal } = response.error;
      const error = new OneStepError(kind === "cancelled" ? "disposed" : kind, message, detail);
      pending?.reject(error);
      if (fatal || kind === "device-lost") this.#fail(error);
    } else if ("progress" in response) {
      pending?.onProgress?.(response.progress);
    } else {
      pending?.resolve(response.result);
    }
  }

  /** @param {OneStepError} error */
  #fail(error) {
    if (this.#closed) return;
    this.close(error);
    this.#resolveLost(error);
  }

  /**
   * Ends the worker and with it everything it holds. Pending calls reject with `error`.
   * @param {OneStepError} error
   */
  close(error) {
    if (this.#closed) return;
    this.#closed = error;
    this.#worker.terminate();
    for (const call of [...this.#pending.values()]) call.reject(error);
  }
}
