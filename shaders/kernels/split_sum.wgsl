// The end of a product whose k was split: sums the slices in their order, then does what shared/gemm.wgsl does to a sum.
//
// x: f32 [slices, rows, columns in units], as gemm_tile with SPLIT left it; bias, residual, y as there. Grid: one invocation per unit of y.
#import grid
#import unit
#import activation

struct Params {
  // rows · columns.
  count: u32,
  slices: u32,
  // Units of D.
  columns: u32,
  // Ho, Wo.
  out_height: u32,
  out_width: u32,
  y_start: u32,
  y_n: u32,
  y_y: u32,
  y_x: u32,
  residual_start: u32,
  residual_n: u32,
  residual_y: u32,
  residual_x: u32,
  // ACT_….
  act: u32,
  // 1 where it is given.
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> residual: array<Unit>;
@group(0) @binding(4) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  var value = vec4<f32>();
  for (var slice = 0u; slice < p.slices; slice++) {
    value += x[slice * p.count + i];
  }
  let unit = i % p.columns;
  let row = i / p.columns;
  let line = row / p.out_width;
  let pixel = vec3<u32>(line / p.out_height, line % p.out_height, row % p.out_width);
  if (p.has_bias != 0u) {
    value += bias[unit];
  }
  value = activate4(p.act, value);
  if (p.has_residual != 0u) {
    value += up(residual[p.residual_start + pixel.x * p.residual_n + pixel.y * p.residual_y + pixel.z * p.residual_x + unit]);
  }
  y[p.y_start + pixel.x * p.y_n + pixel.y * p.y_y + pixel.z * p.y_x + unit] = down(value);
}
