// How a saved image was generated, from the metadata in its file.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
/** The metadata comes before the pixels, so it is within the first bytes. */
const READ_BYTES = 1 << 16;

/**
 * @typedef {object} ImageMetadata
 * @property {string} prompt
 * @property {string} [seed]
 * @property {{ from: string, to: string, t: number }} [noise]
 * @property {string} bundle id of the model
 */

/**
 * Reads the metadata of a PNG file that was saved here; nothing for any other file.
 * @param {Blob} file
 * @returns {Promise<ImageMetadata | undefined>}
 */
export async function readMetadata(file) {
  const bytes = new Uint8Array(await file.slice(0, READ_BYTES).arrayBuffer());
  if (!SIGNATURE.every((byte, index) => bytes[index] === byte)) return undefined;
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    const text = (kind === "tEXt" && latin1(data)) || (kind === "iTXt" && new TextDecoder().decode(data));
    if (!text || !text.startsWith("onestep\0")) continue;
    try {
      const found = JSON.parse(text.slice(text.indexOf("{")));
      return typeof found.prompt === "string" ? found : undefined;
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** @param {Uint8Array} bytes */
const latin1 = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
