// The panel of timings: stages of the last image, kernels one by one, device and memory.
import { TIMINGS, deviceSentence } from "./sentences.js";

/** @import { GeneratedImage, KernelCost, Model } from "../packages/onestep/src/public/index.js" */

/**
 * What the panel needs of the page.
 * @typedef {{ runTask(task: (signal: AbortSignal) => Promise<void>): Promise<void>, announce(text: string):
 *   void }} PanelPage
 */

export class TimingsPanel {
  /** @type {(id: string) => any} */
  #$;
  /** @type {PanelPage} */
  #page;
  /** What "Copy as JSON" copies. @type {{ [key: string]: unknown, kernels?: KernelCost[] }} */
  #report = {};

  /** @param {(id: string) => any} $ @param {PanelPage} page */
  constructor($, page) {
    [this.#$, this.#page] = [$, page];
    $("copy-timings").addEventListener("click", () => this.#copy());
  }

  /** @param {Model} model @param {GeneratedImage} image */
  show(model, { timings, prompt, width, height }) {
    const rows = TIMINGS.flatMap(([key, name]) => {
      const milliseconds = timings[key];
      return milliseconds === undefined ? [] : [tableRow(name, [`${milliseconds.toFixed(1)} ms`])];
    });
    this.#$("timings-rows").replaceChildren(...rows);
    this.#$("device").textContent = deviceSentence(model);
    for (const id of ["measure", "copy-timings"]) this.#$(id).disabled = false;
    const { backend, device, memoryBytes } = model;
    const { id } = model.model;
    const kernels = this.#report.model === id ? { kernels: this.#report.kernels } : {};
    const { userAgent } = navigator;
    const image = { prompt, width, height, timings };
    this.#report = { model: id, backend, device, memoryBytes, ...image, ...kernels, userAgent };
    this.#$("kernels").hidden = !this.#report.kernels;
  }

  /**
   * Measures each kernel by itself, which takes as long as a few images.
   * @param {Model} model
   * @param {GeneratedImage} image
   */
  measureKernels(model, { prompt, noise }) {
    return this.#page.runTask(async (signal) => {
      this.#page.announce("Measuring each kernel.");
      const kernels = await model.profile(prompt, { noise, signal });
      this.#report.kernels = kernels.sort((a, b) => b.milliseconds - a.milliseconds);
      const rows = kernels.map(({ kernel, component, runs, milliseconds }) =>
        tableRow(kernel, [component.replace("_", " "), String(runs), milliseconds.toFixed(2)]),
      );
      this.#$("kernels-rows").replaceChildren(...rows);
      this.#$("kernels").hidden = false;
      const [{ kernel }] = kernels;
      this.#page.announce(`${kernels.length} kernels measured; ${kernel} takes the most time.`);
    });
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(JSON.stringify(this.#report, undefined, 2));
      this.#page.announce("The timings are copied.");
    } catch {
      this.#page.announce("This browser does not let the page copy.");
    }
  }
}

/** @param {string} name @param {string[]} cells */
function tableRow(name, cells) {
  const row = document.createElement("tr");
  const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
  row.append(
    head,
    ...cells.map((textContent) => Object.assign(document.createElement("td"), { textContent })),
  );
  return row;
}
