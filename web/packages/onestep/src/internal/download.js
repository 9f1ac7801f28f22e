// Files of a bundle, from the persistent cache or the network: bounded by the sizes in the manifest, and
// compared with its hashes chunk by chunk as they arrive.
import { OneStepError } from "../public/errors.js";
import { readLocalFile } from "./local-files.js";
import { CHUNK_BYTES } from "./manifest.js";
import { sha256 } from "./sha256.js";

/** @import { Location } from "./bundle-location.js" */
/** @import { Store, ChunkWriter } from "./store.js" */

/**
 * A file as its manifest lists it; `chunks` are hashes.
 * @typedef {{ name: string, size: number, chunks: string[] }} FileEntry
 */

/**
 * @typedef {object} DownloadOptions
 * @property {Store} store
 * @property {(bytes: number, cached: number) => void} onBytes called with the bytes that arrived, and how
 *   many of them came from the store; with negative numbers when a file starts again
 * @property {AbortSignal} [signal]
 */

/**
 * Takes a chunk: `bytes` are its bytes `start` to before `end` of the file, after those that overlap. They
 * are overwritten when the promise resolves.
 * @typedef {(bytes: Uint8Array<ArrayBuffer>, start: number, end: number) => void | Promise<void>} TakeChunk
 */

/**
 * One file while it is downloaded into a buffer of one chunk.
 * @typedef {object} FileDownload
 * @property {Location} location
 * @property {FileEntry} entry
 * @property {Store} store
 * @property {(bytes: number, cached: number) => void} onBytes
 * @property {AbortSignal | undefined} signal
 * @property {RequestCache} [cache]
 * @property {number} overlap
 * @property {Uint8Array<ArrayBuffer>} buffer
 * @property {(index: number) => Promise<void>} deliver
 */

const MANIFEST_BYTES = 1 << 20;
/** A connection that sends nothing for this long is broken. */
const STALL_MS = 60_000;

/**
 * The manifest from its location; from the store if it is pinned, or if there is no network and it was used
 * before.
 * @param {Location} location
 * @param {string | undefined} expected its hash, if it is pinned
 * @param {{ signal?: AbortSignal, store: Store }} options
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function fetchManifest(location, expected, { signal, store }) {
  if (expected !== undefined) {
    const stored = await store.manifest({ id: expected });
    if (stored) return stored;
  }
  let bytes;
  try {
    bytes = await fetchSmallFile(location, "manifest.json", MANIFEST_BYTES, signal);
  } catch (error) {
    // If the server answers with a status, that counts; the store is for when there is no answer.
    const offline =
      error instanceof OneStepError && error.kind === "network" && error.detail.status === undefined;
    const stored = offline && location.url ? await store.manifest({ url: location.url }) : undefined;
    if (!stored || expected !== undefined) throw error;
    return stored;
  }
  if (expected !== undefined) {
    const actual = await sha256(bytes);
    if (actual !== expected) {
      throw new OneStepError("integrity", "The model's manifest is not the one that this page expects.", {
        file: "manifest.json",
        expected,
        actual,
      });
    }
  }
  return bytes;
}

/**
 * Downloads a whole file.
 * @param {Location} location
 * @param {FileEntry} entry
 * @param {DownloadOptions} options
 */
export async function fetchFile(location, entry, options) {
  const bytes = allocate(entry.size, entry.name);
  await fetchChunks(location, entry, { ...options, overlap: 0 }, (chunk, start) => bytes.set(chunk, start));
  return bytes;
}

/**
 * Downloads a file chunk by chunk: `take` gets each chunk once its hash is right, after the last `overlap`
 * bytes before it. If a later chunk has another hash, all chunks come once more from the first one on.
 * @param {Location} location
 * @param {FileEntry} entry
 * @param {DownloadOptions & { overlap: number }} options
 * @param {TakeChunk} take
 */
export async function fetchChunks(location, entry, options, take) {
  let [received, cached] = [0, 0];
  /** @param {number} bytes @param {number} fromStore */
  const onBytes = (bytes, fromStore) => {
    received += bytes;
    cached += fromStore;
    options.onBytes(bytes, fromStore);
  };
  try {
    await fetchChunksOnce(location, entry, { ...options, onBytes }, take);
  } catch (error) {
    if (!(error instanceof OneStepError) || error.kind !== "integrity") throw error;
    // The browser's cache may have an older bundle's file, and the stored part of a chunk may be of another
    // one.
    options.onBytes(-received, -cached);
    await fetchChunksOnce(location, entry, { ...options, cache: "reload" }, take);
  }
}

