// Rows of small images that can be chosen: the gallery, the grid of seeds, the visit, the comparison.

/**
 * @param {{ source: string, text: string, caption?: string, size: readonly [number, number] }} image `text` for those who do not see it
 * @param {() => void} [choose] makes it a button
 */
export function item({ source, text, caption, size: [width, height] }, choose) {
  const image = Object.assign(document.createElement("img"), { src: source, alt: text, width, height });
  const place = document.createElement(choose ? "button" : "div");
  if (choose) {
    Object.assign(place, { type: "button", title: caption ?? text });
    place.addEventListener("click", choose);
  }
  place.append(image);
  if (caption) place.append(Object.assign(document.createElement("span"), { textContent: caption }));
  const row = document.createElement("li");
  row.append(place);
  return row;
}

/** A small image's address: its own bytes, since the page's policy allows no other. @param {ImageData} pixels */
export function source(pixels) {
  const canvas = Object.assign(document.createElement("canvas"), {
    width: pixels.width,
    height: pixels.height,
  });
  // Read at once, so it must not be drawn on the GPU: the page would stand still until that has given it back.
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}
