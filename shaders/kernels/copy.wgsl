// A strided copy: y[y_start + Σ index·y_stride] = x[x_start + Σ index·x_stride] for every index of a box.
//
// Covers slice, permute, expand (a stride of 0), one part of a concatenation, and the inside of a padded tensor.
// x: f32, y: f32. Grid: one invocation per index of the box.
// In bounds: the planner's starts and strides stay inside x and y.
#import grid
#import shape

struct Params {
  // Indices of the box.
  count: u32,
  // Axes after merging those that run together; at least 1.
  rank: u32,
  // First element read.
  x_start: u32,
  // First element written.
  y_start: u32,
  // Lengths of the box, first axis first.
  shape: array<vec4<u32>, 2>,
  // Elements between neighbours along each axis.
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  var rest = i;
  var source = p.x_start;
  var sink = p.y_start;
  for (var step = 0u; step < 8u; step++) {
    if (step < p.rank) {
      let axis = p.rank - 1u - step;
      let length = along(p.shape, axis);
      let index = rest % length;
      rest /= length;
      source += index * along(p.x_strides, axis);
      sink += index * along(p.y_strides, axis);
    }
  }
  y[sink] = x[source];
}
