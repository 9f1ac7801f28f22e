// Nearest-neighbour upsampling: y[n, i, j, c] = x[n, source(i), source(j), c], with source(i) = min(floor(i · ratio), last).
//
// x, y: blocks of channels, strides between n, rows and columns in blocks. The ratio is x's length divided by y's. One f32 product is rounded
// alike on every adapter, so that all choose the same pixel. Pixels that are all repeated equally often need no kernel but copy.
// Grid: one invocation per block of y.
#import grid
#import block

struct Params {
  // N · H · W · blocks.
  count: u32,
  blocks: u32,
  // H and W of y.
  height: u32,
  width: u32,
  // The last row and column of x.
  last_row: u32,
  last_column: u32,
  row_ratio: f32,
  column_ratio: f32,
  x_start: u32,
  x_n: u32,
  x_y: u32,
  x_x: u32,
  y_start: u32,
  y_n: u32,
  y_y: u32,
  y_x: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read_write> y: array<Block>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let block = i % p.blocks;
  let pixel = i / p.blocks;
  let column = pixel % p.width;
  let row = (pixel / p.width) % p.height;
  let n = pixel / (p.width * p.height);
  let x_row = min(u32(f32(row) * p.row_ratio), p.last_row);
  let x_column = min(u32(f32(column) * p.column_ratio), p.last_column);
  y[p.y_start + n * p.y_n + row * p.y_y + column * p.y_x + block] = x[p.x_start + n * p.x_n + x_row * p.x_y + x_column * p.x_x + block];
}
