// Models on this device: chunks of files by their hashes, in the origin's private file system, so that a model is fetched once and the page draws
// without a network. A chunk that is shorter than it should be has not come whole yet; the rest is asked for. Nothing is believed without its hash.
//
//   onestep/chunks/<hash>      bytes of a chunk
//   onestep/models/<id>.json   a manifest as it came; its name is its own hash
//   onestep/models/<id>.about  { url }; its time is that of the last use
//
// Every method answers also where browsers keep nothing: then nothing is there.
import { hash } from "./hash.js";

const FOLDER = "onestep";
/** How often it is tried again to remove what is in use, every 50 ms. */
const REMOVALS = 20;
const FULL =
  "This browser has no more room for the model. It runs now, but has to be fetched again the next time.";

/** @param {"persistent" | "memory"} [kind] */
export function openStore(kind = "persistent") {
  return new Store(kind === "persistent" ? folders() : Promise.resolve(undefined));
}

async function folders() {
  try {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
    const [chunks, models] = await Promise.all(
      ["chunks", "models"].map((name) => root.getDirectoryHandle(name, { create: true })),
    );
    return { chunks, models };
  } catch {
    // Private windows, old browsers, insecure addresses.
    return undefined;
  }
}

class Store {
  #folders;
  /** Why nothing more is kept: the sentence for people, once it was tried in vain. */
  refusal;

  constructor(folders) {
    this.#folders = folders;
  }

  /** Whether anything can be kept at all. */
  async usable() {
    return (await this.#folders) !== undefined;
  }

  /** Bytes of a chunk that are here. @param {string} chunk */
  async size(chunk) {
    return (await this.#file("chunks", chunk))?.size ?? 0;
  }

  /**
   * Puts what is here of a chunk, checked by nobody, where it belongs; how many bytes are here, which may be more than belong there.
   * @param {string} chunk
   * @param {Uint8Array<ArrayBuffer>} into
   */
  async read(chunk, into) {
    const file = await this.#file("chunks", chunk);
    if (!file || file.size > into.length) return file?.size ?? 0;
    let filled = 0;
    try {
      const reader = file.stream().getReader();
      for (let chunk; !(chunk = await reader.read()).done; filled += chunk.value.length)
        into.set(chunk.value, filled);
    } catch {
      // Removed or changed meanwhile: the hash will tell.
    }
    return filled;
  }

  /** Where the bytes of a chunk go as they come, in a worker; what cannot be kept is left out. @param {string} chunk */
  async writer(chunk) {
    const none = { write() {}, close() {} };
    const folder = (await this.#folders)?.chunks;
    if (!folder || this.refusal) return none;
    let handle;
    try {
      handle = await (await folder.getFileHandle(chunk, { create: true })).createSyncAccessHandle();
    } catch (error) {
      // Else another tab is writing it.
      if (error?.name === "QuotaExceededError") this.refusal = FULL;
      return none;
    }
    return {
      write: (bytes, at) => {
        if (this.refusal) return;
        try {
          if (handle.write(bytes, { at }) < bytes.length) throw new Error("the disk is full");
        } catch {
          this.refusal = FULL;
          // What was cut off would be another length's beginning.
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

  /** Notes a use of a model, and drops what stood under its address before. @param {string} url @param {Uint8Array<ArrayBuffer>} manifest */
  async note(url, manifest) {
    const folder = (await this.#folders)?.models;
    if (!folder) return;
    const id = await hash(manifest);
    try {
      await write(folder, `${id}.json`, manifest);
      await write(folder, `${id}.about`, new TextEncoder().encode(JSON.stringify({ url })));
    } catch (error) {
      // Another tab notes the same.
      if (error?.name === "NoModificationAllowedError") return;
      this.refusal ??=
        error?.name === "QuotaExceededError"
          ? FULL
          : "This browser keeps nothing for this page. The model runs now, but has to be fetched again the next time.";
      return;
    }
    for (const model of await this.models()) {
      if (model.url === url && model.id !== id) await this.remove(model.id);
    }
  }

  /** A manifest by its hash or its address. @param {{ id?: string, url?: string }} wanted */
  async manifest({ id, url }) {
    const known = id ?? (await this.models()).find((model) => model.url === url)?.id;
    const bytes = known && (await this.#bytes("models", `${known}.json`));
    return bytes && (await hash(bytes)) === known ? bytes : undefined;
  }

  /** All that are here, wholly or in part, the last used first: id, address, time of the last use. */
  async models() {
    const folder = (await this.#folders)?.models;
    const found = [];
    if (!folder) return found;
    for await (const name of folder.keys()) {
      if (!name.endsWith(".about")) continue;
      const about = await this.#file("models", name);
      try {
        found.push({
          id: name.slice(0, -".about".length),
          url: JSON.parse(await about.text()).url,
          lastUsed: new Date(about.lastModified),
        });
      } catch {
        // Cut short by a crash: the chunks stay for whoever asks for them.
      }
    }
    return found.sort((a, b) => b.lastUsed - a.lastUsed);
  }

  /** Removes a model and every chunk that no other one has; how many bytes that were. @param {string} id */
  async remove(id) {
    const kept = new Set();
    for (const model of await this.models()) {
      if (model.id !== id) for (const chunk of await this.#chunks(model.id)) kept.add(chunk);
    }
    let bytes = 0;
    for (const chunk of await this.#chunks(id)) {
      if (kept.has(chunk)) continue;
      const size = await this.size(chunk);
      if (await this.#remove("chunks", chunk)) bytes += size;
    }
    for (const ending of [".json", ".about"]) await this.#remove("models", id + ending);
    return bytes;
  }

  /** Removes everything; how many bytes of chunks that were. */
  async clear() {
    const found = await this.#folders;
    let bytes = 0;
    if (!found) return bytes;
    for (const kind of ["chunks", "models"]) {
      for await (const name of found[kind].keys()) {
        const size = kind === "chunks" ? await this.size(name) : 0;
        if (await this.#remove(kind, name)) bytes += size;
      }
    }
    return bytes;
  }

  async #chunks(id) {
    try {
      const { files } = JSON.parse(new TextDecoder().decode(await this.#bytes("models", `${id}.json`)));
      return files.flatMap((file) => file.chunks).map(String);
    } catch {
      return [];
    }
  }

  async #bytes(kind, name) {
    const file = await this.#file(kind, name);
    return file && new Uint8Array(await file.arrayBuffer());
  }

  async #file(kind, name) {
    try {
      return await (await (await this.#folders)[kind].getFileHandle(name)).getFile();
    } catch {
      return undefined;
    }
  }

  async #remove(kind, name) {
    for (let tries = 0; ; tries++) {
      try {
        await (await this.#folders)[kind].removeEntry(name);
        return true;
      } catch (error) {
        // Not there, or in use: by another tab, or by a worker of this one that is about to end.
        if (error?.name !== "NoModificationAllowedError" || tries === REMOVALS) return false;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
}

async function write(folder, name, bytes) {
  const handle = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle();
  try {
    handle.truncate(0);
    if (handle.write(bytes) < bytes.length) throw new Error("the disk is full");
    handle.flush();
  } finally {
    handle.close();
  }
}

/** Bytes of these chunks that are on this device. @param {Store} store @param {{ hash: string, size: number }[]} chunks */
export async function bytesHere(store, chunks) {
  const sizes = await Promise.all(
    chunks.map(async ({ hash, size }) => Math.min(await store.size(hash), size)),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
