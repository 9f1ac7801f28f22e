// From the network to the graphics processor: the weights of a model, and its kernels compiled meanwhile.
import { fetchChunks } from "./loading.js";

/** A header says its own length in front, and the module refuses one that is too long. */
const LENGTH_BYTES = 8;

/**
 * A weight file, each chunk of which is written to the device as soon as it is the expected one; the module sees no more than its header.
 * @param {import("./loading.js").Place} place
 * @param {import("./loading.js").Entry} entry
 * @param {number} number its place among the weight files
 * @param {any} loading the module's
 * @param {import("./loading.js").Options} options
 */
export function uploadWeights(place, entry, number, loading, options) {
  const { queue } = loading.device();
  const [raw, carried] = [loading.raw(), loading.carried()];
  return fetchChunks(place, entry, { ...options, carried }, async (bytes, start, end) => {
    if (start === 0) loading.header(number, header(bytes.subarray(carried)));
    // Whole words: what stands behind the last bytes is not looked at.
    queue.writeBuffer(raw, 0, bytes.buffer, bytes.byteOffset, (bytes.length + 3) & ~3);
    await loading.pack(start, end);
  });
}

function header(bytes) {
  if (bytes.length < LENGTH_BYTES) return bytes;
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  return bytes.subarray(0, Math.min(LENGTH_BYTES + Number(length), bytes.length));
}

/**
 * Compiles kernels side by side. wgpu would do so one after another when they are first used; browsers take a pipeline that they have made before
 * from the same text and layout, so its own are there at once as long as these are kept. What cannot be compiled is told when wgpu tries.
 * @param {any} loading the module's
 * @param {(done: number, total: number) => void} onProgress
 * @returns {Promise<unknown>} what is to be kept
 */
export function compileAhead(loading, onProgress) {
  const [device, kernels] = [loading.device(), loading.kernels()];
  let done = 0;
  return Promise.allSettled(
    kernels.map(async ({ code, entryPoint, entries }) => {
      const module = device.createShaderModule({ code });
      const layout = device.createPipelineLayout({
        bindGroupLayouts: [device.createBindGroupLayout({ entries })],
      });
      const pipeline = await device.createComputePipelineAsync({ layout, compute: { module, entryPoint } });
      onProgress(++done, kernels.length);
      return { module, layout, pipeline };
    }),
  );
}
