// Bytes from this device or the network: counted, bounded by what the manifest says, and compared with its hashes chunk by chunk as they come.
import { OneStepError } from "../public/errors.js";
import { hash } from "./hash.js";
import { base, readLocal } from "./local.js";
import { CHUNK_BYTES } from "./manifest.js";

const MANIFEST_BYTES = 1 << 20;
/** A connection that sends nothing for so long is broken. */
const STALL_MS = 60_000;

/**
 * Where the files of a bundle are, and the hash of its manifest, if the caller knows it.
 * @param {import("../../index.js").BundleRef} bundle
 * @returns {{ place: Place, sha256?: string }}
 * @typedef {{ url: string, files?: undefined } | { files: Map<string, File>, url?: undefined }} Place can be sent to a worker; `url` is the manifest's
 */
export function placeOf(bundle) {
  const {
    url: given,
    files,
    sha256,
  } = typeof bundle === "string" || bundle instanceof URL ? { url: bundle } : (bundle ?? {});
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256))
    throw new OneStepError("invalid-option", "sha256 must be 64 hexadecimal digits.");
  if (files !== undefined) {
    const found = [...files];
    if (!found.every((file) => file instanceof File))
      throw new OneStepError("invalid-option", "The files of a model must be File objects.");
    return {
      place: { files: new Map(found.map((file) => [file.name, file])) },
      sha256: sha256?.toLowerCase(),
    };
  }
  let url;
  try {
    url = new URL(given, base());
  } catch {
    throw new OneStepError("invalid-option", `${String(given).slice(0, 200)} is no address of a model.`);
  }
  if (!url.pathname.endsWith(".json")) {
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    url.pathname += "manifest.json";
  }
  return { place: { url: url.href }, sha256: sha256?.toLowerCase() };
}

/** Bytes of a file, from `from` on. A server may send all of it nevertheless, and says so by its status. */
async function respond(place, name, { from, to, size, signal, cache }) {
  if (place.files) {
    const file = place.files.get(name);
    if (!file)
      throw new OneStepError("invalid-bundle", `The folder of the model has no ${name}.`, { file: name });
    return new Response(file.slice(from, to), { status: 206 });
  }
  const local = await readLocal(new URL(name, place.url), from, to).catch(
    () => new Response(null, { status: 404 }),
  );
  if (local) return local instanceof Response ? local : new Response(local, { status: 206 });
  const headers = from > 0 || to !== size ? { range: `bytes=${from}-${to - 1}` } : {};
  return fetch(new URL(name, place.url), { headers, signal, cache });
}

/**
 * The manifest from its place; from this device where it is pinned, or where there is no network and it was used before.
 * @param {Place} place
 * @param {string | undefined} sha256
 * @param {{ signal?: AbortSignal, store: ReturnType<typeof import("./store.js").openStore> }} options
 */
export async function fetchManifest(place, sha256, { signal, store }) {
  if (sha256 !== undefined) {
    const kept = await store.manifest({ id: sha256 });
    if (kept) return kept;
  }
  let bytes;
  try {
    bytes = await fetchBytes(place, "manifest.json", { most: MANIFEST_BYTES, signal });
  } catch (error) {
    // A server that says no is heard.
    const kept =
      error?.kind === "network" && error.detail.status === undefined
        ? await store.manifest({ url: place.url })
        : undefined;
    if (!kept || sha256 !== undefined) throw error;
    return kept;
  }
  if (sha256 !== undefined) {
    const found = await hash(bytes);
    if (found !== sha256) {
      throw new OneStepError("integrity", "The model's manifest is not the one that this page expects.", {
        file: "manifest.json",
        expected: sha256,
        actual: found,
      });
    }
  }
  return bytes;
}

/**
 * One file of a bundle, whole.
 * @param {Place} place
 * @param {Entry} entry
 * @param {Options} options
 */
export async function fetchFile(place, entry, options) {
  const bytes = memory(entry.size, entry.name);
  await fetchChunks(place, entry, { ...options, carried: 0 }, (chunk, start) => bytes.set(chunk, start));
  return bytes;
}

