// Pixels repeated: y[c, oy, ox] = x[c, oy / scale_y, ox / scale_x].
//
// x: f32 [N·C, H, W], y: f32 [N·C, H·scale_y, W·scale_x]. Grid: one invocation per element of y.
#import grid

struct Params {
  // Elements of y.
  count: u32,
  // H.
  height: u32,
  // W.
  width: u32,
  scale_y: u32,
  scale_x: u32,
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
  let out_width = p.width * p.scale_x;
  let ox = i % out_width;
  let row = i / out_width;
  let out_height = p.height * p.scale_y;
  let oy = row % out_height;
  let plane = row / out_height;
  y[i] = x[(plane * p.height + oy / p.scale_y) * p.width + ox / p.scale_x];
}
