// From the network to the GPU: the weights of a model, and its kernels compiled meanwhile.
import { fetchChunks } from "./download.js";

/** @import { Location } from "./bundle-location.js" */
/** @import { DownloadOptions, FileEntry } from "./download.js" */
/** @import { ModelLoader } from "./wasm-builds.js" */

/** A header starts with its length. The build refuses one that is too long. */
const LENGTH_BYTES = 8;

/**
 * Downloads a weight file and writes each chunk to the device once its hash is right. The build itself sees
 * no more than the header of the file.
 * @param {Location} location
 * @param {FileEntry} entry
 * @param {number} number index of the file among the weight files
 * @param {ModelLoader} loader
 * @param {DownloadOptions} options
 */
export function uploadWeights(location, entry, number, loader, options) {
  const { queue } = loader.device();
  const [staging, overlap] = [loader.stagingBuffer(), loader.overlapBytes()];
  return fetchChunks(location, entry, { ...options, overlap }, async (bytes, start, end) => {
    if (start === 0) loader.readHeader(number, header(bytes.subarray(overlap)));
    // Whole words: the bytes after the last one are ignored.
    queue.writeBuffer(staging, 0, bytes.buffer, bytes.byteOffset, (bytes.length + 3) & ~3);
    await loader.pack(start, end);
  });
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
function header(bytes) {
  if (bytes.length < LENGTH_BYTES) return bytes;
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  return bytes.subarray(0, Math.min(LENGTH_BYTES + Number(length), bytes.length));
}

/**
 * Compiles kernels side by side; wgpu would compile one after another at their first use. Browsers reuse a
 * pipeline that they compiled before from the same text and layout, so those of wgpu are there at once for as
 * long as these are referenced. What does not compile is reported when wgpu tries.
 * @param {ModelLoader} loader
 * @param {(done: number, total: number) => void} onProgress
 * @returns {Promise<unknown[]>} the pipelines to hold a reference to
 */
export function compileAhead(loader, onProgress) {
  const [device, kernels] = [loader.device(), loader.kernels()];
  let done = 0;
  return Promise.allSettled(
    kernels.map(async ({ code, entryPoint, entries }) => {
      const module = device.createShaderModule({ code });
      const bindGroupLayouts = [device.createBindGroupLayout({ entries })];
      const layout = device.createPipelineLayout({ bindGroupLayouts });
      const pipeline = await device.createComputePipelineAsync({ layout, compute: { module, entryPoint } });
      onProgress(++done, kernels.length);
      return { module, layout, pipeline };
    }),
  );
}