/**
 * @param {Location} location
 * @param {FileEntry} entry
 * @param {DownloadOptions & { overlap: number, cache?: RequestCache }} options
 * @param {TakeChunk} take
 */
async function fetchChunksOnce(location, entry, { overlap, ...options }, take) {
  const { chunks } = entry;
  const { store, onBytes, signal, cache } = options;
  // Whole words, because the GPU takes no less.
  const buffer = allocate((overlap + Math.min(CHUNK_BYTES, entry.size) + 3) & ~3, entry.name);
  // The buffer has the overlap, then the chunk.
  /** @param {number} index */
  const deliver = async (index) => {
    const [start, length] = [index * CHUNK_BYTES, chunkLength(entry, index)];
    await take(buffer.subarray(0, overlap + length), start, start + length);
    buffer.copyWithin(0, length, overlap + length);
  };
  /** @type {FileDownload} */
  const download = { location, entry, store, onBytes, signal, cache, overlap, buffer, deliver };

  let index = 0;
  while (index < chunks.length) {
    signal?.throwIfAborted();
    const chunk = buffer.subarray(overlap, overlap + chunkLength(entry, index));
    const stored = await store.read(chunks[index], chunk);
    if (stored === chunk.length && (await sha256(chunk)) === chunks[index]) {
      onBytes(stored, stored);
      await deliver(index++);
      continue;
    }
    const present = stored < chunk.length ? stored : 0;
    // The stored bytes are damaged, or of another chunk.
    if (stored > present) await store.forget(chunks[index]);
    let end = index + 1;
    while (end < chunks.length && (await store.size(chunks[end])) !== chunkLength(entry, end)) end++;
    onBytes(present, present);
    await fetchRun(download, index, end, present);
    index = end;
  }
}

/** @param {FileEntry} entry @param {number} index */
const chunkLength = ({ size }, index) => Math.min(CHUNK_BYTES, size - index * CHUNK_BYTES);

/**
 * Fetches the chunks `first` to before `end` in one request. The buffer has the first `present` bytes
 * already.
 * @param {FileDownload} download
 * @param {number} first
 * @param {number} end
 * @param {number} present
 */
async function fetchRun(download, first, end, present) {
  const { location, entry, store, buffer, overlap, deliver, onBytes, signal, cache } = download;
  const { name, size, chunks } = entry;
  let [index, filled] = [first, present];
  /** @type {ChunkWriter | undefined} */
  let writer = await store.writer(chunks[index]);
  try {
    const from = first * CHUNK_BYTES + present;
    const to = Math.min(end * CHUNK_BYTES, size);
    const stores = (await store.usable()) && !store.refusal;
    const range = { size, from, to, most: to - from, cache, signal, stores };
    const received = await fetchRange(location, name, range, async (bytes) => {
      onBytes(bytes.length, 0);
      while (bytes.length > 0) {
        const length = chunkLength(entry, index);
        const part = bytes.subarray(0, length - filled);
        buffer.set(part, overlap + filled);
        writer?.write(part, filled);
        filled += part.length;
        bytes = bytes.subarray(part.length);
        if (filled < length) continue;
        writer?.close();
        writer = undefined;
        const actual = await sha256(buffer.subarray(overlap, overlap + filled));
        if (actual !== chunks[index]) {
          await store.forget(chunks[index]);
          throw wrongHash(location, name, index, chunks[index], actual);
        }
        await deliver(index);
        [index, filled] = [index + 1, 0];
        if (index < end) writer = await store.writer(chunks[index]);
      }
    });
    // A connection without a length that is cut looks like one that has ended.
    if (received !== to - from) throw wrongLength(name, size, from + received);
  } finally {
    writer?.close();
  }
}

/**
 * Downloads a small file without knowing its size beforehand.
 * @param {Location} location
 * @param {string} name
 * @param {number} most
 * @param {AbortSignal | undefined} signal
 */
async function fetchSmallFile(location, name, most, signal) {
  /** @type {Uint8Array[]} */
  const parts = [];
  const range = { from: 0, most, signal, stores: false };
  const length = await fetchRange(location, name, range, (part) => void parts.push(part));
  const bytes = allocate(length, name);
  let filled = 0;
  for (const part of parts) {
    bytes.set(part, filled);
    filled += part.length;
  }
  return bytes;
}

/**
 * The bytes `from` to before `to` of a file of `size` bytes; all bytes of a file of unknown size.
 * @typedef {object} Range
 * @property {number} from
 * @property {number} [to]
 * @property {number} [size]
 * @property {number} most a bound on the bytes
 * @property {RequestCache} [cache]
 * @property {AbortSignal} [signal]
 * @property {boolean} stores whether what arrives is stored
 */

