// How a saved image was made, from the text that stands in its file.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MOST = 1 << 16;

/**
 * The facts of a PNG file of ours, or nothing for any other file.
 * @param {Blob} file
 * @returns {Promise<{ prompt: string, seed?: string, noise?: { from: string, to: string, t: number }, bundle: string } | undefined>}
 */
export async function facts(file) {
  // The text stands before the pixels.
  const bytes = new Uint8Array(await file.slice(0, MOST).arrayBuffer());
  if (!SIGNATURE.every((byte, index) => bytes[index] === byte)) return undefined;
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const [kind, data] = [
      String.fromCharCode(...bytes.subarray(at + 4, at + 8)),
      bytes.subarray(at + 8, at + 8 + view.getUint32(at)),
    ];
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

const latin1 = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
