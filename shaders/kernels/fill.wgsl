// One value everywhere: y[i] = value. What a padded tensor is before its inside is copied in.
//
// y: f32 [count]. Grid: one invocation per element.
#import grid

struct Params {
  // Elements.
  count: u32,
  value: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  y[i] = p.value;
}