/**
 * Fetches a range and returns how many bytes came.
 * @param {Location} location
 * @param {string} name
 * @param {Range} range
 * @param {(bytes: Uint8Array<ArrayBuffer>) => void | Promise<void>} take what it throws is thrown unchanged
 * @returns {Promise<number>}
 */
async function fetchRange(location, name, range, take) {
  const { from, to = Infinity, size = Infinity, most, signal } = range;
  const stalled = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const watch = () => (timer = setTimeout(() => stalled.abort(), STALL_MS));
  let received = 0;
  let takeFailed = false;
  /** @type {ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined} */
  let reader;
  try {
    watch();
    const either = signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal;
    const response = await request(location, name, range, either);
    if (!response.ok) {
      const { status } = response;
      const what = status === 404 ? "is not there" : "was refused by the server";
      throw new OneStepError("network", `The file ${name} of the model ${what} (status ${status}).`, {
        file: name,
        status,
      });
    }
    // A server may ignore the range and send the whole file.
    let skip = response.status === 206 ? 0 : from;
    reader = response.body?.getReader();
    while (reader) {
      const { done, value } = await reader.read();
      // The time that `take` needs is not the connection's.
      clearTimeout(timer);
      if (done) break;
      let bytes = value.subarray(Math.min(skip, value.length));
      skip -= value.length - bytes.length;
      if (to < size) bytes = bytes.subarray(0, most - received);
      received += bytes.length;
      if (received > most) throw wrongLength(name, range.size, from + received);
      try {
        await take(bytes);
      } catch (error) {
        takeFailed = true;
        throw error;
      }
      signal?.throwIfAborted();
      if (to < size && received === most) {
        reader.cancel().catch(() => {});
        break;
      }
      watch();
    }
    return received;
  } catch (error) {
    reader?.cancel().catch(() => {});
    if (signal?.aborted) throw signal.reason;
    if (takeFailed || error instanceof OneStepError) throw error;
    throw brokenConnection(name, range, received, stalled.signal.aborted);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Requests a range of a file, from wherever the bundle is. A server may answer with the whole file and the
 * status 200.
 * @param {Location} location
 * @param {string} name
 * @param {Range} range
 * @param {AbortSignal} signal
 * @returns {Promise<Response>}
 */
async function request(location, name, { from, to, size, cache = "default" }, signal) {
  if (location.files) {
    const file = location.files.get(name);
    if (!file) {
      throw new OneStepError("invalid-bundle", `The folder of the model has no ${name}.`, { file: name });
    }
    return new Response(file.slice(from, to), { status: 206 });
  }
  const url = new URL(name, location.url);
  try {
    const local = await readLocalFile(url, from, to);
    if (local) return new Response(local, { status: 206 });
  } catch {
    return new Response(null, { status: 404 });
  }
  const isPart = to !== undefined && (from > 0 || to !== size);
  return fetch(url, { headers: isPart ? { range: `bytes=${from}-${to - 1}` } : {}, signal, cache });
}

/**
 * @param {string} name
 * @param {Range} range
 * @param {number} received
 * @param {boolean} stalled
 */
function brokenConnection(name, { from, size, stores }, received, stalled) {
  const why = stalled ? `nothing came for ${STALL_MS / 1000} seconds` : "the connection broke";
  const where = size === undefined ? "" : ` at ${megabytes(from + received)} of ${megabytes(size)}`;
  const stored = stores ? " What arrived is stored." : "";
  const message = `The file ${name} of the model could not be fetched: ${why}${where}.${stored}`;
  return new OneStepError("network", message, { file: name, received: from + received });
}

/**
 * @param {Location} location
 * @param {string} name
 * @param {number} chunk
 * @param {string} expected
 * @param {string} actual
 */
function wrongHash(location, name, chunk, expected, actual) {
  const message = location.files
    ? `A file of the folder is not the one that this model expects (${name}).`
    : `A downloaded file is not the one that this model expects (${name}). It was thrown away.`;
  return new OneStepError("integrity", message, { file: name, chunk, expected, actual });
}

/** @param {string} name @param {number | undefined} expected @param {number} actual */
function wrongLength(name, expected, actual) {
  const message = `A downloaded file is not the one that this model expects (${name} has another length).`;
  const detail = { file: name, actual, ...(expected === undefined ? {} : { expected }) };
  return new OneStepError("integrity", message, detail);
}

/** @param {number} size @param {string} name */
function allocate(size, name) {
  try {
    return new Uint8Array(size);
  } catch {
    const message = `This browser could not allocate the memory for ${name}, ${megabytes(size)}.`;
    throw new OneStepError("out-of-memory", message, { file: name });
  }
}

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
