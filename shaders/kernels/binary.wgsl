// A pointwise function of two tensors with broadcasting: y[…, j] = f(a[…, j], b[…, j]).
//
// a, b, y: units; the last axis of `shape` counts the units along the innermost axis, strides count units, 0 repeats an axis.
// A splat operand has one element along the innermost axis, which stands for all.
// Grid: one invocation per unit of y. The padding of y becomes zero.
// In bounds: the planner's strides reach no further than the elements of a and b.
#import grid
#import unit
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
  // Units of y.
  count: u32,
  // Units and elements along the innermost axis.
  units: u32,
  length: u32,
  // One of the functions above.
  kind: u32,
  // Axes after merging those that run together; at least 1.
  rank: u32,
  a_start: u32,
  b_start: u32,
  y_start: u32,
  // 1: one element along the innermost axis.
  a_splat: u32,
  b_splat: u32,
  // Lengths, first axis first.
  shape: array<vec4<u32>, 2>,
  // Units between neighbours along each axis.
  a_strides: array<vec4<u32>, 2>,
  b_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Unit>;
@group(0) @binding(2) var<storage, read> b: array<Unit>;
@group(0) @binding(3) var<storage, read_write> y: array<Unit>;

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
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let ua = up(a[p.a_start + place(i, p.rank, p.shape, p.a_strides)]);
  let ub = up(b[p.b_start + place(i, p.rank, p.shape, p.b_strides)]);
  let u = select(ua, vec4<f32>(ua.x), p.a_splat != 0u);
  let v = select(ub, vec4<f32>(ub.x), p.b_splat != 0u);
  let inside = lanes_inside(i % p.units, p.length) > vec4<f32>(0.5);
  let value = vec4<f32>(apply(u.x, v.x), apply(u.y, v.y), apply(u.z, v.z), apply(u.w, v.w));
  y[p.y_start + place(i, p.rank, p.shape, p.y_strides)] = down(select(vec4<f32>(), value, inside));
}
