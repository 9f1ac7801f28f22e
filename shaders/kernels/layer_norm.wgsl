// Rows brought to zero mean and unit variance: y[…, d] = (x[…, d] - mean) / √(variance + epsilon) · gamma[d] + beta[d].
//
// x, y: units of D, strides between rows in units; gamma, beta: f32, padded to units. AFFINE: 0 leaves gamma and beta out.
// Grid: a row per workgroup (LANES_64) or per invocation. Mean first, then the mean of squared differences, both in f32, in a fixed order.
#import lanes
#import unit
#import shape

struct Params {
  rows: u32,
  // Axes of rows.
  rank: u32,
  // Units of D, and D.
  units: u32,
  length: u32,
  // Turns of a lane: units / LANES, rounded up.
  turns: u32,
  x_start: u32,
  y_start: u32,
  affine: u32,
  epsilon: f32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(2) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> beta: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_of(local);
  let source = p.x_start + place(row, p.rank, p.shape, p.x_strides);
  let to = p.y_start + place(row, p.rank, p.shape, p.y_strides);
  // Sums of differences from one element lose less than sums of elements far from zero.
  let shift = up(x[source]).x;
  var sums = vec4<f32>();
  for (var turn = 0u; turn < p.turns; turn++) {
    let unit = turn * LANES + lane;
    if (unit < p.units) {
      sums += (up(x[source + unit]) - shift) * lanes_inside(unit, p.length);
    }
  }
  let mean = shift + lanes_sum(lane, dot(sums, vec4<f32>(1.0))) / f32(p.length);
  var squares = vec4<f32>();
  for (var turn = 0u; turn < p.turns; turn++) {
    let unit = turn * LANES + lane;
    if (unit < p.units) {
      let difference = (up(x[source + unit]) - mean) * lanes_inside(unit, p.length);
      squares = fma(difference, difference, squares);
    }
  }
  let scale = 1.0 / sqrt(lanes_sum(lane, dot(squares, vec4<f32>(1.0))) / f32(p.length) + p.epsilon);
  for (var turn = 0u; turn < p.turns; turn++) {
    let unit = turn * LANES + lane;
    if (unit < p.units) {
      var value = (up(x[source + unit]) - mean) * scale * lanes_inside(unit, p.length);
      if (p.affine != 0u) {
        value = fma(value, gamma[unit], beta[unit]);
      }
      y[to + unit] = down(value);
    }
  }
}
