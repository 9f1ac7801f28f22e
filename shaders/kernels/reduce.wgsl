// Sum, mean or maximum along the innermost dim, which keeps length 1: y[…, 0] = f over j of x[…, j].
//
// x: blocks along j; y: one block per row, with the result as its first element and zeros as padding; strides between rows in blocks.
// Grid: one row per workgroup, or per invocation with SERIAL.
#import row_reduce
#import block
#import shape

const SUM = 0u;
const MEAN = 1u;
const MAX = 2u;

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
  // One of the functions above.
  kind: u32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read_write> y: array<Block>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_index(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_index(local);
  let x_row = p.x_start + strided_offset(row, p.rank, p.shape, p.x_strides);
  let y_row = p.y_start + strided_offset(row, p.rank, p.shape, p.y_strides);
  var sums = vec4<f32>();
  var highest = vec4<f32>(LOWEST);
  for (var iteration = 0u; iteration < p.iterations; iteration++) {
    let block = iteration * LANES + lane;
    if (block < p.blocks) {
      let v = unpack_block(x[x_row + block]);
      let valid = valid_elements(block, p.length) > vec4<f32>(0.5);
      sums += select(vec4<f32>(), v, valid);
      highest = max(highest, select(vec4<f32>(LOWEST), v, valid));
    }
  }
  let sum = row_sum(lane, dot(sums, vec4<f32>(1.0)));
  let largest = row_max(lane, max(max(highest.x, highest.y), max(highest.z, highest.w)));
  var result = sum;
  if (p.kind == MEAN) {
    result = sum / f32(p.length);
  }
  if (p.kind == MAX) {
    result = largest;
  }
  if (lane == 0u) {
    y[y_row] = pack_block(vec4<f32>(result, 0.0, 0.0, 0.0));
  }
}
