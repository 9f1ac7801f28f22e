// From a manifest to a loaded model of a WebAssembly build.
import { fetchFile } from "./download.js";
import { withGpu } from "./gpu-source.js";
import { readKernelVariants, writeKernelVariants } from "./kernel-variants.js";
import { compileAhead, uploadWeights } from "./upload.js";

/** @import { Location } from "./bundle-location.js" */
/** @import { DownloadOptions, FileEntry } from "./download.js" */
/** @import { OnProgress } from "./engine.js" */
/** @import { LoadedModel, ManifestSummary, WasmExports } from "./wasm-builds.js" */

/**
 * @param {WasmExports} wasm
 * @param {Uint8Array<ArrayBuffer>} manifest
 * @param {ManifestSummary} summary of the manifest
 * @param {Location} location
 * @param {DownloadOptions} download
 * @param {OnProgress} onProgress
 * @param {GPU} [gpu] WebGPU, if it does not come from `navigator`
 * @returns {Promise<LoadedModel>}
 */
export async function openModel(wasm, manifest, summary, location, download, onProgress, gpu) {
  const files = new wasm.BundleFiles(manifest);
  /** @param {FileEntry} entry */
  const add = async (entry) => files.add(entry.name, await fetchFile(location, entry, download));
  const isRunning = () => !download.signal?.aborted;

  if (wasm.openModel) {
    for (const entry of summary.files) await add(entry);
    onProgress("verify", 0, 1);
    return wasm.openModel(files, (stage, done, total) => {
      if (stage === "compile") onProgress("compile", done, total);
      return isRunning();
    });
  }

  // The programs come first. While the weights go to the device as they arrive, the kernels are compiled.
  const { startLoading } = wasm;
  if (!startLoading) throw new Error("the WebAssembly build can load no model");
  const isWeightFile = (/** @type {FileEntry} */ { name }) => summary.weights.includes(name);
  await Promise.all(summary.files.filter((entry) => !isWeightFile(entry)).map(add));
  const loader = await withGpu(gpu, async () => startLoading(files, await readKernelVariants(), isRunning));
  const variants = loader.kernelVariants();
  if (variants !== undefined) writeKernelVariants(variants);
  let finishing = false;
  try {
    /** @type {[number, number]} */
    let compiled = [0, 1];
    let fetched = false;
    const compiling = compileAhead(loader, (...counts) => {
      compiled = counts;
      if (fetched) onProgress("compile", ...compiled);
    });
    for (const [number, name] of summary.weights.entries()) {
      const entry = summary.files.find((file) => file.name === name);
      if (entry) await uploadWeights(location, entry, number, loader, download);
    }
    fetched = true;
    onProgress("compile", ...compiled);
    const pipelines = await compiling;
    download.signal?.throwIfAborted();
    finishing = true;
    const model = await loader.finish(isRunning);
    // Not before the build has its own pipelines.
    pipelines.length = 0;
    return model;
  } finally {
    if (!finishing) loader.free();
  }
}
