// The noise of a call, checked.
import { OneStepError } from "../public/errors.js";

/** @import { NoiseOptions } from "../public/types.js" */
/** @import { WireNoise } from "./protocol.js" */

const SEEDS = 1n << 64n;

/**
 * @param {NoiseOptions} options
 * @returns {WireNoise}
 */
export function parseNoise({ seed, noise }) {
  if (noise === undefined) return { seed: seed === undefined ? randomSeed() : parseSeed(seed) };
  if (seed !== undefined) {
    throw new OneStepError("invalid-option", "There is a seed and a noise; give one of them.");
  }
  if (typeof noise === "object" && noise !== null) {
    if ("seed" in noise) return { seed: parseSeed(noise.seed) };
    if ("latent" in noise) {
      if (noise.latent instanceof Float32Array) return { latent: noise.latent };
      throw new OneStepError("invalid-option", "The latent must be a Float32Array.");
    }
    if ("from" in noise && "to" in noise) {
      const { from, to, t } = noise;
      if (t >= 0 && t <= 1) return { from: parseSeed(from), to: parseSeed(to), t };
      throw new OneStepError(
        "invalid-option",
        `The position t between two seeds must be from 0 to 1, and is ${String(t).slice(0, 20)}.`,
      );
    }
  }
  throw new OneStepError("invalid-option", "The noise must be { seed }, { from, to, t } or { latent }.");
}

/** @param {number | bigint} seed */
export function parseSeed(seed) {
  const whole = typeof seed === "bigint" || (typeof seed === "number" && Number.isSafeInteger(seed));
  if (!whole || seed < 0 || BigInt(seed) >= SEEDS) {
    throw new OneStepError(
      "invalid-option",
      "The seed must be a whole number from 0 to 18446744073709551615.",
    );
  }
  return BigInt(seed);
}

const randomSeed = () => crypto.getRandomValues(new BigUint64Array(1))[0];
