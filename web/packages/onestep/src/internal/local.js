// Outside of browsers: the working folder, and files beside the program, which `fetch` of Node.js does not read. There is no import of what only
// Node.js has: bundlers for browsers would stumble over it.

/** @param {string} name */
const builtin = (name) => globalThis.process?.getBuiltinModule?.(name);

/** What addresses of the caller's are relative to. */
export function base() {
  const here = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (here !== undefined) return here;
  return builtin("node:url")?.pathToFileURL(`${globalThis.process.cwd()}/`).href;
}

/**
 * Bytes of a file, from `from` to before `to`; `undefined` for what is to be fetched.
 * @param {string | URL} address
 * @param {number} [from]
 * @param {number} [to]
 * @returns {Promise<Uint8Array<ArrayBuffer> | undefined>}
 */
export async function readLocal(address, from = 0, to = Infinity) {
  const [files, { protocol }] = [builtin("node:fs/promises"), new URL(address)];
  if (protocol !== "file:" || !files) return undefined;
  const file = await files.open(new URL(address));
  try {
    const { size } = await file.stat();
    const bytes = new Uint8Array(Math.max(0, Math.min(to, size) - from));
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, from + filled);
      // Cut short meanwhile: whoever wanted more says so.
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  } finally {
    await file.close();
  }
}
