// A pointwise function of one tensor: y[i] = f(x[i]).
//
// x: f32 [count], y: f32 [count], any shape, row-major.
// Grid: one invocation per element.
// Accuracy: no worse than 4e-7 relative, or absolute where |y| < 1; sin and cos while |x| < 10,000; exp saturates at the ends of f32.
#import grid
#import math

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
  // Elements.
  count: u32,
  // One of the functions above.
  kind: u32,
  // AFFINE: factor. CLAMP: lower bound.
  a: f32,
  // AFFINE: addend. CLAMP: upper bound.
  b: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn apply(v: f32) -> f32 {
  switch p.kind {
    case NEG: { return -v; }
    case ABS: { return abs(v); }
    case EXP: { return exp_safe(v); }
    case LOG: { return log(v); }
    case SQRT: { return sqrt(v); }
    case RECIP: { return 1.0 / v; }
    case SIN: { return sin_turned(v, 0u); }
    case COS: { return sin_turned(v, 1u); }
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
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  y[i] = apply(x[i]);
}
