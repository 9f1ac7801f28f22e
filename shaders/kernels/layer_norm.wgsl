// Rows brought to zero mean and unit variance: y[m, d] = (x[m, d] - mean) / √(variance + epsilon) · gamma[d] + beta[d].
//
// x, y: f32 [M, D]; gamma, beta: f32 [D].
// Grid: a row per workgroup (LANES_64) or per invocation. Mean first, then the mean of squared differences, both in f32 and in a fixed order.
#import lanes

struct Params {
  // M.
  rows: u32,
  // D.
  length: u32,
  // Turns of a lane: length / LANES, rounded up.
  turns: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_of(local);
  let first = row * p.length;
  // Sums of differences from one element lose less than sums of elements far from zero.
  let shift = x[first];
  var sum = 0.0;
  for (var turn = 0u; turn < p.turns; turn++) {
    let i = turn * LANES + lane;
    if (i < p.length) {
      sum += x[first + i] - shift;
    }
  }
  let mean = shift + lanes_sum(lane, sum) / f32(p.length);
  var squares = 0.0;
  for (var turn = 0u; turn < p.turns; turn++) {
    let i = turn * LANES + lane;
    if (i < p.length) {
      let difference = x[first + i] - mean;
      squares = fma(difference, difference, squares);
    }
  }
  let scale = 1.0 / sqrt(lanes_sum(lane, squares) / f32(p.length) + p.epsilon);
  for (var turn = 0u; turn < p.turns; turn++) {
    let i = turn * LANES + lane;
    if (i < p.length) {
      y[first + i] = fma((x[first + i] - mean) * scale, gamma[i], beta[i]);
    }
  }
}
