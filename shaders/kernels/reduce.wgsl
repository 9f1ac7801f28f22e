// Sum, mean or maximum along the innermost axis, which stays with length 1: y[…, 0] = f(x[…, j] for all j).
//
// x: units, y: one unit per row whose first lane is the result and whose others become zero; strides between rows in units.
// Grid: a row per workgroup (LANES_64) or per invocation.
#import lanes
#import unit
#import shape

const SUM = 0u;
const MEAN = 1u;
const MAX = 2u;

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
  // One of the functions above.
  kind: u32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(2) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = row_of(group, local, groups);
  if (row >= p.rows) {
    return;
  }
  let lane = lane_of(local);
  let source = p.x_start + place(row, p.rank, p.shape, p.x_strides);
  let to = p.y_start + place(row, p.rank, p.shape, p.y_strides);
  var sums = vec4<f32>();
  var highest = vec4<f32>(LOWEST);
  for (var turn = 0u; turn < p.turns; turn++) {
    let unit = turn * LANES + lane;
    if (unit < p.units) {
      let v = up(x[source + unit]);
      let inside = lanes_inside(unit, p.length) > vec4<f32>(0.5);
      sums += select(vec4<f32>(), v, inside);
      highest = max(highest, select(vec4<f32>(LOWEST), v, inside));
    }
  }
  let sum = lanes_sum(lane, dot(sums, vec4<f32>(1.0)));
  let largest = lanes_max(lane, max(max(highest.x, highest.y), max(highest.z, highest.w)));
  var result = sum;
  if (p.kind == MEAN) {
    result = sum / f32(p.length);
  }
  if (p.kind == MAX) {
    result = largest;
  }
  if (lane == 0u) {
    y[to] = down(vec4<f32>(result, 0.0, 0.0, 0.0));
  }
}
