// Pixels of the processor on a canvas, as the GPU would show them: each a square of one colour.

/**
 * @param {OffscreenCanvas} canvas
 * @param {{ width: number, height: number, rgba: Uint8Array<ArrayBuffer> }} image
 */
export function paint(canvas, { width, height, rgba }) {
  const small = new OffscreenCanvas(width, height);
  small
    .getContext("2d")
    .putImageData(
      new ImageData(new Uint8ClampedArray(rgba.buffer, rgba.byteOffset, rgba.byteLength), width, height),
      0,
      0,
    );
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}
