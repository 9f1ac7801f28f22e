// Group norm, step 3 of 3: y[n, pixel, c] = act((x[n, pixel, c] - mean[n, c]) · factor[n, c] + beta[n, c]).
//
// x, y: blocks of channels, strides between n, rows and pixels in blocks; scale: f32 blocks [N, 3, blocks]: means, factors, betas.
// Grid: one invocation per block of y.
#import grid
#import block
#import group_norm
#import activation

struct Params {
  // N · H · W · blocks.
  count: u32,
  blocks: u32,
  // H, W.
  height: u32,
  width: u32,
  x_start: u32,
  x_n: u32,
  x_y: u32,
  x_x: u32,
  y_start: u32,
  y_n: u32,
  y_y: u32,
  y_x: u32,
  // ACT_….
  act: u32,
  // Where scale begins for the first n of this dispatch, in blocks.
  scale_start: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Block>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let block = i % p.blocks;
  let pixel = i / p.blocks;
  let column = pixel % p.width;
  let row = (pixel / p.width) % p.height;
  let n = pixel / (p.width * p.height);
  let value = unpack_block(x[p.x_start + n * p.x_n + row * p.x_y + column * p.x_x + block]);
  let index = p.scale_start + n * SCALE_VECTORS * p.blocks + block;
  y[p.y_start + n * p.y_n + row * p.y_y + column * p.y_x + block] = pack_block(activate4(p.act, fma(value - scale[index], scale[index + p.blocks], scale[index + 2u * p.blocks])));
}
