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
 * One file of a bundle. A file that is not the expected one is fetched once more past the browser's cache, which may hold an older bundle's.
 * @param {URL} manifest
 * @param {{ name: string, size: number, pieces: string[] }} entry
 * @param {{ pieceBytes: number, onBytes(bytes: number): void, signal?: AbortSignal }} options
 */
export async function fetchFile(manifest, entry, options) {
  let received = 0;
  const onBytes = (bytes) => {
    received += bytes;
    options.onBytes(bytes);
  };
  try {
    return await fetchPieces(manifest, entry, { ...options, onBytes });
  } catch (error) {
    if (!(error instanceof OneStepError) || error.kind !== "integrity") throw error;
    options.onBytes(-received);
    return fetchPieces(manifest, entry, { ...options, cache: "reload" });
  }
}

async function fetchPieces(manifest, entry, { pieceBytes, onBytes, signal, cache }) {
  const { name, size, pieces } = entry;
  const checks = [];
  const check = (index, piece) =>
    hash(piece).then((found) => {
      if (found !== pieces[index]) {
        throw new OneStepError("integrity", `A downloaded file is not the one that this model expects (${name}). It was thrown away.`, { file: name, piece: index, expected: pieces[index], actual: found });
      }
    });
  const bytes = await fetchBytes(new URL(name, manifest), name, {
    size,
    cache,
    signal,
    onBytes: (count, buffer, filled) => {
      onBytes(count);
      while (checks.length < pieces.length) {
        const [start, end] = [checks.length * pieceBytes, Math.min((checks.length + 1) * pieceBytes, size)];
        if (end > filled) break;
        const checked = check(checks.length, buffer.subarray(start, end));
        // Waited for below; until then a rejection is not unhandled.
        checked.catch(() => {});
        checks.push(checked);
      }
    },
  });
  await Promise.all(checks);
  return bytes;
}

/**
 * @param {URL} url
 * @param {string} name for sentences
 * @param {{ size?: number, most?: number, cache?: RequestCache, signal?: AbortSignal, onBytes?(count: number, buffer: Uint8Array, filled: number): void }} options
 * `size` is exact, `most` a bound.
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function fetchBytes(url, name, { size, most = size, cache = "default", signal, onBytes }) {
  const stalled = new AbortController();
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => stalled.abort(), STALL_MS);
  };
  let filled = 0;
  try {
    alive();
    const response = await fetch(url, { signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal, cache });
    if (!response.ok) {
      const what = response.status === 404 ? "is not there" : "was refused by the server";
      throw new OneStepError("network", `The file ${name} of the model ${what} (status ${response.status}).`, { file: name, status: response.status });
    }
    const length = () => new OneStepError("integrity", `A downloaded file is not the one that this model expects (${name} has another length).`, { file: name, ...(size === undefined ? {} : { expected: size }), actual: filled });
    let buffer = new Uint8Array(size ?? 1 << 16);
    const reader = response.body?.getReader();
    while (reader) {
      const { done, value } = await reader.read();
      if (done) break;
      alive();
      if (filled + value.length > most) {
        filled += value.length;
        reader.cancel().catch(() => {});
        throw length();
      }
      if (filled + value.length > buffer.length) {
        const larger = new Uint8Array(Math.min(most, Math.max(buffer.length * 2, filled + value.length)));
        larger.set(buffer.subarray(0, filled));
        buffer = larger;
      }
      buffer.set(value, filled);
      filled += value.length;
      onBytes?.(value.length, buffer, filled);
    }
    // A connection without a length that is cut looks like one that has ended.
    if (size !== undefined && filled !== size) throw length();
    if (size === 0) onBytes?.(0, buffer, 0);
    return size === undefined ? buffer.slice(0, filled) : buffer;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof OneStepError) throw error;
    if (error instanceof RangeError) {
      throw new OneStepError("out-of-memory", `This browser could not give the memory for ${name}, ${megabytes(size ?? filled)}.`, { file: name });
    }
    const why = stalled.signal.aborted ? `nothing came for ${STALL_MS / 1000} seconds` : "the connection broke";
    const where = size === undefined ? "" : ` at ${megabytes(filled)} of ${megabytes(size)}`;
    throw new OneStepError("network", `The file ${name} of the model could not be fetched: ${why}${where}.`, { file: name, received: filled });
  } finally {
    clearTimeout(timer);
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
