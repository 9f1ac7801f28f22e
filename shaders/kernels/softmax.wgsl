// Softmax along the innermost dim: y[…, j] = exp(x[…, j] - max) / Σ exp(x[…, j] - max).
//
// x, y: blocks along j, strides between rows in blocks. The padding of y is set to zero.
// Grid: one row per workgroup, or per invocation with SERIAL.
#import row_reduce
#import block
#import shape

struct Params {
  rows: u32,
  // Dims of the rows.
  rank: u32,
  // Blocks and elements of a row.
  blocks: u32,
  length: u32,
  // Blocks per lane: blocks / LANES, rounded up.
  iterations: u32,
  x_start: u32,
  y_start: u32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read_write> y: array<Block>;

// A block of x with its padding replaced by the lowest number.
fn masked_block(base: u32, block: u32) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), unpack_block(x[base + block]), valid_elements(block, p.length) > vec4<f32>(0.5));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_index(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_index(local);
  let x_row = p.x_start + strided_offset(row, p.rank, p.shape, p.x_strides);
  let y_row = p.y_start + strided_offset(row, p.rank, p.shape, p.y_strides);
  var highest = vec4<f32>(LOWEST);
  for (var iteration = 0u; iteration < p.iterations; iteration++) {
    let block = iteration * LANES + lane;
    if (block < p.blocks) {
      highest = max(highest, masked_block(x_row, block));
    }
  }
  let largest = row_max(lane, max(max(highest.x, highest.y), max(highest.z, highest.w)));
  var sums = vec4<f32>();
  for (var iteration = 0u; iteration < p.iterations; iteration++) {
    let block = iteration * LANES + lane;
    if (block < p.blocks) {
      sums += exp(max(masked_block(x_row, block) - largest, vec4<f32>(-87.0))) * valid_elements(block, p.length);
    }
  }
  let scale = 1.0 / row_sum(lane, dot(sums, vec4<f32>(1.0)));
  for (var iteration = 0u; iteration < p.iterations; iteration++) {
    let block = iteration * LANES + lane;
    if (block < p.blocks) {
      y[y_row + block] = pack_block(exp(max(masked_block(x_row, block) - largest, vec4<f32>(-87.0))) * scale * valid_elements(block, p.length));
    }
  }
}
