// Packs a tensor of a weight file into the planner's layout: y[column / panel, tap, channel, column % panel] =
// x[start + (column · depth + channel) · taps + tap], zero where channel or column is past the end. If `half_columns` > 0, columns of x from that
// one on are gates, and blocks of values and of gates alternate in y.
//
// window: part of the file. It holds `elements` whole elements of the tensor, from element number `first_element` on, which begins at byte
// `first_byte`; one word past the last may be read. Elements of y that the window does not hold keep their values, so windows can follow each
// other.
// y: f16 or f32 elements, two or one per word. Grid: one invocation per word of y, from `first_word` on.
// f16 and f32 are converted with integer operations, rounding to nearest even, because adapters differ in their treatment of subnormal and of
// large numbers.
#import grid

struct Params {
  // Words of y.
  count: u32,
  first_word: u32,
  // 1: x is f16, otherwise f32.
  x_f16: u32,
  // 1: y is f16, otherwise f32.
  y_f16: u32,
  first_element: u32,
  elements: u32,
  first_byte: u32,
  start: u32,
  columns: u32,
  depth: u32,
  // The depth, padded to whole blocks.
  padded_depth: u32,
  taps: u32,
  panel: u32,
  // The number of value columns, a multiple of 4, if the other half are gates; otherwise 0.
  half_columns: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> window: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

// The four bytes from any byte on.
fn bytes(offset: u32) -> u32 {
  let shift = (offset % 4u) * 8u;
  let word = window[offset / 4u];
  if (shift == 0u) {
    return word;
  }
  return (word >> shift) | (window[offset / 4u + 1u] << (32u - shift));
}

fn f32_bits(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    // Infinity, or a NaN made quiet.
    return sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u) | select(0u, 0x400000u, magnitude > 0x7c00u);
  }
  if (magnitude < 0x400u) {
    // A subnormal f16 is a multiple of 2^-24, which is a normal f32.
    let top = firstLeadingBit(magnitude);
    return select(sign | ((top + 103u) << 23u) | ((magnitude << (23u - top)) & 0x7fffffu), sign, magnitude == 0u);
  }
  return sign | ((magnitude << 13u) + 0x38000000u);
}

fn f16_bits(word: u32) -> u32 {
  let sign = (word >> 16u) & 0x8000u;
  let magnitude = word & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return sign | 0x7e00u | ((magnitude >> 13u) & 0x3ffu);
  }
  // Rounds to infinity.
  if (magnitude >= 0x477ff000u) {
    return sign | 0x7c00u;
  }
  // Results below 2^-14 are subnormal, with a fixed exponent.
  let exponent = magnitude >> 23u;
  let drop = select(126u - exponent, 13u, exponent > 112u);
  if (drop > 24u) {
    return sign;
  }
  let significand = select((magnitude & 0x7fffffu) | 0x800000u, magnitude - 0x38000000u, exponent > 112u);
  let dropped_bits = significand & ((1u << drop) - 1u);
  let half = 1u << (drop - 1u);
  let rounded = significand >> drop;
  return sign | (rounded + select(0u, 1u, dropped_bits > half || (dropped_bits == half && (rounded & 1u) == 1u)));
}

// Element d of y, or `old` if the window does not hold it.
fn element(d: u32, old: u32) -> u32 {
  let row = d / p.panel;
  let channel = row % p.padded_depth;
  let line = row / p.padded_depth;
  var column = line / p.taps * p.panel + d % p.panel;
  if (channel >= p.depth || column >= p.columns) {
    return 0u;
  }
  if (p.half_columns > 0u) {
    column = column / 8u * 4u + column % 4u + (column / 4u % 2u) * p.half_columns;
  }
  let i = p.start + (column * p.depth + channel) * p.taps + line % p.taps - p.first_element;
  if (i >= p.elements) {
    return old;
  }
  let value = bytes(p.first_byte + i * select(4u, 2u, p.x_f16 == 1u));
  if (p.x_f16 == p.y_f16) {
    return value;
  }
  if (p.y_f16 == 1u) {
    return f16_bits(value);
  }
  return f32_bits(value & 0xffffu);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let word = p.first_word + i;
  let old = y[word];
  if (p.y_f16 == 1u) {
    y[word] = (element(word * 2u, old) & 0xffffu) | (element(word * 2u + 1u, old >> 16u) << 16u);
  } else {
    y[word] = element(word, old);
  }
}
