// Sides in Chromium: each has a separate page in one browser, which a strict and cross-origin isolated
// server serves.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  BENCHES,
  CHROMIUM,
  CORES,
  GPU,
  ONNXRUNTIME_WEB,
  PAGE,
  PROMPT,
  SEED,
  WORK,
  chromium,
} from "../settings.js";
import { QUIET } from "../../tests/browser/chromium-flags.js";
import { serve } from "./server.js";

const SOFTWARE = [
  "--use-webgpu-adapter=swiftshader",
  "--enable-unsafe-swiftshader",
  "--use-vulkan=swiftshader",
  "--use-angle=swiftshader",
];
const FLAGS = [
  ...QUIET,
  "--enable-unsafe-webgpu",
  "--enable-features=Vulkan",
  ...(GPU ? ["--use-angle=vulkan", "--ignore-gpu-blocklist"] : SOFTWARE),
];

const server = await serve({
  "": PAGE,
  ort: ONNXRUNTIME_WEB,
  bench: join(BENCHES, "browser"),
  networks: WORK,
});
const launch = () => chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
const browser = await launch();

/** The package's WebAssembly build for the CPU that Chromium uses, if it was built. */
const CPU_BUILD = "onestep-wasm-cpu-relaxed_bg.wasm";
const OURS = "/bench/our-side.js";
const ORT = "/bench/ort-side.js";
const wasm = (threads) => ({ build: "ort.wasm.min.mjs", provider: "wasm", threads });
/** Name, module of the page, settings. */
const SIDES = [
  ["browser · ours, WebGPU", OURS, { backend: "webgpu" }],
  ["browser · onnxruntime-web, WebGPU", ORT, { build: "ort.webgpu.min.mjs", provider: "webgpu" }],
  ["browser · ours, WASM, 1 thread", OURS, { backend: "cpu" }],
  ["browser · onnxruntime-web, WASM, 1 thread", ORT, wasm(1)],
  ...(CORES > 1 ? [[`browser · onnxruntime-web, WASM, ${CORES} threads`, ORT, wasm(CORES)]] : []),
];

class PageSide {
  #page;

  constructor(network, [name, module, settings], within = browser) {
    Object.assign(this, { name, network, module, settings, within });
    this.about = { where: "browser", settings };
    // Our package generates images, and times their stages itself.
    this.whole = module === OURS;
  }

  async open() {
    this.#page = await (await this.within.newContext()).newPage();
    await this.#page.goto(`${server.address}empty.html`);
    const facts = await this.#call("open", {
      settings: this.settings,
      folder: `/networks/${this.network.name}/`,
      prompt: PROMPT,
      seed: SEED,
    });
    if (this.whole) return { ...facts, agreement: { image_db: await this.#call("agreement") } };
    const agreement = {};
    for (const component of ["text_encoder", "generator", "decoder"])
      agreement[component] = await this.#call("agreement", component);
    return { ...facts, agreement };
  }

  /** Loads the model and generates the first image: milliseconds from an empty page to its bytes. */
  async first() {
    this.#page = await (await this.within.newContext()).newPage();
    await this.#page.goto(`${server.address}empty.html`);
    const begun = performance.now();
    await this.#call("open", {
      settings: this.settings,
      folder: `/networks/${this.network.name}/`,
      prompt: PROMPT,
      seed: SEED,
    });
    await this.#call("run", "image");
    return performance.now() - begun;
  }

  run(cell) {
    return this.#call("run", cell);
  }

  async close() {
    await this.#page?.context().close();
  }

  #call(name, argument) {
    return this.#page.evaluate(
      async ([module, name, argument]) => (await import(module))[name](argument),
      [this.module, name, argument],
    );
  }
}

export const browserSides = (network) => SIDES.map((side) => new PageSide(network, side));

/** The first image in a browser that was started for it: [milliseconds, …] by side, or a failure. */
export async function coldStarts(network, wanted, patiently) {
  const found = {};
  for (const side of SIDES.filter(([name]) => wanted(name))) {
    const times = [];
    let failure;
    // One that takes long is not repeated.
    while (failure === undefined && times.length < 3 && (times[0] ?? 0) < 30_000) {
      const own = await launch();
      const took = await patiently(new PageSide(network, side, own).first());
      await own.close();
      if (typeof took === "number") times.push(took);
      else ({ failure } = took);
    }
    found[side[0]] = times.length > 0 ? { times } : { failure };
  }
  return found;
}

/** Bytes of code that a page must fetch before it can run anything: as they are, and gzipped. */
export function downloads() {
  const size = (files) => {
    const bytes = files.map((file) => readFileSync(file));
    return {
      bytes: bytes.reduce((sum, { length }) => sum + length, 0),
      gzip: bytes.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0),
    };
  };
  const page = (...names) => size(names.map((name) => join(PAGE, name)));
  const ort = (...names) => size(names.map((name) => join(ONNXRUNTIME_WEB, name)));
  return {
    version: browser.version(),
    flags: FLAGS,
    code: {
      "ours, WebGPU": page("onestep-wasm.js", "onestep-wasm_bg.wasm"),
      ...(existsSync(join(PAGE, CPU_BUILD))
        ? { "ours, WASM": page("onestep-wasm-cpu-relaxed.js", CPU_BUILD) }
        : {}),
      "onnxruntime-web, WebGPU": ort(
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
      ),
      "onnxruntime-web, WASM": ort(
        "ort.wasm.min.mjs",
        "ort-wasm-simd-threaded.mjs",
        "ort-wasm-simd-threaded.wasm",
      ),
    },
  };
}
