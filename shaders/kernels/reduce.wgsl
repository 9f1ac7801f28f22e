// The sum, mean or largest value along an axis: y[o, s] = Σ_l x[o, l, s], or its mean, or max_l x[o, l, s].
//
// x: f32 [O, L, S], L the axis; y: f32 [O, 1, S]. A row is one (o, s).
// Grid: a row per workgroup (LANES_64) or per invocation. Sums in f32 and in a fixed order.
#import lanes

const SUM = 0u;
const MEAN = 1u;
const MAX = 2u;

struct Params {
  // O·S.
  rows: u32,
  // L; at least 1.
  length: u32,
  // S: elements between neighbours along the axis.
  stride: u32,
  // Turns of a lane: length / LANES, rounded up.
  turns: u32,
  // One of the above.
  kind: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_of(local);
  let first = (row / p.stride) * p.length * p.stride + row % p.stride;
  var sum = 0.0;
  var highest = LOWEST;
  for (var turn = 0u; turn < p.turns; turn++) {
    let i = turn * LANES + lane;
    if (i < p.length) {
      let value = x[first + i * p.stride];
      sum += value;
      highest = max(highest, value);
    }
  }
  var result = 0.0;
  if (p.kind == MAX) {
    result = lanes_max(lane, highest);
  } else {
    result = lanes_sum(lane, sum);
  }
  if (p.kind == MEAN) {
    result /= f32(p.length);
  }
  if (lane == 0u) {
    y[row] = result;
  }
}
