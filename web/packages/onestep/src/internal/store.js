// The persistent cache of models: chunks of files by their hashes in the origin private file system, so that
// a model is downloaded once and the page works without a network. A chunk that is shorter than it should be
// was interrupted; the rest is downloaded. Nothing is trusted without its hash.
//
//   onestep/chunks/<hash>      bytes of a chunk
//   onestep/models/<id>.json   a manifest as it was downloaded; its name is its own hash
//   onestep/models/<id>.about  { url }; its modification time is that of the last use
//
// Every method also works where the browser stores nothing: then nothing is there.
import { sha256 } from "./sha256.js";

/** @import { Chunk } from "./manifest.js" */

const FOLDER = "onestep";
/** How often removing a file that is in use is tried again. */
const REMOVAL_TRIES = 20;
const REMOVAL_INTERVAL_MS = 50;
const FULL =
  "This browser has no more room for the model. It runs now, but has to be fetched again the next time.";
const NO_STORAGE =
  "This browser stores nothing for this page. The model runs now, but has to be fetched again the next time.";

/** @typedef {"chunks" | "models"} Kind */
/** @typedef {Record<Kind, FileSystemDirectoryHandle>} Folders */
/** @typedef {{ id: string, url: string, lastUsed: Date }} StoredModel */
/**
 * Writes the bytes of a chunk as they arrive.
 * @typedef {{ write(bytes: Uint8Array<ArrayBuffer>, at: number): void, close(): void }} ChunkWriter
 */

/** @param {"persistent" | "memory"} [kind] */
export function openStore(kind = "persistent") {
  return new Store(kind === "persistent" ? openFolders() : Promise.resolve(undefined));
}

/** @returns {Promise<Folders | undefined>} */
async function openFolders() {
  try {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(FOLDER, { create: true });
    const [chunks, models] = await Promise.all([
      folder.getDirectoryHandle("chunks", { create: true }),
      folder.getDirectoryHandle("models", { create: true }),
    ]);
    return { chunks, models };
  } catch {
    // Private windows, old browsers, insecure addresses.
    return undefined;
  }
}

export class Store {
  #folders;
  /** Why nothing more is stored, for people; set once storing has failed. @type {string | undefined} */
  refusal;

  /** @param {Promise<Folders | undefined>} folders */
  constructor(folders) {
    this.#folders = folders;
  }

