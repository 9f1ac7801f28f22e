// The kernel variants that were measured to be fastest on this GPU: one line, stored for the next visit.
// Where nothing can be stored, they are measured again.

const CACHE = "onestep";
const address = () => new URL("onestep-kernel-variants", self.location.origin);

/** @returns {Promise<string | undefined>} */
export async function readKernelVariants() {
  try {
    return await (await (await caches.open(CACHE)).match(address()))?.text();
  } catch {
    return undefined;
  }
}

/** @param {string} line */
export async function writeKernelVariants(line) {
  try {
    await (await caches.open(CACHE)).put(address(), new Response(line));
  } catch {
    // Measuring again costs the next visit half a second.
  }
}
