// Bytes from the network: counted, bounded by what the manifest says, and compared with its hashes piece by piece as they come.
import { OneStepError } from "../public/errors.js";
import { hash } from "./hash.js";

const MANIFEST_BYTES = 1 << 20;
/** A connection that sends nothing for so long is broken. */
const STALL_MS = 60_000;

/**
 * The manifest's address and its hash, if the caller knows it.
 * @param {import("../../index.js").BundleRef} bundle
 */
export function bundleAddress(bundle) {
  const { url: given, sha256 } = typeof bundle === "string" || bundle instanceof URL ? { url: bundle } : (bundle ?? {});
  let url;
  try {
    url = new URL(given, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    throw new OneStepError("invalid-option", `${String(given).slice(0, 200)} is no address of a model.`);
  }
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256)) throw new OneStepError("invalid-option", "sha256 must be 64 hexadecimal digits.");
  if (!url.pathname.endsWith(".json")) {
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    url.pathname += "manifest.json";
  }
  return { url, sha256: sha256?.toLowerCase() };
}

/** @param {URL} url @param {string | undefined} sha256 @param {AbortSignal} [signal] */
export async function fetchManifest(url, sha256, signal) {
  const bytes = await fetchBytes(url, "manifest.json", { most: MANIFEST_BYTES, signal });
  if (sha256 !== undefined) {
    const found = await hash(bytes);
    if (found !== sha256) {
      throw new OneStepError("integrity", "The model's manifest is not the one that this page expects.", { file: "manifest.json", expected: sha256, actual: found });
    }
  }
  return bytes;
}

/**
 * One file of a bundle, whole.
 * @param {URL} manifest
 * @param {Entry} entry
 * @param {Options} options
 */
export async function fetchFile(manifest, entry, options) {
  const bytes = memory(entry.size, entry.name);
  await fetchPieces(manifest, entry, { ...options, carried: 0 }, (piece, start) => bytes.set(piece, start));
  return bytes;
}

/**
 * One file of a bundle, piece by piece: `take(bytes, start, end)` gets each once it is what the manifest says, behind the last `carried` bytes
 * before it. Should a later piece be another than expected, all come once more from the first one on. `bytes` is taken back when `take` is done.
 * @param {URL} manifest
 * @param {Entry} entry
 * @param {Options & { carried: number }} options
 * @param {(bytes: Uint8Array<ArrayBuffer>, start: number, end: number) => void | Promise<void>} take
 * @typedef {{ name: string, size: number, pieces: string[] }} Entry
 * @typedef {{ pieceBytes: number, onBytes(bytes: number): void, signal?: AbortSignal }} Options
 */
export async function fetchPieces(manifest, entry, options, take) {
  let received = 0;
  const onBytes = (bytes) => {
    received += bytes;
    options.onBytes(bytes);
  };
  try {
    await fetchOnce(manifest, entry, { ...options, onBytes }, take);
  } catch (error) {
    if (!(error instanceof OneStepError) || error.kind !== "integrity") throw error;
    // The browser's cache may hold an older bundle's file.
    options.onBytes(-received);
    await fetchOnce(manifest, entry, { ...options, cache: "reload" }, take);
  }
}

async function fetchOnce(manifest, { name, size, pieces }, { pieceBytes, carried, onBytes, signal, cache }, take) {
  // Whole words: the graphics processor takes no less.
  const buffer = memory((carried + Math.min(pieceBytes, size) + 3) & ~3, name);
  let [index, filled] = [0, carried];
  const end = () => Math.min((index + 1) * pieceBytes, size);
  const complete = async () => {
    const start = index * pieceBytes;
    const found = await hash(buffer.subarray(carried, filled));
    if (found !== pieces[index]) {
      throw new OneStepError("integrity", `A downloaded file is not the one that this model expects (${name}). It was thrown away.`, { file: name, piece: index, expected: pieces[index], actual: found });
    }
    await take(buffer.subarray(0, filled), start, end());
    buffer.copyWithin(0, filled - carried, filled);
    [index, filled] = [index + 1, carried];
  };
  const received = await fetchChunks(new URL(name, manifest), name, { size, cache, signal }, async (chunk) => {
    onBytes(chunk.length);
    while (chunk.length > 0) {
      const part = chunk.subarray(0, end() - index * pieceBytes - (filled - carried));
      buffer.set(part, filled);
      filled += part.length;
      chunk = chunk.subarray(part.length);
      if (index * pieceBytes + filled - carried === end()) await complete();
    }
  });
  // A connection without a length that is cut looks like one that has ended.
  if (received !== size) throw otherLength(name, size, received);
}

/** All bytes of a small file whose size nobody knows beforehand. */
async function fetchBytes(url, name, { most, signal }) {
  const chunks = [];
  const length = await fetchChunks(url, name, { most, signal }, (chunk) => void chunks.push(chunk));
  const bytes = memory(length, name);
  let filled = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  return bytes;
}

/**
 * @param {URL} url
 * @param {string} name for sentences
 * @param {{ size?: number, most?: number, cache?: RequestCache, signal?: AbortSignal }} options `size` is what is expected, `most` a bound.
 * @param {(chunk: Uint8Array<ArrayBuffer>) => void | Promise<void>} take what it throws is thrown as it is
 * @returns {Promise<number>} how many bytes came
 */
async function fetchChunks(url, name, { size, most = size, cache = "default", signal }, take) {
  const stalled = new AbortController();
  let [timer, received, refused] = [undefined, 0, undefined];
  const waiting = () => (timer = setTimeout(() => stalled.abort(), STALL_MS));
  let reader;
  try {
    waiting();
    const response = await fetch(url, { signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal, cache });
    if (!response.ok) {
      const what = response.status === 404 ? "is not there" : "was refused by the server";
      throw new OneStepError("network", `The file ${name} of the model ${what} (status ${response.status}).`, { file: name, status: response.status });
    }
    reader = response.body?.getReader();
    while (reader) {
      const { done, value } = await reader.read();
      // What is done with the bytes is not the connection's time.
      clearTimeout(timer);
      if (done) break;
      received += value.length;
      if (received > most) throw otherLength(name, size, received);
      try {
        await take(value);
      } catch (error) {
        refused = error;
        throw error;
      }
      signal?.throwIfAborted();
      waiting();
    }
    return received;
  } catch (error) {
    reader?.cancel().catch(() => {});
    if (signal?.aborted) throw signal.reason;
    if (refused !== undefined || error instanceof OneStepError) throw error;
    const why = stalled.signal.aborted ? `nothing came for ${STALL_MS / 1000} seconds` : "the connection broke";
    const where = size === undefined ? "" : ` at ${megabytes(received)} of ${megabytes(size)}`;
    throw new OneStepError("network", `The file ${name} of the model could not be fetched: ${why}${where}.`, { file: name, received });
  } finally {
    clearTimeout(timer);
  }
}

function otherLength(name, size, actual) {
  return new OneStepError("integrity", `A downloaded file is not the one that this model expects (${name} has another length).`, { file: name, ...(size === undefined ? {} : { expected: size }), actual });
}

function memory(size, name) {
  try {
    return new Uint8Array(size);
  } catch {
    throw new OneStepError("out-of-memory", `This browser could not give the memory for ${name}, ${megabytes(size)}.`, { file: name });
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
