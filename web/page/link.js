// An image as an address. Everything is in its fragment, which no browser sends anywhere.

const SEED = /^\d{1,20}$/;
/** A longer address may be cut where it is pasted. */
const MAX_LENGTH = 2000;
/** So many digits of a model's id tell models apart. */
const ID_DIGITS = 16;

/**
 * What the page should generate: an image of a seed, or one at `t` on the walk from `seed` to `to`.
 * @typedef {{ prompt: string, seed: string, to?: string, t?: number, model?: string }} ImageRequest
 */

/** @param {ImageRequest} request @returns {string | undefined} nothing if it would be too long */
export function writeLink({ prompt, seed, to, t, model }) {
  const fields = new URLSearchParams({ v: "1", seed });
  if (to !== undefined) {
    fields.set("to", to);
    fields.set("t", String(t));
  }
  if (model) fields.set("model", model.slice(0, ID_DIGITS));
  fields.set("prompt", prompt);
  const address = `${location.origin}${location.pathname}${location.search}#${fields}`;
  return address.length <= MAX_LENGTH ? address : undefined;
}

/** Reads a link, which may come from anywhere; nothing if it is none. @returns {ImageRequest | undefined} */
export function readLink(hash = location.hash) {
  const fields = new URLSearchParams(hash.slice(1, MAX_LENGTH));
  const [prompt, seed, to, model] = ["prompt", "seed", "to", "model"].map(
    (name) => fields.get(name) ?? undefined,
  );
  if (fields.get("v") !== "1" || !prompt || !seed || !SEED.test(seed)) return undefined;
  if (to !== undefined && !SEED.test(to)) return undefined;
  const t = Number(fields.get("t"));
  return { prompt, seed, model, ...(to !== undefined && t >= 0 && t <= 1 ? { to, t } : {}) };
}
