// An image as an address: everything stands behind #, which no browser sends anywhere.

const SEED = /^\d{1,20}$/;
/** A link should survive where it is pasted. */
const LONGEST = 2000;

/**
 * @typedef {{ prompt: string, seed: string, to?: string, t?: number, model?: string }} Wanted
 * @param {Wanted} wanted
 */
export function write({ prompt, seed, to, t, model }) {
  const fields = new URLSearchParams({ v: "1", seed });
  if (to !== undefined) {
    fields.set("to", to);
    fields.set("t", String(t));
  }
  // Its beginning tells models apart.
  if (model) fields.set("model", model.slice(0, 16));
  fields.set("prompt", prompt);
  const address = `${location.origin}${location.pathname}${location.search}#${fields}`;
  return address.length <= LONGEST ? address : undefined;
}

/** What a link says, or nothing: a link is from anywhere. @returns {Wanted | undefined} */
export function read(hash = location.hash) {
  const fields = new URLSearchParams(hash.slice(1, LONGEST));
  const [prompt, seed, to, model] = ["prompt", "seed", "to", "model"].map(
    (name) => fields.get(name) ?? undefined,
  );
  if (fields.get("v") !== "1" || !prompt || !seed || !SEED.test(seed) || (to !== undefined && !SEED.test(to)))
    return undefined;
  const t = Number(fields.get("t"));
  return { prompt, seed, model, ...(to !== undefined && t >= 0 && t <= 1 ? { to, t } : {}) };
}
