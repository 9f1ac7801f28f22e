// One prompt with nine consecutive seeds.
import { dataUrl, imageItem } from "./images.js";

/** @import { Model } from "../packages/onestep/src/public/index.js" */

const COUNT = 9n;
const SEEDS = 1n << 64n;

/**
 * Generates the images of nine seeds into a list; each appears once it is there.
 * @param {HTMLElement} list
 * @param {Model} model
 * @param {{ prompt: string, first: bigint, signal: AbortSignal }} options `first` is the first seed
 * @param {(seed: bigint) => void} onChoose
 */
export async function generateNineSeeds(list, model, { prompt, first, signal }, onChoose) {
  const size = model.model.sizes[0];
  list.hidden = false;
  list.replaceChildren();
  for (let index = 0n; index < COUNT; index++) {
    const seed = (first + index) % SEEDS;
    const image = await model.generate(prompt, { seed, signal });
    const text = `Image for: ${prompt}, seed ${seed}`;
    const listed = { url: dataUrl(image.pixels()), text, caption: String(seed), size };
    list.append(imageItem(listed, () => onChoose(seed)));
  }
}
