// Softmax along the innermost axis: y[…, j] = exp(x[…, j] - max) / Σ exp(x[…, j] - max).
//
// x, y: units, strides between rows in units. Grid: a row per workgroup (LANES_64) or per invocation. The padding of y becomes zero.
#import lanes
#import unit
#import shape

struct Params {
  rows: u32,
  // Axes of rows.
  rank: u32,
  // Units and elements of a row.
  units: u32,
  length: u32,
  // Turns of a lane: units / LANES, rounded up.
  turns: u32,
  x_start: u32,
  y_start: u32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(2) var<storage, read_write> y: array<Unit>;

// A unit of x whose padding is lower than everything.
fn values(at: u32, unit: u32) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), up(x[at + unit]), lanes_inside(unit, p.length) > vec4<f32>(0.5));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_of(local);
  let source = p.x_start + place(row, p.rank, p.shape, p.x_strides);
  let to = p.y_start + place(row, p.rank, p.shape, p.y_strides);
  var highest = vec4<f32>(LOWEST);
  for (var turn = 0u; turn < p.turns; turn++) {
    let unit = turn * LANES + lane;
    if (unit < p.units) {
      highest = max(highest, values(source, unit));
    }
  }
  let largest = lanes_max(lane, max(max(highest.x, highest.y), max(highest.z, highest.w)));
  var sums = vec4<f32>();
  for (var turn = 0u; turn < p.turns; turn++) {
    let unit = turn * LANES + lane;
    if (unit < p.units) {
      sums += exp(max(values(source, unit) - largest, vec4<f32>(-87.0))) * lanes_inside(unit, p.length);
    }
  }
  let scale = 1.0 / lanes_sum(lane, dot(sums, vec4<f32>(1.0)));
  for (var turn = 0u; turn < p.turns; turn++) {
    let unit = turn * LANES + lane;
    if (unit < p.units) {
      y[to + unit] = down(exp(max(values(source, unit) - largest, vec4<f32>(-87.0))) * scale * lanes_inside(unit, p.length));
    }
  }
}
