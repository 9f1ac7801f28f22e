// What an image is drawn from, as callers may say it.
import { OneStepError } from "../public/errors.js";

const SEEDS = 1n << 64n;

/**
 * @param {{ seed?: number | bigint, noise?: import("../../index.js").Noise }} options
 * @returns {{ seed: bigint } | { from: bigint, to: bigint, t: number } | { latent: Float32Array }}
 */
export function noiseOf({ seed, noise }) {
  if (noise === undefined)
    return { seed: seed === undefined ? crypto.getRandomValues(new BigUint64Array(1))[0] : check(seed) };
  if (seed !== undefined)
    throw new OneStepError("invalid-option", "There is a seed and a noise; give one of them.");
  if (typeof noise === "object" && noise !== null) {
    if ("seed" in noise) return { seed: check(noise.seed) };
    if ("latent" in noise) {
      if (!(noise.latent instanceof Float32Array))
        throw new OneStepError("invalid-option", "The latent must be a Float32Array.");
      return { latent: noise.latent };
    }
    if ("from" in noise && "to" in noise) {
      if (!(noise.t >= 0 && noise.t <= 1))
        throw new OneStepError(
          "invalid-option",
          `The way between two seeds goes from 0 to 1, and ${String(noise.t).slice(0, 20)} is not on it.`,
        );
      return { from: check(noise.from), to: check(noise.to), t: noise.t };
    }
  }
  throw new OneStepError("invalid-option", "The noise must be { seed }, { from, to, t } or { latent }.");
}

/** @param {number | bigint} seed */
export function check(seed) {
  const whole = typeof seed === "bigint" || (typeof seed === "number" && Number.isSafeInteger(seed));
  if (!whole || seed < 0 || BigInt(seed) >= SEEDS)
    throw new OneStepError(
      "invalid-option",
      "The seed must be a whole number from 0 to 18446744073709551615.",
    );
  return BigInt(seed);
}
