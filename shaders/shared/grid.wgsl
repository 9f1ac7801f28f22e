// One invocation per item, the items counted through a grid that may be folded into two dimensions.

// Invocations of a workgroup.
const WORKGROUP = 64u;

// The item of this invocation; at or above the number of items in the tail, where the caller returns.
fn item(invocation: vec3<u32>, groups: vec3<u32>) -> u32 {
  return invocation.y * (groups.x * WORKGROUP) + invocation.x;
}
