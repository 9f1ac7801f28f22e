// The tensors that every side is given, and how far results are from those of the reference.

/** The f32 tensors of a safetensors file: { name: { dims, data } }. */
export async function tensors(url) {
  const bytes = await (await fetch(url)).arrayBuffer();
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
  delete header.__metadata__;
  const data = bytes.slice(8 + length);
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => [name, { dims: shape, data: new Float32Array(data.slice(from, to)) }],
    ),
  );
}

/** The difference's norm over the expected one's. */
export function relative(found, expected) {
  if (found.length !== expected.length)
    throw new Error(`${found.length} numbers, expected ${expected.length}`);
  let [difference, norm] = [0, 0];
  for (let at = 0; at < expected.length; at++) {
    difference += (found[at] - expected[at]) ** 2;
    norm += expected[at] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Planes of -1…1 to RGBA. */
export function rgba(planes) {
  const pixels = planes.length / 3;
  const bytes = new Uint8ClampedArray(pixels * 4);
  for (let at = 0; at < pixels; at++) {
    for (let plane = 0; plane < 3; plane++) bytes[at * 4 + plane] = (planes[plane * pixels + at] + 1) * 127.5;
    bytes[at * 4 + 3] = 255;
  }
  return bytes;
}

/**
 * Peak signal-to-noise ratio of the colours in decibels; Infinity, which JSON cannot say, is given as 999.
 */
export function decibels(found, expected) {
  let sum = 0;
  for (let at = 0; at < expected.length; at++) if (at % 4 !== 3) sum += (found[at] - expected[at]) ** 2;
  return sum === 0 ? 999 : 10 * Math.log10(255 ** 2 / (sum / ((expected.length / 4) * 3)));
}
