// The wasm modules: where they are, each a file of bytes and its side of JavaScript, and how one is begun.
import { OneStepError } from "../public/errors.js";
import { base, readLocal } from "./local.js";

/** In the order of `own`. */
const NAMES = ["onestep-wasm", "onestep-wasm-cpu", "onestep-wasm-cpu-relaxed"];

/** The package's own. Whole expressions: bundlers find them and copy the files. */
const own = () => [
  [
    new URL("../../wasm/onestep-wasm.js", import.meta.url),
    new URL("../../wasm/onestep-wasm_bg.wasm", import.meta.url),
  ],
  [
    new URL("../../wasm/onestep-wasm-cpu.js", import.meta.url),
    new URL("../../wasm/onestep-wasm-cpu_bg.wasm", import.meta.url),
  ],
  [
    new URL("../../wasm/onestep-wasm-cpu-relaxed.js", import.meta.url),
    new URL("../../wasm/onestep-wasm-cpu-relaxed_bg.wasm", import.meta.url),
  ],
];

/** Some bundlers put in the place of those addresses what is relative to the site. */
const absolute = ({ href }) => new URL(href, globalThis.location?.href).href;

export const packaged = () =>
  Object.fromEntries(own().map((files, index) => [NAMES[index], files.map(absolute)]));

/** Those of a folder. @param {string | URL} folder */
export function among(folder) {
  const place = new URL(folder, base());
  if (!place.pathname.endsWith("/")) place.pathname += "/";
  return Object.fromEntries(
    NAMES.map((name) => [name, [new URL(`${name}.js`, place).href, new URL(`${name}_bg.wasm`, place).href]]),
  );
}

/** A module whose one function multiplies and adds vectors in one instruction, which relaxed SIMD has and not every browser. */
const FUSED = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0],
  ...[10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2, 253, 133, 2, 11],
);

/** One of each path is loaded here, however many models use it. @type {Map<string, Promise<any>>} */
const begun = new Map();

/**
 * The side of the boundary of the module for a backend; the others are not fetched.
 * @param {import("../../index.js").Backend} backend
 * @param {Record<string, [string, string]>} modules
 */
export function moduleFor(backend, modules) {
  const name =
    backend === "webgpu"
      ? "onestep-wasm"
      : WebAssembly.validate(FUSED)
        ? "onestep-wasm-cpu-relaxed"
        : "onestep-wasm-cpu";
  const [script] = modules[name];
  if (!begun.has(script)) {
    const module = begin(modules[name]);
    // What could not be loaded is tried again the next time.
    module.catch(() => begun.delete(script));
    begun.set(script, module);
  }
  return begun.get(script);
}

async function begin([script, bytes]) {
  const missing = (address) => {
    const file = new URL(address).pathname.split("/").pop();
    return new OneStepError(
      "network",
      `The page's own program could not be loaded (${file}). Loading the page again may help.`,
      { file },
    );
  };
  let module;
  try {
    module = await import(/* webpackIgnore: true */ /* @vite-ignore */ script);
  } catch {
    throw missing(script);
  }
  try {
    await module.default({ module_or_path: (await readLocal(bytes)) ?? new URL(bytes) });
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) {
      throw new OneStepError("unsupported", `This browser cannot run the page's program: ${error.message}`);
    }
    throw missing(bytes);
  }
  return module;
}
