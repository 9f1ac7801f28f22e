// Table look-up: y[t, d] = w[clamp(ids[t], 0, V - 1), d].
//
// w: f32 or f16 [V, D]; ids: i32 [T]; y: blocks [T, D]. Grid: one invocation per block of y. The padding of y is set to zero.
// In bounds: ids outside the table read its first or last row.
#import grid
#import block

struct Params {
  // Blocks of y.
  count: u32,
  // Blocks of D.
  blocks: u32,
  // D.
  width: u32,
  // V; at least 1.
  rows: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<Weight>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<Block>;

#import weight

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let row = u32(clamp(ids[i / p.blocks], 0, i32(p.rows) - 1)) * p.width;
  let d = (i % p.blocks) * 4u;
  let last = p.width - 1u;
  let values = vec4<f32>(
    load_weight(row + d),
    load_weight(row + min(d + 1u, last)),
    load_weight(row + min(d + 2u, last)),
    load_weight(row + min(d + 3u, last)),
  );
  y[i] = pack_block(values * valid_elements(i % p.blocks, p.width));
}
