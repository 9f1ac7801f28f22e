// A pointwise function of one tensor: y[…, j] = f(x[…, j]).
//
// x, y: blocks along j. The last dim of `shape` counts blocks; strides are in blocks.
// Grid: one invocation per block of y. The padding of y is set to zero.
// Accuracy: 4e-7 relative, or absolute if |y| < 1; sin and cos for |x| < 10,000; exp saturates at the ends of f32.
#import grid
#import block
#import math
#import shape

const NEG = 0u;
const ABS = 1u;
const EXP = 2u;
const LOG = 3u;
const SQRT = 4u;
const RECIP = 5u;
const SIN = 6u;
const COS = 7u;
const TANH = 8u;
const ERF = 9u;
const SIGMOID = 10u;
const RELU = 11u;
const SILU = 12u;
const GELU = 13u;
const QUICK_GELU = 14u;
const AFFINE = 15u;
const CLAMP = 16u;

struct Params {
  // Blocks in all.
  count: u32,
  // Blocks and elements along j.
  blocks: u32,
  length: u32,
  // Dims of `shape`; at least 1.
  rank: u32,
  x_start: u32,
  y_start: u32,
  // One of the functions above.
  kind: u32,
  // AFFINE: factor. CLAMP: lower bound.
  a: f32,
  // AFFINE: addend. CLAMP: upper bound.
  b: f32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read_write> y: array<Block>;

fn apply(v: f32) -> f32 {
  switch p.kind {
    case NEG: { return -v; }
    case ABS: { return abs(v); }
    case EXP: { return exp_safe(v); }
    case LOG: { return log(v); }
    case SQRT: { return sqrt(v); }
    case RECIP: { return 1.0 / v; }
    case SIN: { return sin_shifted(v, 0u); }
    case COS: { return sin_shifted(v, 1u); }
    case TANH: { return tanh_safe(v); }
    case ERF: { return erf(v); }
    case SIGMOID: { return sigmoid(v); }
    case RELU: { return max(v, 0.0); }
    case SILU: { return silu(v); }
    case GELU: { return gelu(v); }
    case QUICK_GELU: { return quick_gelu(v); }
    case AFFINE: { return fma(v, p.a, p.b); }
    case CLAMP: { return min(max(v, p.a), p.b); }
    default: { return v; }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let v = unpack_block(x[p.x_start + strided_offset(i, p.rank, p.shape, p.x_strides)]);
  let valid = valid_elements(i % p.blocks, p.length) > vec4<f32>(0.5);
  let value = vec4<f32>(apply(v.x), apply(v.y), apply(v.z), apply(v.w));
  y[p.y_start + strided_offset(i, p.rank, p.shape, p.y_strides)] = pack_block(select(vec4<f32>(), value, valid));
}
