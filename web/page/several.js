// One prompt, nine seeds.
import { item, source } from "./images.js";

const COUNT = 9n;
const SEEDS = 1n << 64n;

/**
 * Draws the images of consecutive seeds; each appears when it is there.
 * @param {(id: string) => HTMLElement} $
 * @param {import("../packages/onestep/index.js").OneStep} model
 * @param {string} prompt
 * @param {bigint} first
 * @param {AbortSignal} signal
 * @param {(seed: bigint) => void} choose
 */
export async function drawSeveral($, model, prompt, first, signal, choose) {
  const size = model.model.sizes[0];
  $("grid").hidden = false;
  $("grid").replaceChildren();
  for (let index = 0n; index < COUNT; index++) {
    const seed = (first + index) % SEEDS;
    const image = await model.generate(prompt, { seed, signal });
    $("grid").append(
      item(
        {
          source: source(image.pixels()),
          text: `Image for: ${prompt}, seed ${seed}`,
          caption: String(seed),
          size,
        },
        () => choose(seed),
      ),
    );
  }
}
