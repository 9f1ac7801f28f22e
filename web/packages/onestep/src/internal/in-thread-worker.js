// An engine on the caller's own thread in place of a worker: for devices that cannot be sent to one, and
// where there are no workers.
import { Engine } from "./engine.js";

/** @import { Request } from "./protocol.js" */

export class InThreadWorker {
  #engine;
  /** @type {((event: MessageEvent) => void) | null} */
  onmessage = null;
  /** @type {((event: MessageEvent) => void) | null} */
  onmessageerror = null;
  /** @type {((event: ErrorEvent) => void) | null} */
  onerror = null;

  /** @param {GPU} [gpu] */
  constructor(gpu) {
    this.#engine = new Engine((data) => this.onmessage?.(/** @type {MessageEvent} */ ({ data })), gpu);
  }

  /** @param {Request} request */
  postMessage(request) {
    this.#engine.receive(request);
  }

  terminate() {
    this.#engine.end();
  }
}
