// Outside of browsers: the working folder, and local files, which `fetch` of Node.js does not read. Node's
// modules are not imported, because bundlers for browsers would stumble over them.

/** Outside of browsers. */
const { process } = /** @type {{ process?: NodeProcess }} */ (globalThis);

/**
 * @template {"node:url" | "node:fs/promises"} Name
 * @param {Name} name
 * @returns {NodeBuiltins[Name] | undefined}
 */
const builtin = (name) => process?.getBuiltinModule?.(name);

/** The URL to which addresses of the caller are relative. */
export function baseUrl() {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (page !== undefined) return page;
  return builtin("node:url")?.pathToFileURL(`${process?.cwd()}/`).href;
}

/**
 * Reads the bytes `from` to before `to` of a local file; `undefined` for what has to be fetched.
 * @param {string | URL} address
 * @param {number} [from]
 * @param {number} [to]
 * @returns {Promise<Uint8Array<ArrayBuffer> | undefined>}
 */
export async function readLocalFile(address, from = 0, to = Infinity) {
  const [fs, { protocol }] = [builtin("node:fs/promises"), new URL(address)];
  if (protocol !== "file:" || !fs) return undefined;
  const file = await fs.open(new URL(address));
  try {
    const { size } = await file.stat();
    const bytes = new Uint8Array(Math.max(0, Math.min(to, size) - from));
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, from + filled);
      // The file was cut short meanwhile; the caller notices what is missing.
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  } finally {
    await file.close();
  }
}
