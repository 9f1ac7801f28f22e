import { readManifest } from "../internal/manifest.js";
import { bytesHere, openStore } from "../internal/store.js";

/** Models on this device. @type {typeof import("../../index.js").cache} */
export const cache = {
  async list() {
    const store = openStore();
    const entries = [];
    for (const { id, lastUsed } of await store.models()) {
      const manifest = await store.manifest({ id });
      if (!manifest) continue;
      const { model, bytes, chunks } = await readManifest(manifest);
      const here = await bytesHere(store, chunks);
      entries.push({ id, title: model.title, bytes: here, complete: here === bytes, lastUsed });
    }
    return entries;
  },
  remove: (id) => openStore().remove(id),
  clear: () => openStore().clear(),
  persist: async () => (await globalThis.navigator?.storage?.persist?.()) ?? false,
};
