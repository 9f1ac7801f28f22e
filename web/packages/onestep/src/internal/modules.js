// Where the wasm modules are: each is a file of bytes and its side of JavaScript.

/** In the order of `own`. */
const NAMES = ["onestep-wasm", "onestep-wasm-cpu", "onestep-wasm-cpu-relaxed"];

/** The package's own. Whole expressions: bundlers find them and copy the files. */
const own = () => [
  [new URL("../../wasm/onestep-wasm.js", import.meta.url), new URL("../../wasm/onestep-wasm_bg.wasm", import.meta.url)],
  [new URL("../../wasm/onestep-wasm-cpu.js", import.meta.url), new URL("../../wasm/onestep-wasm-cpu_bg.wasm", import.meta.url)],
  [new URL("../../wasm/onestep-wasm-cpu-relaxed.js", import.meta.url), new URL("../../wasm/onestep-wasm-cpu-relaxed_bg.wasm", import.meta.url)],
];

/** Some bundlers put in the place of those addresses what is relative to the site. */
const absolute = ({ href }) => new URL(href, globalThis.location?.href).href;

export const packaged = () => Object.fromEntries(own().map((files, index) => [NAMES[index], files.map(absolute)]));

/** Those of a folder. @param {string | URL} folder */
export function among(folder) {
  const base = new URL(folder, globalThis.document?.baseURI ?? globalThis.location?.href);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return Object.fromEntries(NAMES.map((name) => [name, [new URL(`${name}.js`, base).href, new URL(`${name}_bg.wasm`, base).href]]));
}
