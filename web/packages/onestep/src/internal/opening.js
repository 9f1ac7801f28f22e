// From a manifest to a model of the wasm module.
import { recallForms, rememberForms } from "./forms.js";
import { lend } from "./gpu.js";
import { fetchFile } from "./loading.js";
import { compileAhead, uploadWeights } from "./upload.js";

/**
 * @param {any} wasm the module's side of the boundary
 * @param {{ manifest: Uint8Array<ArrayBuffer>, place: import("./loading.js").Place, description: any, options: import("./loading.js").Options, progress(phase: string, done: number, total: number): void, gpu?: GPU }} from
 */
export const openModel = (wasm, from) => (wasm.begin ? openOnGpu : openInMemory)(wasm, from);

/** The module has all files, and computes itself. */
async function openInMemory(wasm, { manifest, place, description, options, progress }) {
  const files = new wasm.Files(manifest);
  for (const entry of description.files) files.add(entry.name, await fetchFile(place, entry, options));
  progress("verify", 0, 1);
  return wasm.open(files, (stage, done, total) => {
    if (stage === "compile") progress("compile", done, total);
    return !options.signal.aborted;
  });
}

/** What the programs are comes first; while the weights come, straight to the device, the kernels are compiled. */
async function openOnGpu(wasm, { manifest, place, description, options, progress, gpu }) {
  const files = new wasm.Files(manifest);
  const isWeights = ({ name }) => description.weights.includes(name);
  const add = async (entry) => files.add(entry.name, await fetchFile(place, entry, options));
  await Promise.all(description.files.filter((entry) => !isWeights(entry)).map(add));
  const going = () => !options.signal.aborted;
  const loading = await lend(gpu, async () => wasm.begin(files, await recallForms(), going));
  const forms = loading.remember();
  if (forms !== undefined) rememberForms(forms);
  let finishing = false;
  try {
    let [compiled, fetched] = [[0, 1], false];
    const compiling = compileAhead(loading, (...counts) => {
      compiled = counts;
      if (fetched) progress("compile", ...compiled);
    });
    for (const [number, name] of description.weights.entries()) {
      const entry = description.files.find((entry) => entry.name === name);
      await uploadWeights(place, entry, number, loading, options);
    }
    fetched = true;
    progress("compile", ...compiled);
    const kept = await compiling;
    options.signal.throwIfAborted();
    finishing = true;
    const model = await loading.finish(going);
    // Not before the module's own pipelines are there.
    kept.length = 0;
    return model;
  } finally {
    if (!finishing) loading.free();
  }
}
