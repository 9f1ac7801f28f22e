/** SHA-256 in lower-case hexadecimal. @param {Uint8Array<ArrayBuffer>} bytes */
export async function hash(bytes) {
  // Insecure addresses have no `subtle`; they have no WebGPU either, and are told so. The id is for showing there.
  if (!globalThis.crypto?.subtle) return "";
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