  /** Whether anything can be stored at all. */
  async usable() {
    return (await this.#folders) !== undefined;
  }

  /** Stored bytes of a chunk. @param {string} chunk */
  async size(chunk) {
    return (await this.#file("chunks", chunk))?.size ?? 0;
  }

  /**
   * Reads what is stored of a chunk into `into` without checking it, and returns how many bytes are stored,
   * which may be more than fit.
   * @param {string} chunk
   * @param {Uint8Array<ArrayBuffer>} into
   */
  async read(chunk, into) {
    const file = await this.#file("chunks", chunk);
    if (!file || file.size > into.length) return file?.size ?? 0;
    let filled = 0;
    try {
      const reader = file.stream().getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        into.set(part.value, filled);
        filled += part.value.length;
      }
    } catch {
      // Removed or changed meanwhile: the hash will tell.
    }
    return filled;
  }

  /**
   * Opens a chunk for writing, in a worker. What cannot be stored is left out.
   * @param {string} chunk
   * @returns {Promise<ChunkWriter>}
   */
  async writer(chunk) {
    const none = { write() {}, close() {} };
    const folder = (await this.#folders)?.chunks;
    if (!folder || this.refusal) return none;
    /** @type {FileSystemSyncAccessHandle} */
    let handle;
    try {
      handle = await (await folder.getFileHandle(chunk, { create: true })).createSyncAccessHandle();
    } catch (error) {
      // Otherwise another tab is writing it.
      if (nameOf(error) === "QuotaExceededError") this.refusal = FULL;
      return none;
    }
    return {
      write: (bytes, at) => {
        if (this.refusal) return;
        try {
          if (handle.write(bytes, { at }) < bytes.length) throw new Error("the disk is full");
        } catch {
          this.refusal = FULL;
          // A part with a hole in it would be taken for an interrupted chunk.
          handle.truncate(0);
        }
      },
      close: () => {
        handle.flush();
        handle.close();
      },
    };
  }

  /** @param {string} chunk */
  async forget(chunk) {
    await this.#remove("chunks", chunk);
  }

  /**
   * Notes a use of a model, and removes an older model of the same address.
   * @param {string} url
   * @param {Uint8Array<ArrayBuffer>} manifest
   */
  async note(url, manifest) {
    const folder = (await this.#folders)?.models;
    if (!folder) return;
    const id = await sha256(manifest);
    try {
      await writeFile(folder, `${id}.json`, manifest);
      await writeFile(folder, `${id}.about`, new TextEncoder().encode(JSON.stringify({ url })));
    } catch (error) {
      // Another tab notes the same.
      if (nameOf(error) === "NoModificationAllowedError") return;
      this.refusal ??= nameOf(error) === "QuotaExceededError" ? FULL : NO_STORAGE;
      return;
    }
    for (const model of await this.models()) {
      if (model.url === url && model.id !== id) await this.remove(model.id);
    }
  }

  /**
   * A manifest by its hash or its address.
   * @param {{ id?: string, url?: string }} wanted
   */
  async manifest({ id, url }) {
    const known = id ?? (await this.models()).find((model) => model.url === url)?.id;
    const bytes = known && (await this.#bytes("models", `${known}.json`));
    return bytes && (await sha256(bytes)) === known ? bytes : undefined;
  }

  /** All models that are stored, wholly or in part, the last used first. */
  async models() {
    const folder = (await this.#folders)?.models;
    /** @type {StoredModel[]} */
    const found = [];
    if (!folder) return found;
    for await (const name of folder.keys()) {
      if (!name.endsWith(".about")) continue;
      const about = await this.#file("models", name);
      if (!about) continue;
      try {
        const { url } = JSON.parse(await about.text());
        found.push({ id: name.slice(0, -".about".length), url, lastUsed: new Date(about.lastModified) });
      } catch {
        // Cut short by a crash: a later load of the model uses the chunks.
      }
    }
    return found.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  }

  /**
   * Removes a model and every chunk that no other model has; returns how many bytes that freed.
   * @param {string} id
   */
  async remove(id) {
    const shared = new Set();
    for (const model of await this.models()) {
      if (model.id !== id) for (const chunk of await this.#chunks(model.id)) shared.add(chunk);
    }
    let bytes = 0;
    for (const chunk of await this.#chunks(id)) {
      if (shared.has(chunk)) continue;
      const size = await this.size(chunk);
      if (await this.#remove("chunks", chunk)) bytes += size;
    }
    for (const ending of [".json", ".about"]) await this.#remove("models", id + ending);
    return bytes;
  }

  /** Removes everything; returns how many bytes of chunks that freed. */
  async clear() {
    const folders = await this.#folders;
    let bytes = 0;
    if (!folders) return bytes;
    for (const kind of /** @type {Kind[]} */ (["chunks", "models"])) {
      for await (const name of folders[kind].keys()) {
        const size = kind === "chunks" ? await this.size(name) : 0;
        if (await this.#remove(kind, name)) bytes += size;
      }
    }
    return bytes;
  }

  /**
   * Hashes of the chunks of a stored model.
   * @param {string} id
   * @returns {Promise<string[]>}
   */
  async #chunks(id) {
    try {
      const { files } = JSON.parse(new TextDecoder().decode(await this.#bytes("models", `${id}.json`)));
      return files.flatMap((/** @type {{ chunks: unknown[] }} */ file) => file.chunks).map(String);
    } catch {
      return [];
    }
  }

  /** @param {Kind} kind @param {string} name */
  async #bytes(kind, name) {
    const file = await this.#file(kind, name);
    return file && new Uint8Array(await file.arrayBuffer());
  }

  /** @param {Kind} kind @param {string} name */
  async #file(kind, name) {
    try {
      return await (await (await this.#folders)?.[kind].getFileHandle(name))?.getFile();
    } catch {
      return undefined;
    }
  }

  /** @param {Kind} kind @param {string} name */
  async #remove(kind, name) {
    const folders = await this.#folders;
    if (!folders) return false;
    for (let tries = 0; ; tries++) {
      try {
        await folders[kind].removeEntry(name);
        return true;
      } catch (error) {
        // Not there, or in use: by another tab, or by a worker of this one that is about to end.
        if (nameOf(error) !== "NoModificationAllowedError" || tries === REMOVAL_TRIES) return false;
        await new Promise((resolve) => setTimeout(resolve, REMOVAL_INTERVAL_MS));
      }
    }
  }
}

/**
 * @param {FileSystemDirectoryHandle} folder
 * @param {string} name
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
async function writeFile(folder, name, bytes) {
  const handle = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle();
  try {
    handle.truncate(0);
    if (handle.write(bytes) < bytes.length) throw new Error("the disk is full");
    handle.flush();
  } finally {
    handle.close();
  }
}

/** @param {unknown} error */
const nameOf = (error) => /** @type {{ name?: unknown } | undefined} */ (error)?.name;

/**
 * Stored bytes of these chunks.
 * @param {Store} store
 * @param {Chunk[]} chunks
 */
export async function storedBytes(store, chunks) {
  const sizes = await Promise.all(
    chunks.map(async ({ hash, size }) => Math.min(await store.size(hash), size)),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
