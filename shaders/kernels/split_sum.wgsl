// The second step of split-K: adds up the slices in order and applies the epilogue of shared/gemm.wgsl.
//
// x: f32 [slices, rows, column blocks], as gemm_tile with SPLIT writes it; bias, residual, y as in shared/gemm.wgsl.
// Grid: one invocation per block of y. STATS: one workgroup per tile of ROWS rows and COLUMNS column blocks, row tiles fastest, with the
// statistics of shared/store_tile.wgsl.
#ifndef STATS
#import grid
#endif
#import epilogue

struct Params {
  // Blocks of y.
  count: u32,
  rows: u32,
  slices: u32,
  // Blocks of D.
  column_blocks: u32,
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
  // 1 if the tensor is given.
  has_bias: u32,
  has_residual: u32,
#ifdef STATS
  stats_start: u32,
  stats_blocks: u32,
#endif
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> residual: array<Block>;
@group(0) @binding(4) var<storage, read_write> y: array<Block>;
#ifdef STATS
@group(0) @binding(5) var<storage, read_write> stats: array<vec4<f32>>;
#endif

// The sum over the slices of block i of [rows, column blocks].
fn slice_sum(i: u32) -> vec4<f32> {
  var value = vec4<f32>();
  for (var slice = 0u; slice < p.slices; slice++) {
    value += x[slice * (p.rows * p.column_blocks) + i];
  }
  return value;
}

#ifdef STATS
// A tile: rows and column blocks.
const ROWS = 64u;
const COLUMNS = 16u;
// Invocations along the columns.
const LANES = COLUMNS / {BLOCKS}u;
// Rows of an invocation.
const THREAD_ROWS = 8u;

var<workgroup> a_tile: array<vec4<f32>, 512>;
#import store_tile

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let tile = group.y * groups.x + group.x;
  let row_tiles = (p.rows + ROWS - 1u) / ROWS;
  let row = tile % row_tiles * ROWS;
  let column = tile / row_tiles * COLUMNS;
  if (column >= p.column_blocks) {
    return;
  }
  let block = min(column + local % COLUMNS, p.column_blocks - 1u);
  var sums = array<vec4<f32>, THREAD_ROWS>();
  for (var i = 0u; i < THREAD_ROWS; i++) {
    sums[i] = slice_sum(min(row + local / COLUMNS * THREAD_ROWS + i, p.rows - 1u) * p.column_blocks + block);
  }
  store_tile(local, row, column, sums);
}
#else
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  if (p.act == ACT_GEGLU) {
    let width = p.column_blocks / 2u;
    store_gated(pixel_of(i / width), i % width, slice_sum(2u * i), slice_sum(2u * i + 1u));
  } else {
    store(pixel_of(i / p.column_blocks), i % p.column_blocks, slice_sum(i));
  }
}
#endif
