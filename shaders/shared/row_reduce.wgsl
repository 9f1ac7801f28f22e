// Reduces rows in a fixed order, LANES invocations per row.
// By default a workgroup owns a row and synchronises at barriers. SERIAL: an invocation owns a row, which is faster on software adapters.

#ifndef SERIAL
// Invocations per row.
const LANES = 64u;
// Rows per workgroup.
const ROWS = 1u;
const WORKGROUP = 64u;

var<workgroup> lane_values: array<f32, 64>;

// The row of this invocation; uniform in the workgroup.
fn row_index(group: vec3<u32>, local: u32, groups: vec3<u32>) -> u32 {
  return group.y * groups.x + group.x;
}

// The index of this invocation among those of its row.
fn lane_index(local: u32) -> u32 {
  return local % LANES;
}

// The sum over the lanes of a row, returned in every lane. Call it in workgroup-uniform control flow.
fn row_sum(lane: u32, value: f32) -> f32 {
  lane_values[lane] = value;
  workgroupBarrier();
  for (var step = 0u; step < 6u; step++) {
    let distance = 32u >> step;
    if (lane < distance) {
      lane_values[lane] += lane_values[lane + distance];
    }
    workgroupBarrier();
  }
  let total = lane_values[0];
  workgroupBarrier();
  return total;
}

// The maximum over the lanes of a row, returned in every lane. Call it in workgroup-uniform control flow.
fn row_max(lane: u32, value: f32) -> f32 {
  lane_values[lane] = value;
  workgroupBarrier();
  for (var step = 0u; step < 6u; step++) {
    let distance = 32u >> step;
    if (lane < distance) {
      lane_values[lane] = max(lane_values[lane], lane_values[lane + distance]);
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

fn row_index(group: vec3<u32>, local: u32, groups: vec3<u32>) -> u32 {
  return (group.y * groups.x + group.x) * ROWS + local;
}

fn lane_index(local: u32) -> u32 {
  return 0u;
}

fn row_sum(lane: u32, value: f32) -> f32 {
  return value;
}

fn row_max(lane: u32, value: f32) -> f32 {
  return value;
}
#endif

// The initial value of a running maximum. Finite, because WGSL implementations may assume that infinities do not occur.
const LOWEST = -3.0e38;
