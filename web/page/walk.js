// A walk from the noise of one seed to that of another: by hand on a slider, or there and back by itself.

/** Seconds that one direction takes by itself. */
const SECONDS = 4;
/** With reduced motion a direction has so many stops, each shown for a second. */
const STOPS = 8;
const STOP_MS = 1000;

/** @import { GeneratedImage, Noise } from "../packages/onestep/src/public/index.js" */

/**
 * What a walk needs of the page. `generate` resolves to null for an image that was superseded, and to
 * undefined if none can be generated.
 * @typedef {object} WalkPage
 * @property {(noise: Noise) => Promise<GeneratedImage | null | undefined>} generate
 * @property {() => bigint | null} firstSeed null if the field has none
 * @property {() => bigint | null} secondSeed
 */

export class Walk {
  #$;
  #page;
  #playing = false;

  /** @param {(id: string) => any} $ @param {WalkPage} page */
  constructor($, page) {
    this.#$ = $;
    this.#page = page;
    $("walk-at").addEventListener("input", () => {
      this.stop();
      this.#generate($("walk-at").value / 100);
    });
    $("walk-play").addEventListener("click", () => (this.#playing ? this.stop() : this.#play()));
  }

  stop() {
    this.#playing = false;
    this.#$("walk-play").textContent = "Walk there and back";
  }

  /** @param {number} t position from 0 to 1 */
  async #generate(t) {
    const [from, to] = [this.#page.firstSeed(), this.#page.secondSeed()];
    if (from === null || to === null) return undefined;
    const position = `${Math.round(t * 100)} percent of the way from seed ${from} to seed ${to}`;
    this.#$("walk-at").setAttribute("aria-valuetext", position);
    if (t === 0) return this.#page.generate({ seed: from });
    return this.#page.generate(t === 1 ? { seed: to } : { from, to, t });
  }

  async #play() {
    this.#playing = true;
    this.#$("walk-play").textContent = "Stop";
    const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now();
    for (let stop = 0; this.#playing; stop++) {
      // The time decides where the next image is, so a slow device shows fewer images.
      const way = reducedMotion ? stop / STOPS : (performance.now() - start) / 1000 / SECONDS;
      const t = way <= 1 ? way : 2 - way;
      if (way >= 2) break;
      this.#$("walk-at").value = String(Math.round(t * 100));
      const image = await this.#generate(t);
      if (image === undefined) break;
      await new Promise((resolve) =>
        reducedMotion ? setTimeout(resolve, STOP_MS) : requestAnimationFrame(resolve),
      );
    }
    if (this.#playing) {
      this.#$("walk-at").value = "0";
      await this.#generate(0);
    }
    this.stop();
  }
}
