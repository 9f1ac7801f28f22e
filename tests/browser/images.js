// Images as bytes, and how far two of them are apart.
import { readFile } from "node:fs/promises";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { join } from "node:path";
import { PNG } from "pngjs";
import { BUNDLE, PROGRAM, RESULTS } from "./settings.js";

/** @returns {{ width: number, height: number, data: Buffer }} RGBA */
export const decode = (bytes) => PNG.sync.read(bytes);

/** Peak signal-to-noise ratio of the colours in decibels; equal images have Infinity. */
export function psnr(a, b) {
  if (a.width !== b.width || a.height !== b.height)
    throw new Error(`${a.width} x ${a.height} and ${b.width} x ${b.height} pixels cannot be compared`);
  let sum = 0;
  for (let at = 0; at < a.data.length; at++) if (at % 4 !== 3) sum += (a.data[at] - b.data[at]) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / (a.width * a.height * 3)));
}

/** An enlarged image at its original size: the middle of each of its pixels. */
export function shrink({ width, height, data }, columns, rows) {
  const small = Buffer.alloc(columns * rows * 4);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const at =
        (Math.floor(((y + 0.5) * height) / rows) * width + Math.floor(((x + 0.5) * width) / columns)) * 4;
      data.copy(small, (y * columns + x) * 4, at, at + 4);
    }
  }
  return { width: columns, height: rows, data: small };
}

/** The image of the native program. */
export async function native(prompt, seed, device) {
  const out = join(RESULTS, `${device}-${seed}.png`);
  await promisify(execFile)(PROGRAM, [
    "generate",
    prompt,
    "--seed",
    String(seed),
    "--out",
    out,
    "--bundle",
    BUNDLE,
    "--device",
    device,
  ]);
  return decode(await readFile(out));
}
