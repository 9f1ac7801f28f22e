// Rows that are reduced by LANES invocations each, in a fixed order.
// With LANES_64 a workgroup owns a row and meets at barriers; without, an invocation owns a row, which software adapters prefer.

#ifdef LANES_64
// Invocations that share a row.
const LANES = 64u;
// Rows of a workgroup.
const ROWS = 1u;
const WORKGROUP = 64u;

var<workgroup> lane_values: array<f32, 64>;

// The row of this invocation; uniform in the workgroup.
fn row_of(group: vec3<u32>, local: u32, groups: vec3<u32>) -> u32 {
  return group.y * groups.x + group.x;
}

// The place of this invocation in its row.
fn lane_of(local: u32) -> u32 {
  return local % LANES;
}

// The sum over the lanes of a row, in every lane. Workgroup-uniform control flow only.
fn lanes_sum(lane: u32, value: f32) -> f32 {
  lane_values[lane] = value;
  workgroupBarrier();
  for (var step = 0u; step < 6u; step++) {
    let reach = 32u >> step;
    if (lane < reach) {
      lane_values[lane] += lane_values[lane + reach];
    }
    workgroupBarrier();
  }
  let total = lane_values[0];
  workgroupBarrier();
  return total;
}

// The largest value over the lanes of a row, in every lane. Workgroup-uniform control flow only.
fn lanes_max(lane: u32, value: f32) -> f32 {
  lane_values[lane] = value;
  workgroupBarrier();
  for (var step = 0u; step < 6u; step++) {
    let reach = 32u >> step;
    if (lane < reach) {
      lane_values[lane] = max(lane_values[lane], lane_values[lane + reach]);
    }
    workgroupBarrier();
  }
  let largest = lane_values[0];
  workgroupBarrier();
  return largest;
}
#else
const LANES = 1u;
const ROWS = 16u;
const WORKGROUP = 16u;

fn row_of(group: vec3<u32>, local: u32, groups: vec3<u32>) -> u32 {
  return (group.y * groups.x + group.x) * ROWS + local;
}

fn lane_of(local: u32) -> u32 {
  return 0u;
}

fn lanes_sum(lane: u32, value: f32) -> f32 {
  return value;
}

fn lanes_max(lane: u32, value: f32) -> f32 {
  return value;
}
#endif

// Where a running maximum starts: finite, because implementations may assume that no infinity exists.
const LOWEST = -3.0e38;