/**
 * One file of a bundle, chunk by chunk: `take(bytes, start, end)` gets each once it is what the manifest says, behind the last `carried` bytes
 * before it. Should a later chunk be another than expected, all come once more from the first one on. `bytes` is taken back when `take` is done.
 * @param {Place} place
 * @param {Entry} entry
 * @param {Options & { carried: number }} options
 * @param {(bytes: Uint8Array<ArrayBuffer>, start: number, end: number) => void | Promise<void>} take
 * @typedef {{ name: string, size: number, chunks: string[] }} Entry
 * @typedef {{ store: ReturnType<typeof import("./store.js").openStore>, onBytes(bytes: number, cached: number): void, signal?: AbortSignal }} Options
 */
export async function fetchChunks(place, entry, options, take) {
  let [received, kept] = [0, 0];
  const onBytes = (bytes, cached) => {
    received += bytes;
    kept += cached;
    options.onBytes(bytes, cached);
  };
  try {
    await fetchOnce(place, entry, { ...options, onBytes }, take);
  } catch (error) {
    if (!(error instanceof OneStepError) || error.kind !== "integrity") throw error;
    // The browser's cache may hold an older bundle's file, and what was kept of a chunk may have been another's beginning.
    options.onBytes(-received, -kept);
    await fetchOnce(place, entry, { ...options, cache: "reload" }, take);
  }
}

async function fetchOnce(place, entry, options, take) {
  const { name, size, chunks } = entry;
  const { store, carried, onBytes } = options;
  // Whole words: the graphics processor takes no less.
  const buffer = memory((carried + Math.min(CHUNK_BYTES, size) + 3) & ~3, name);
  const length = (index) => Math.min(CHUNK_BYTES, size - index * CHUNK_BYTES);
  // Behind what was carried over stands the chunk; what is carried over are the last bytes before it.
  const hand = async (index) => {
    const start = index * CHUNK_BYTES;
    await take(buffer.subarray(0, carried + length(index)), start, start + length(index));
    buffer.copyWithin(0, length(index), carried + length(index));
  };
  const isHere = async (index) => (await store.size(chunks[index])) === length(index);

  let index = 0;
  while (index < chunks.length) {
    options.signal?.throwIfAborted();
    const chunk = buffer.subarray(carried, carried + length(index));
    const here = await store.read(chunks[index], chunk);
    if (here === chunk.length && (await hash(chunk)) === chunks[index]) {
      onBytes(here, here);
      await hand(index++);
      continue;
    }
    const begun = here < chunk.length ? here : 0;
    // Damaged, or another's.
    if (here > begun) await store.forget(chunks[index]);
    let end = index + 1;
    while (end < chunks.length && !(await isHere(end))) end++;
    onBytes(begun, begun);
    await fetchRun(place, entry, { ...options, buffer, begun, length }, index, end, hand);
    index = end;
  }
}

/** The chunks `first` to before `end`, of the first of which `begun` bytes are in the buffer. */
async function fetchRun(
  place,
  { name, size, chunks },
  { store, buffer, begun, carried, length, onBytes, signal, cache },
  first,
  end,
  hand,
) {
  let [index, filled] = [first, begun];
  let writer = await store.writer(chunks[index]);
  try {
    const from = first * CHUNK_BYTES + begun;
    const to = Math.min(end * CHUNK_BYTES, size);
    const received = await fetchRange(
      place,
      name,
      { size, from, to, cache, signal, kept: (await store.usable()) && !store.refusal },
      async (chunk) => {
        onBytes(chunk.length, 0);
        while (chunk.length > 0) {
          const part = chunk.subarray(0, length(index) - filled);
          buffer.set(part, carried + filled);
          writer.write(part, filled);
          filled += part.length;
          chunk = chunk.subarray(part.length);
          if (filled < length(index)) continue;
          writer.close();
          writer = undefined;
          const found = await hash(buffer.subarray(carried, carried + filled));
          if (found !== chunks[index]) {
            await store.forget(chunks[index]);
            const [what, then] = place.files
              ? ["A file of the folder", ""]
              : ["A downloaded file", " It was thrown away."];
            throw new OneStepError(
              "integrity",
              `${what} is not the one that this model expects (${name}).${then}`,
              { file: name, chunk: index, expected: chunks[index], actual: found },
            );
          }
          await hand(index);
          [index, filled] = [index + 1, 0];
          if (index < end) writer = await store.writer(chunks[index]);
        }
      },
    );
    // A connection without a length that is cut looks like one that has ended.
    if (received !== to - from) throw otherLength(name, size, from + received);
  } finally {
    writer?.close();
  }
}

