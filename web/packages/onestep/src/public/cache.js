import { readManifest } from "../internal/manifest.js";
import { openStore, storedBytes } from "../internal/store.js";

/** @import { Cache, CacheEntry } from "./types.js" */

/**
 * The models in the persistent cache of this page's origin.
 * @type {Cache}
 */
export const cache = {
  async list() {
    const store = openStore();
    /** @type {CacheEntry[]} */
    const entries = [];
    for (const { id, lastUsed } of await store.models()) {
      const manifest = await store.manifest({ id });
      if (!manifest) continue;
      const { model, bytes, chunks } = await readManifest(manifest);
      const stored = await storedBytes(store, chunks);
      entries.push({ id, title: model.title, bytes: stored, complete: stored === bytes, lastUsed });
    }
    return entries;
  },
  remove: (id) => openStore().remove(id),
  clear: () => openStore().clear(),
  persist: async () => (await globalThis.navigator?.storage?.persist?.()) ?? false,
};
