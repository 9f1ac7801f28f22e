// The end of a product whose k was split: sums the slices in their order, then does what shared/gemm.wgsl does to a sum.
//
// x: f32 [slices, rows, columns in units], as gemm_tile with SPLIT left it; bias, residual, y as there. Grid: one invocation per unit of y.
#import grid
#import epilogue

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
  store(pixel_of(i / p.columns), i % p.columns, value);
}
