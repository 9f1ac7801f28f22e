// Images of the CPU on a canvas, as the GPU shows them: each pixel a square of one colour.

/**
 * @param {OffscreenCanvas} canvas
 * @param {{ width: number, height: number, rgba: Uint8Array<ArrayBuffer> }} image
 */
export function showOnCanvas2d(canvas, { width, height, rgba }) {
  const small = new OffscreenCanvas(width, height);
  const data = new Uint8ClampedArray(rgba.buffer, rgba.byteOffset, rgba.byteLength);
  context2d(small).putImageData(new ImageData(data, width, height), 0, 0);
  const context = context2d(canvas);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

/** @param {OffscreenCanvas} canvas */
function context2d(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("the canvas has a context of another kind");
  return context;
}
