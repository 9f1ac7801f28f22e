// A pointwise function of two tensors with broadcasting: y[…, j] = f(a[…, j], b[…, j]).
//
// a, b, y: blocks along j. The last dim of `shape` counts blocks; strides are in blocks, 0 repeats a dim.
// A splat operand has one element along j, which is used for all j.
// Grid: one invocation per block of y. The padding of y is set to zero.
// In bounds: the planner's strides stay inside a and b.
#import grid
#import block
#import math
#import shape

const ADD = 0u;
const SUB = 1u;
const MUL = 2u;
const DIV = 3u;
const POW = 4u;
const MIN = 5u;
const MAX = 6u;
// a · gelu(b).
const GEGLU = 7u;

struct Params {
  // Blocks of y.
  count: u32,
  // Blocks and elements along j.
  blocks: u32,
  length: u32,
  // One of the functions above.
  kind: u32,
  // Dims of `shape`, after merging contiguous ones; at least 1.
  rank: u32,
  a_start: u32,
  b_start: u32,
  y_start: u32,
  // 1: the operand is a splat.
  a_splat: u32,
  b_splat: u32,
  // Sizes, outermost dim first.
  shape: array<vec4<u32>, 2>,
  // Blocks between neighbours along each dim.
  a_strides: array<vec4<u32>, 2>,
  b_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Block>;
@group(0) @binding(2) var<storage, read> b: array<Block>;
@group(0) @binding(3) var<storage, read_write> y: array<Block>;

fn apply(u: f32, v: f32) -> f32 {
  switch p.kind {
    case ADD: { return u + v; }
    case SUB: { return u - v; }
    case MUL: { return u * v; }
    case DIV: { return u / v; }
    case POW: { return power(u, v); }
    case MIN: { return min(u, v); }
    case MAX: { return max(u, v); }
    case GEGLU: { return u * gelu(v); }
    default: { return u; }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let a_block = unpack_block(a[p.a_start + strided_offset(i, p.rank, p.shape, p.a_strides)]);
  let b_block = unpack_block(b[p.b_start + strided_offset(i, p.rank, p.shape, p.b_strides)]);
  let u = select(a_block, vec4<f32>(a_block.x), p.a_splat != 0u);
  let v = select(b_block, vec4<f32>(b_block.x), p.b_splat != 0u);
  let valid = valid_elements(i % p.blocks, p.length) > vec4<f32>(0.5);
  let value = vec4<f32>(apply(u.x, v.x), apply(u.y, v.y), apply(u.z, v.z), apply(u.w, v.w));
  y[p.y_start + strided_offset(i, p.rank, p.shape, p.y_strides)] = pack_block(select(vec4<f32>(), value, valid));
}
