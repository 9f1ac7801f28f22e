// A pointwise function of two tensors with broadcasting: y[i] = f(a[..], b[..]).
//
// a, b: f32, row-major; a stride of 0 repeats an axis. y: f32 [shape], row-major.
// Grid: one invocation per element of y.
// In bounds: the planner's strides reach no further than the elements of a and b.
#import grid
#import math
#import shape

const ADD = 0u;
const SUB = 1u;
const MUL = 2u;
const DIV = 3u;
const POW = 4u;
const MIN = 5u;
const MAX = 6u;

struct Params {
  // Elements of y.
  count: u32,
  // One of the functions above.
  kind: u32,
  // Axes after merging those that run together; at least 1.
  rank: u32,
  // Lengths, first axis first.
  shape: array<vec4<u32>, 2>,
  // Elements between neighbours along each axis.
  a_strides: array<vec4<u32>, 2>,
  b_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn apply(u: f32, v: f32) -> f32 {
  switch p.kind {
    case ADD: { return u + v; }
    case SUB: { return u - v; }
    case MUL: { return u * v; }
    case DIV: { return u / v; }
    case POW: { return power(u, v); }
    case MIN: { return min(u, v); }
    case MAX: { return max(u, v); }
    default: { return u; }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  var rest = i;
  var at_a = 0u;
  var at_b = 0u;
  for (var step = 0u; step < 8u; step++) {
    if (step < p.rank) {
      let axis = p.rank - 1u - step;
      let length = along(p.shape, axis);
      let index = rest % length;
      rest /= length;
      at_a += index * along(p.a_strides, axis);
      at_b += index * along(p.b_strides, axis);
    }
  }
  y[i] = apply(a[at_a], b[at_b]);
}
