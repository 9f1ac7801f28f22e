// Exponentials that sum to one along an axis: y[o, l, s] = exp(x[o, l, s] - max) / Σ_l exp(x[o, l, s] - max).
//
// x, y: f32 [O, L, S], L the axis. A row is one (o, s).
// Grid: a row per workgroup (LANES_64) or per invocation. The largest value comes off first, so that no exponential overflows.
#import lanes

struct Params {
  // O·S.
  rows: u32,
  // L; at least 1.
  length: u32,
  // S: elements between neighbours along the axis.
  stride: u32,
  // Turns of a lane: length / LANES, rounded up.
  turns: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Exponentials below the smallest normal number are zero.
fn share(x: f32, largest: f32) -> f32 {
  let below = x - largest;
  return select(exp(max(below, -87.0)), 0.0, below < -87.0);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_of(local);
  let first = (row / p.stride) * p.length * p.stride + row % p.stride;
  var highest = LOWEST;
  for (var turn = 0u; turn < p.turns; turn++) {
    let i = turn * LANES + lane;
    if (i < p.length) {
      highest = max(highest, x[first + i * p.stride]);
    }
  }
  let largest = lanes_max(lane, highest);
  var sum = 0.0;
  for (var turn = 0u; turn < p.turns; turn++) {
    let i = turn * LANES + lane;
    if (i < p.length) {
      sum += share(x[first + i * p.stride], largest);
    }
  }
  let scale = 1.0 / max(lanes_sum(lane, sum), 1.0e-30);
  for (var turn = 0u; turn < p.turns; turn++) {
    let i = turn * LANES + lane;
    if (i < p.length) {
      y[first + i * p.stride] = share(x[first + i * p.stride], largest) * scale;
    }
  }
}
