// What the page reads of a manifest before anything else is downloaded. The WebAssembly build checks it
// again, against every limit.
import { OneStepError } from "../public/errors.js";
import { sha256 } from "./sha256.js";

/** @import { ModelInfo } from "../public/types.js" */

/** Size of a chunk: a file has a hash for each, and the last one may be shorter. */
export const CHUNK_BYTES = 16 << 20;

/** A chunk by its hash. @typedef {{ hash: string, size: number }} Chunk */

/**
 * The model, and what loading it reads: how many bytes, and in which chunks.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<{ model: ModelInfo, bytes: number, chunks: Chunk[] }>}
 */
export async function readManifest(bytes) {
  const manifest = parse(bytes);
  const { title, license, generation, components, weights, card, files } = manifest;
  const size = generation?.image;
  if (
    typeof title !== "string" ||
    typeof license !== "string" ||
    !Array.isArray(files) ||
    !Array.isArray(weights)
  ) {
    throw damaged("parts of it are missing");
  }
  if (!Array.isArray(size) || size.length !== 2 || !size.every(isCount)) {
    throw damaged("it says no size of images");
  }
  const { tokenizer, tokenizer_2 } = manifest;
  const needed = new Set([...Object.values(components ?? {}), ...weights, card, tokenizer, tokenizer_2]);
  let total = 0;
  /** @type {Chunk[]} */
  const chunks = [];
  for (const file of files) {
    if (!isCount(file?.size)) throw damaged("a file has no size");
    if (!needed.has(file.name)) continue;
    total += file.size;
    if (!Array.isArray(file.chunks)) throw damaged("a file has no hashes");
    for (const [index, hash] of file.chunks.entries()) {
      chunks.push({
        hash: String(hash),
        size: Math.min(CHUNK_BYTES, file.size - index * CHUNK_BYTES),
      });
    }
  }
  const model = {
    id: await sha256(bytes),
    title,
    license,
    sizes: [/** @type {const} */ ([size[0], size[1]])],
  };
  return { model, bytes: total, chunks };
}

/**
 * The manifest as JSON, of the version that this package reads.
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
function parse(bytes) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw damaged("it is not JSON");
  }
  if (manifest?.format !== "onestep-bundle") throw damaged("it is not one of a onestep model");
  if (manifest.version !== 2) {
    throw new OneStepError(
      "invalid-bundle",
      `This model is of the version ${String(manifest.version).slice(0, 20)}, and this page knows version 2.`,
      { file: "manifest.json" },
    );
  }
  return manifest;
}

/** @param {string} what */
const damaged = (what) =>
  new OneStepError("invalid-bundle", `The model's manifest is damaged: ${what}.`, { file: "manifest.json" });

/** @param {unknown} number */
const isCount = (number) => Number.isSafeInteger(number) && Number(number) >= 0;