/** All bytes of a small file whose size nobody knows beforehand. */
async function fetchBytes(place, name, { most, signal }) {
  const chunks = [];
  const length = await fetchRange(place, name, { most, signal }, (chunk) => void chunks.push(chunk));
  const bytes = memory(length, name);
  let filled = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  return bytes;
}

/**
 * The bytes `from` to before `to` of a file, or all of them.
 * @param {Place} place
 * @param {string} name
 * @param {{ size?: number, from?: number, to?: number, most?: number, cache?: RequestCache, signal?: AbortSignal, kept?: boolean }} options `size` is what is expected, `most` a bound; `kept`: what came is.
 * @param {(chunk: Uint8Array<ArrayBuffer>) => void | Promise<void>} take what it throws is thrown as it is
 * @returns {Promise<number>} how many bytes came
 */
async function fetchRange(
  place,
  name,
  { size, from = 0, to = size, most = to - from, cache = "default", signal, kept },
  take,
) {
  const stalled = new AbortController();
  let [timer, received, refused] = [undefined, 0, undefined];
  const waiting = () => (timer = setTimeout(() => stalled.abort(), STALL_MS));
  let reader;
  try {
    waiting();
    const response = await respond(place, name, {
      from,
      to,
      size,
      cache,
      signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
    });
    if (!response.ok) {
      const what = response.status === 404 ? "is not there" : "was refused by the server";
      throw new OneStepError(
        "network",
        `The file ${name} of the model ${what} (status ${response.status}).`,
        { file: name, status: response.status },
      );
    }
    // A server may send all of the file nevertheless.
    let unwanted = response.status === 206 ? 0 : from;
    reader = response.body?.getReader();
    while (reader) {
      const { done, value } = await reader.read();
      // What is done with the bytes is not the connection's time.
      clearTimeout(timer);
      if (done) break;
      let chunk = value.subarray(Math.min(unwanted, value.length));
      unwanted -= value.length - chunk.length;
      if (to < size) chunk = chunk.subarray(0, most - received);
      received += chunk.length;
      if (received > most) throw otherLength(name, size, from + received);
      try {
        await take(chunk);
      } catch (error) {
        refused = error;
        throw error;
      }
      signal?.throwIfAborted();
      if (to < size && received === most) {
        reader.cancel().catch(() => {});
        break;
      }
      waiting();
    }
    return received;
  } catch (error) {
    reader?.cancel().catch(() => {});
    if (signal?.aborted) throw signal.reason;
    if (refused !== undefined || error instanceof OneStepError) throw error;
    const why = stalled.signal.aborted
      ? `nothing came for ${STALL_MS / 1000} seconds`
      : "the connection broke";
    const where = size === undefined ? "" : ` at ${megabytes(from + received)} of ${megabytes(size)}`;
    throw new OneStepError(
      "network",
      `The file ${name} of the model could not be fetched: ${why}${where}.${kept ? " What arrived is kept." : ""}`,
      { file: name, received: from + received },
    );
  } finally {
    clearTimeout(timer);
  }
}

function otherLength(name, size, actual) {
  return new OneStepError(
    "integrity",
    `A downloaded file is not the one that this model expects (${name} has another length).`,
    { file: name, ...(size === undefined ? {} : { expected: size }), actual },
  );
}

function memory(size, name) {
  try {
    return new Uint8Array(size);
  } catch {
    throw new OneStepError(
      "out-of-memory",
      `This browser could not give the memory for ${name}, ${megabytes(size)}.`,
      { file: name },
    );
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
