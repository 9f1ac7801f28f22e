// What the page needs to know of a manifest before anything else is fetched. The wasm module checks it again, with every limit.
import { OneStepError } from "../public/errors.js";
import { hash } from "./hash.js";

/** A file has a hash for every so many bytes, the last ones fewer. */
export const CHUNK_BYTES = 16 << 20;

/**
 * The model, and what loading it reads: how many bytes, and in which chunks.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<{ model: import("../../index.js").ModelInfo, bytes: number, chunks: { hash: string, size: number }[] }>}
 */
export async function readManifest(bytes) {
  const damaged = (what) =>
    new OneStepError("invalid-bundle", `The model's manifest is damaged: ${what}.`, {
      file: "manifest.json",
    });
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
  const { title, license, generation, components, weights, card, tokenizer, files } = manifest;
  const size = generation?.image;
  if (
    typeof title !== "string" ||
    typeof license !== "string" ||
    !Array.isArray(files) ||
    !Array.isArray(weights)
  )
    throw damaged("parts of it are missing");
  if (!Array.isArray(size) || size.length !== 2 || !size.every(isCount))
    throw damaged("it says no size of images");
  const needed = new Set([...Object.values(components ?? {}), ...weights, card, tokenizer]);
  let total = 0;
  const chunks = [];
  for (const file of files) {
    if (!isCount(file?.size)) throw damaged("a file has no size");
    if (!needed.has(file.name)) continue;
    total += file.size;
    if (!Array.isArray(file.chunks)) throw damaged("a file has no hashes");
    for (const [index, hash] of file.chunks.entries())
      chunks.push({ hash: String(hash), size: Math.min(CHUNK_BYTES, file.size - index * CHUNK_BYTES) });
  }
  return {
    model: { id: await hash(bytes), title, license, sizes: [[size[0], size[1]]] },
    bytes: total,
    chunks,
  };
}

const isCount = (number) => Number.isSafeInteger(number) && number >= 0;
