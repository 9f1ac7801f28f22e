// Layer norm: y[…, d] = (x[…, d] - mean) / √(variance + epsilon) · gamma[d] + beta[d], over each row.
//
// x, y: blocks of D, strides between rows in blocks; gamma, beta: f32, padded to blocks. `affine` = 0 omits gamma and beta.
// Grid: one row per workgroup, or per invocation with SERIAL. The mean is computed first, then the mean of squared deviations, both in f32 in
// a fixed order.
#import row_reduce
#import block
#import shape

struct Params {
  rows: u32,
  // Dims of the rows.
  rank: u32,
  // Blocks of D, and D.
  blocks: u32,
  length: u32,
  // Blocks per lane: blocks / LANES, rounded up.
  iterations: u32,
  x_start: u32,
  y_start: u32,
  affine: u32,
  epsilon: f32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> beta: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<Block>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_index(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_index(local);
  let x_row = p.x_start + strided_offset(row, p.rank, p.shape, p.x_strides);
  let y_row = p.y_start + strided_offset(row, p.rank, p.shape, p.y_strides);
  // Sums of differences from one element lose less precision than sums of elements far from zero.
  let first_value = unpack_block(x[x_row]).x;
  var sums = vec4<f32>();
  for (var iteration = 0u; iteration < p.iterations; iteration++) {
    let block = iteration * LANES + lane;
    if (block < p.blocks) {
      sums += (unpack_block(x[x_row + block]) - first_value) * valid_elements(block, p.length);
    }
  }
  let mean = first_value + row_sum(lane, dot(sums, vec4<f32>(1.0))) / f32(p.length);
  var squares = vec4<f32>();
  for (var iteration = 0u; iteration < p.iterations; iteration++) {
    let block = iteration * LANES + lane;
    if (block < p.blocks) {
      let difference = (unpack_block(x[x_row + block]) - mean) * valid_elements(block, p.length);
      squares = fma(difference, difference, squares);
    }
  }
  let scale = 1.0 / sqrt(row_sum(lane, dot(squares, vec4<f32>(1.0))) / f32(p.length) + p.epsilon);
  for (var iteration = 0u; iteration < p.iterations; iteration++) {
    let block = iteration * LANES + lane;
    if (block < p.blocks) {
      var value = (unpack_block(x[x_row + block]) - mean) * scale * valid_elements(block, p.length);
      if (p.affine != 0u) {
        value = fma(value, gamma[block], beta[block]);
      }
      y[y_row + block] = pack_block(value);
    }
  }
}
