// A strided copy of a box: y[…, j] = x[…, j], between tensors that are laid out in different ways.
//
// x: units, or f32 elements with RAW_INPUT (what a caller gives); y: units, or f32 elements with RAW_OUTPUT (what a caller gets).
// The box has an innermost axis, j, that is y's innermost, and the axes around it in `shape`. Starts and strides of x count elements; of y
// units, with RAW_OUTPUT elements. x_inner: elements of x between neighbours along j.
// Grid: one invocation per unit of y that the box touches, with RAW_OUTPUT per element; j first.
// `shift`: the lane of y's first unit at which the box starts. KEEP_BEFORE and KEEP_AFTER: lanes of those units outside the box stay as
// they are; else they become zero, as a tensor's padding must. WHOLE: x lies in units along j too, and is read unit by unit.
#import grid
#import unit
#import shape

const KEEP_BEFORE = 1u;
const KEEP_AFTER = 2u;

struct Params {
  // Invocations that have work.
  count: u32,
  // Axes around the innermost.
  rank: u32,
  // Invocations along j.
  units: u32,
  // Elements along j.
  length: u32,
  x_start: u32,
  x_inner: u32,
  y_start: u32,
  shift: u32,
  // KEEP_….
  keep: u32,
  // 1: WHOLE.
  whole: u32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
#ifdef RAW_INPUT
@group(0) @binding(1) var<storage, read> x: array<f32>;

fn element(at: u32) -> f32 {
  return x[at];
}

fn unit_at(at: u32) -> vec4<f32> {
  return vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}
#else
@group(0) @binding(1) var<storage, read> x: array<Unit>;

fn element(at: u32) -> f32 {
  return up(x[at / 4u])[at % 4u];
}

fn unit_at(at: u32) -> vec4<f32> {
  return up(x[at / 4u]);
}
#endif
#ifdef RAW_OUTPUT
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<Unit>;

// Lane `j` of the box in a unit that held `old`.
fn lane(start: u32, j: i32, old: f32) -> f32 {
  let length = i32(p.length);
  let inside = j >= 0 && j < length;
  let kept = (j < 0 && (p.keep & KEEP_BEFORE) != 0u) || (j >= length && (p.keep & KEEP_AFTER) != 0u);
  let value = element(start + u32(clamp(j, 0, length - 1)) * p.x_inner);
  return select(select(0.0, old, kept), value, inside);
}
#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let inner = i % p.units;
  let outer = i / p.units;
  let source = p.x_start + place(outer, p.rank, p.shape, p.x_strides);
  let to = p.y_start + place(outer, p.rank, p.shape, p.y_strides) + inner;
#ifdef RAW_OUTPUT
  y[to] = element(source + inner * p.x_inner);
#else
  if (p.whole != 0u) {
    y[to] = down(select(vec4<f32>(), unit_at(source + inner * 4u), lanes_inside(inner, p.length) > vec4<f32>(0.5)));
    return;
  }
  let first = i32(inner * 4u) - i32(p.shift);
  var old = vec4<f32>();
  if (p.keep != 0u) {
    old = up(y[to]);
  }
  y[to] = down(vec4<f32>(
    lane(source, first, old.x),
    lane(source, first + 1, old.y),
    lane(source, first + 2, old.z),
    lane(source, first + 3, old.w),
  ));
#endif
}
