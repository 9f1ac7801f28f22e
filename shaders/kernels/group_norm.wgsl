// Groups of channels brought to zero mean and unit variance: y = act((x - mean) / √(variance + epsilon) · gamma[c] + beta[c]).
//
// x, y: f32 [N, C, S] with S = H·W or any other product of trailing axes; gamma, beta: f32 [C]. A row is one group of one n.
// Grid: a row per workgroup (LANES_64) or per invocation. Mean first, then the mean of squared differences, both in f32 and in a fixed order.
#import lanes
#import activation

struct Params {
  // N·groups.
  rows: u32,
  // Groups.
  groups: u32,
  // Elements of a row: C / groups · S.
  length: u32,
  // S.
  spatial: u32,
  // Turns of a lane: length / LANES, rounded up.
  turns: u32,
  // C / groups.
  group_channels: u32,
  // ACT_….
  act: u32,
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
  let channel = (row % p.groups) * p.group_channels;
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
      let c = channel + i / p.spatial;
      y[first + i] = activate(p.act, fma((x[first + i] - mean) * scale, gamma[c], beta[c]));
    }
  }
}
