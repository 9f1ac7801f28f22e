// The panel of timings: stages of the last image, kernels one by one, adapter and memory.
import { TIMINGS, device } from "./sentences.js";

export class Panel {
  #$;
  #work;
  #announce;
  /** What "Copy as JSON" copies. */
  #facts = {};

  /** @param {(id: string) => any} $ @param {{ work(task: (signal: AbortSignal) => Promise<void>): Promise<void>, announce(text: string): void }} page */
  constructor($, { work, announce }) {
    [this.#$, this.#work, this.#announce] = [$, work, announce];
    $("copy-timings").addEventListener("click", () => this.#copy());
  }

  /** @param {import("../packages/onestep/index.js").OneStep} model @param {import("../packages/onestep/index.js").Image} image */
  present(model, { timings, prompt, width, height }) {
    this.#$("timings-rows").replaceChildren(
      ...TIMINGS.filter(([key]) => key in timings).map(([key, name]) =>
        row(name, [timings[key].toFixed(1) + " ms"]),
      ),
    );
    this.#$("device").textContent = device(model);
    for (const id of ["measure", "copy-timings"]) this.#$(id).disabled = false;
    const { backend, memoryBytes } = model;
    const kernels = this.#facts.model === model.model.id ? { kernels: this.#facts.kernels } : {};
    this.#facts = {
      model: model.model.id,
      backend,
      device: model.device,
      memoryBytes,
      prompt,
      width,
      height,
      timings,
      ...kernels,
      userAgent: navigator.userAgent,
    };
    this.#$("kernels").hidden = !this.#facts.kernels;
  }

  /** Each kernel by itself: as long as some images. */
  measure(model, { prompt, noise }) {
    return this.#work(async (signal) => {
      this.#announce("Measuring each kernel.");
      const kernels = await model.profile(prompt, { noise, signal });
      this.#facts.kernels = kernels.sort((a, b) => b.milliseconds - a.milliseconds);
      const cells = ({ component, runs, milliseconds }) => [
        component.replace("_", " "),
        runs,
        milliseconds.toFixed(2),
      ];
      this.#$("kernels-rows").replaceChildren(...kernels.map((cost) => row(cost.kernel, cells(cost))));
      this.#$("kernels").hidden = false;
      this.#announce(`${kernels.length} kernels measured; the dearest is ${kernels[0].kernel}.`);
    });
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(JSON.stringify(this.#facts, undefined, 2));
      this.#announce("The timings are copied.");
    } catch {
      this.#announce("This browser does not let the page copy.");
    }
  }
}

function row(name, cells) {
  const row = document.createElement("tr");
  const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
  row.append(
    head,
    ...cells.map((textContent) => Object.assign(document.createElement("td"), { textContent })),
  );
  return row;
}
