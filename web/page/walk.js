// From one noise to another: by hand on a slider, or there and back by itself.

/** One way, by itself. */
const SECONDS = 4;
/** Where movement is not wanted, or an image takes long, this many stops. */
const STOPS = 8;

export class Walk {
  #$;
  #page;
  #playing = false;

  /**
   * @param {(id: string) => any} $
   * @param {{ draw(noise: object): Promise<object | null | undefined>, seed(): bigint | null, other(): bigint | null }} page
   */
  constructor($, page) {
    this.#$ = $;
    this.#page = page;
    $("walk-at").addEventListener("input", () => {
      this.stop();
      this.#show($("walk-at").value / 100);
    });
    $("walk-play").addEventListener("click", () => (this.#playing ? this.stop() : this.#play()));
  }

  stop() {
    this.#playing = false;
    this.#$("walk-play").textContent = "Walk there and back";
  }

  #show(t) {
    const [from, to] = [this.#page.seed(), this.#page.other()];
    if (from === null || to === null) return undefined;
    this.#$("walk-at").setAttribute(
      "aria-valuetext",
      `${Math.round(t * 100)} percent of the way from seed ${from} to seed ${to}`,
    );
    return this.#page.draw(t === 0 ? { seed: from } : t === 1 ? { seed: to } : { from, to, t });
  }

  async #play() {
    this.#playing = true;
    this.#$("walk-play").textContent = "Stop";
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now();
    for (let stop = 0; this.#playing; stop++) {
      // Time decides where the next image is, not how many there were: a slow device shows fewer.
      const way = still ? stop / STOPS : (performance.now() - start) / 1000 / SECONDS;
      const t = way <= 1 ? way : 2 - way;
      if (way >= 2) break;
      this.#$("walk-at").value = String(Math.round(t * 100));
      const made = await this.#show(t);
      if (made === undefined) break;
      // The screen's turn; without motion, time to look.
      await new Promise((resolve) => (still ? setTimeout(resolve, 1000) : requestAnimationFrame(resolve)));
    }
    if (this.#playing) {
      this.#$("walk-at").value = "0";
      await this.#show(0);
    }
    this.stop();
  }
}
