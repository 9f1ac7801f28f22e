// Canvases of the page on their way to an engine. A canvas can be transferred once, so each has a number.
import { OneStepError } from "../public/errors.js";

/** @import { Channel } from "./channel.js" */
/** @import { WireCanvas } from "./protocol.js" */

/** @type {WeakMap<HTMLCanvasElement | OffscreenCanvas, { id: number, channel: Channel }>} */
const transferred = new WeakMap();
let nextId = 0;

/**
 * The canvas for a call, and what its message transfers.
 * @param {HTMLCanvasElement | OffscreenCanvas | undefined} canvas
 * @param {Channel} channel
 * @returns {[WireCanvas | undefined, Transferable[]]}
 */
export function transferCanvas(canvas, channel) {
  if (canvas === undefined) return [undefined, []];
  const known = transferred.get(canvas);
  if (known?.channel === channel) return [{ id: known.id }, []];
  if (known) {
    throw new OneStepError(
      "invalid-option",
      "This canvas was transferred to another model; create a new one.",
    );
  }
  let surface;
  try {
    surface = "transferControlToOffscreen" in canvas ? canvas.transferControlToOffscreen() : canvas;
  } catch {
    throw new OneStepError(
      "invalid-option",
      "This canvas has a context already, so the model cannot show images on it; create a new one.",
    );
  }
  const id = nextId++;
  transferred.set(canvas, { id, channel });
  return [{ id, surface }, [surface]];
}
