// Lists of small images that can be chosen: the gallery, the nine seeds, the images of a visit, the
// comparison.

/**
 * @typedef {object} ListedImage
 * @property {string} url
 * @property {string} text description for people who do not see it
 * @property {string} [caption]
 * @property {readonly [number, number]} size width and height in pixels
 */

/**
 * An item of a list of images.
 * @param {ListedImage} image
 * @param {() => void} [onChoose] makes it a button
 */
export function imageItem({ url, text, caption, size: [width, height] }, onChoose) {
  const image = Object.assign(document.createElement("img"), { src: url, alt: text, width, height });
  const content = document.createElement(onChoose ? "button" : "div");
  if (onChoose) {
    Object.assign(content, { type: "button", title: caption ?? text });
    content.addEventListener("click", onChoose);
  }
  content.append(image);
  if (caption) content.append(Object.assign(document.createElement("span"), { textContent: caption }));
  const item = document.createElement("li");
  item.append(content);
  return item;
}

/**
 * The URL of a small image: its own bytes, because the page's policy allows no other.
 * @param {ImageData} pixels
 */
export function dataUrl(pixels) {
  const canvas = Object.assign(document.createElement("canvas"), {
    width: pixels.width,
    height: pixels.height,
  });
  // The canvas is read at once, so it must not be on the GPU, for which the page would have to wait.
  canvas.getContext("2d", { willReadFrequently: true })?.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}
