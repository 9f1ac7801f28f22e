// The shipped model in other files: the same numbers, laid out in ways that exporters of today do not choose
// and readers must take.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BUNDLE } from "./settings.js";

const CHUNK = 16 << 20;
const WIDTHS = { F16: 2, F32: 4 };

/** 16-bit floats as 32-bit ones. */
function widen(bytes) {
  const wide = Buffer.alloc(bytes.length * 2);
  for (let at = 0; at < bytes.length; at += 2) {
    const half = bytes.readUInt16LE(at);
    const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
    wide.writeFloatLE(
      sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24),
      at * 2,
    );
  }
  return wide;
}

const fileEntry = (name, bytes) => {
  const chunks = [];
  for (let at = 0; at < bytes.length; at += CHUNK)
    chunks.push(
      createHash("sha256")
        .update(bytes.subarray(at, at + CHUNK))
        .digest("hex"),
    );
  return { name, size: bytes.length, chunks };
};

/**
 * The files of a bundle by name. `shards`: weight files; `shift`: bytes by which each one's tensors start
 * beyond a multiple of 4, `space` more before them; `wide`: all weights in 32 bits.
 */
export function variant({ shards = 1, shift = 0, space = 0, wide = false }) {
  const manifest = JSON.parse(readFileSync(join(BUNDLE, "manifest.json"), "utf8"));
  const files = new Map(manifest.files.map(({ name }) => [name, readFileSync(join(BUNDLE, name))]));
  const tensors = [];
  for (const name of manifest.weights) {
    const file = files.get(name);
    const start = 8 + Number(file.readBigUInt64LE(0));
    for (const [
      tensor,
      {
        dtype,
        shape,
        data_offsets: [from, to],
      },
    ] of Object.entries(JSON.parse(file.subarray(8, start)))) {
      if (tensor === "__metadata__") continue;
      const bytes = file.subarray(start + from, start + to);
      tensors.push(
        wide && dtype === "F16"
          ? { tensor, dtype: "F32", shape, bytes: widen(bytes) }
          : { tensor, dtype, shape, bytes },
      );
    }
    files.delete(name);
  }
  if (wide) {
    for (const name of Object.values(manifest.components))
      files.set(name, Buffer.from(files.get(name).toString().replaceAll('"f16"', '"f32"')));
  }
  // The narrow ones first, so that wide ones stand wherever those end.
  tensors.sort((a, b) => WIDTHS[a.dtype] - WIDTHS[b.dtype]);
  manifest.weights = [];
  for (let shard = 0; shard < shards; shard++) {
    const own = tensors.filter((_, index) => index % shards === shard);
    let at = 0;
    const header = own.map(({ tensor, dtype, shape, bytes }) => [
      tensor,
      { dtype, shape, data_offsets: [at, (at += bytes.length)] },
    ]);
    const text = JSON.stringify(Object.fromEntries(header));
    const padded = text.padEnd(Math.ceil((text.length + space) / 4) * 4 + shift);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(padded.length));
    const name = `shard-${shard}.safetensors`;
    files.set(name, Buffer.concat([length, Buffer.from(padded), ...own.map(({ bytes }) => bytes)]));
    manifest.weights.push(name);
  }
  manifest.files = [...files].map(([name, bytes]) => fileEntry(name, bytes));
  files.set("manifest.json", Buffer.from(JSON.stringify(manifest)));
  return files;
}

/**
 * Bytes that loading the bundle of this manifest reads before its first weight file.
 * @param {any} manifest
 * @param {"webgpu" | "cpu"} backend
 */
export function bytesBeforeWeights({ components, weights, card, tokenizer, tokenizer_2, files }, backend) {
  const needed = new Set([...Object.values(components), ...weights, card, tokenizer, tokenizer_2]);
  const read = files.filter(({ name }) => needed.has(name));
  const isWeightFile = ({ name }) => weights.includes(name);
  // On the GPU the weights come last.
  const before =
    backend === "webgpu"
      ? read.filter((file) => !isWeightFile(file))
      : read.slice(0, read.findIndex(isWeightFile));
  return before.reduce((sum, { size }) => sum + size, 0);
}
