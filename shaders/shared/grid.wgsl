// A grid of one invocation per element, folded into two dimensions if one dimension would exceed the adapter's limit.

// Invocations of a workgroup.
const WORKGROUP = 64u;

// The index of this invocation in the whole grid. Invocations beyond the last element get larger indices, and the caller returns early.
fn flat_index(invocation: vec3<u32>, groups: vec3<u32>) -> u32 {
  return invocation.y * (groups.x * WORKGROUP) + invocation.x;
}
