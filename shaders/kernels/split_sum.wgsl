// The end of a product whose k was split: sums the slices in their order, then does what shared/gemm.wgsl does to a sum.
//
// x: f32 [slices, rows, columns in units], as gemm_tile with SPLIT left it; bias, residual, y as there. Grid: one invocation per unit of y.
// STATS: a workgroup per tile of 64 rows in 64 columns, tiles of rows first, with statistics as in shared/tile.wgsl.
#ifndef STATS
#import grid
#endif
#import epilogue

struct Params {
  // Units of y.
  count: u32,
  rows: u32,
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
#ifdef STATS
  stats_start: u32,
  stats_units: u32,
#endif
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> residual: array<Unit>;
@group(0) @binding(4) var<storage, read_write> y: array<Unit>;
#ifdef STATS
@group(0) @binding(5) var<storage, read_write> stats: array<vec4<f32>>;
#endif

// The sum of unit `i` of all rows over the slices.
fn total(i: u32) -> vec4<f32> {
  var value = vec4<f32>();
  for (var slice = 0u; slice < p.slices; slice++) {
    value += x[slice * (p.rows * p.columns) + i];
  }
  return value;
}

#ifdef STATS
var<workgroup> a_tile: array<vec4<f32>, 512>;
#import tile

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let tile = group.y * groups.x + group.x;
  let row_tiles = (p.rows + 63u) / 64u;
  let row = tile % row_tiles * 64u;
  let column = tile / row_tiles * 16u;
  if (column >= p.columns) {
    return;
  }
  let unit = min(column + local % 16u, p.columns - 1u);
  var sums = array<vec4<f32>, 8>();
  for (var i = 0u; i < 8u; i++) {
    sums[i] = total(min(row + local / 16u * 8u + i, p.rows - 1u) * p.columns + unit);
  }
  finish(local, row, column, sums);
}
#else
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  if (p.act == ACT_GEGLU) {
    let width = p.columns / 2u;
    store_gated(pixel_of(i / width), i % width, total(2u * i), total(2u * i + 1u));
  } else {
    store(pixel_of(i / p.columns), i % p.columns, total(i));
  }
}
#endif
