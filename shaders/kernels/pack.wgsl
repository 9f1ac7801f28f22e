// A tensor as it lies in a file, brought into a plan's layout: y[column / panel, tap, channel, column % panel] =
// x[start + (column · depth + channel) · taps + tap], with zeros where channel or column is beyond its end. With `gates`, columns of x from that
// one on are gates, and in y units of values and of gates lie by turns.
//
// raw: a window of the file, in which `length` elements of the tensor lie whole: the first of them is number `base`, at the byte `lead`; one
// more word may be read behind the last. What is not in the window stays as it is in y: windows come one after another.
// y: elements in 16 or 32 bits, two or one to a word. Grid: one invocation per word of y, the first of them `first`.
// Bits are moved or converted in integers, to the nearest and then the even: what adapters make of subnormal and of large numbers differs.
#import grid

struct Params {
  // Words of y.
  count: u32,
  first: u32,
  // 1: x has 16 bits an element, else 32.
  x_half: u32,
  // 1: y has.
  y_half: u32,
  base: u32,
  length: u32,
  lead: u32,
  start: u32,
  columns: u32,
  depth: u32,
  // The depth with its zeros.
  padded: u32,
  taps: u32,
  panel: u32,
  // Half of the columns, in whole units, or 0.
  gates: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> raw: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

// Four bytes, wherever they start.
fn bytes(at: u32) -> u32 {
  let shift = (at % 4u) * 8u;
  let word = raw[at / 4u];
  if (shift == 0u) {
    return word;
  }
  return (word >> shift) | (raw[at / 4u + 1u] << (32u - shift));
}

fn widened(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let size = half & 0x7fffu;
  if (size >= 0x7c00u) {
    // What is no number is a quiet one.
    return sign | 0x7f800000u | ((size & 0x3ffu) << 13u) | select(0u, 0x400000u, size > 0x7c00u);
  }
  if (size < 0x400u) {
    // A multiple of 2^-24, which 32 bits hold as a normal number.
    let top = firstLeadingBit(size);
    return select(sign | ((top + 103u) << 23u) | ((size << (23u - top)) & 0x7fffffu), sign, size == 0u);
  }
  return sign | ((size << 13u) + 0x38000000u);
}

fn narrowed(word: u32) -> u32 {
  let sign = (word >> 16u) & 0x8000u;
  let size = word & 0x7fffffffu;
  if (size > 0x7f800000u) {
    return sign | 0x7e00u | ((size >> 13u) & 0x3ffu);
  }
  // From halfway beyond the largest number on.
  if (size >= 0x477ff000u) {
    return sign | 0x7c00u;
  }
  // Below 2^-14 the last place stands still.
  let exponent = size >> 23u;
  let drop = select(126u - exponent, 13u, exponent > 112u);
  if (drop > 24u) {
    return sign;
  }
  let digits = select((size & 0x7fffffu) | 0x800000u, size - 0x38000000u, exponent > 112u);
  let below = digits & ((1u << drop) - 1u);
  let half = 1u << (drop - 1u);
  let kept = digits >> drop;
  return sign | (kept + select(0u, 1u, below > half || (below == half && (kept & 1u) == 1u)));
}

// Element `d` of y; `old` where the window does not hold it.
fn element(d: u32, old: u32) -> u32 {
  let row = d / p.panel;
  let channel = row % p.padded;
  let line = row / p.padded;
  var column = line / p.taps * p.panel + d % p.panel;
  if (channel >= p.depth || column >= p.columns) {
    return 0u;
  }
  if (p.gates > 0u) {
    column = column / 8u * 4u + column % 4u + (column / 4u % 2u) * p.gates;
  }
  let i = p.start + (column * p.depth + channel) * p.taps + line % p.taps - p.base;
  if (i >= p.length) {
    return old;
  }
  let value = bytes(p.lead + i * select(4u, 2u, p.x_half == 1u));
  if (p.x_half == p.y_half) {
    return value;
  }
  if (p.y_half == 1u) {
    return narrowed(value);
  }
  return widened(value & 0xffffu);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let at = p.first + i;
  let old = y[at];
  if (p.y_half == 1u) {
    y[at] = (element(at * 2u, old) & 0xffffu) | (element(at * 2u + 1u, old >> 16u) << 16u);
  } else {
    y[at] = element(at, old);
  }
}
