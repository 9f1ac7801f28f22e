// Sets every element to one value: y[…, j] = value. The padding of y is set to zero.
//
// y: blocks, `length` elements along j. Grid: one invocation per block.
#import grid
#import block

struct Params {
  // Blocks in all.
  count: u32,
  // Blocks along j.
  blocks: u32,
  length: u32,
  value: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<Block>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  y[i] = pack_block(p.value * valid_elements(i % p.blocks, p.length));
}
