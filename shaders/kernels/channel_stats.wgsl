// Group norm, step 1 of 3: mean and squared deviations of every channel over a chunk of pixels.
//
// stats[n, chunk, 0, block] = mean of x[n, pixels of the chunk, block]; stats[n, chunk, 1, block] = Σ (x - mean)².
// x: blocks of channels, strides between n, rows and pixels in blocks; stats: f32 blocks.
// Grid: one invocation per block of a chunk, blocks fastest.
// Sums run over the pixels in order, of differences from the chunk's first pixel: they lose less precision than sums of values far from zero.
#import grid
#import block
#import group_norm

struct Params {
  // N · chunks · blocks.
  count: u32,
  // Blocks of the channels.
  blocks: u32,
  chunks: u32,
  // Pixels of a chunk; the last may have fewer.
  chunk: u32,
  // H · W, and W.
  pixels: u32,
  width: u32,
  x_start: u32,
  x_n: u32,
  x_y: u32,
  x_x: u32,
  // Where stats begin for the first n and chunk of this dispatch, in blocks.
  stats_start: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let block = i % p.blocks;
  let chunk = (i / p.blocks) % p.chunks;
  let n = i / (p.blocks * p.chunks);
  let first_pixel = chunk * p.chunk;
  let length = min(p.pixels - first_pixel, p.chunk);
  let base = p.x_start + n * p.x_n + block;
  let first_value = unpack_block(x[base + (first_pixel / p.width) * p.x_y + (first_pixel % p.width) * p.x_x]);
  var sum = vec4<f32>();
  var squares = vec4<f32>();
  for (var iteration = 0u; iteration < length; iteration++) {
    let pixel = first_pixel + iteration;
    let difference = unpack_block(x[base + (pixel / p.width) * p.x_y + (pixel % p.width) * p.x_x]) - first_value;
    sum += difference;
    squares = fma(difference, difference, squares);
  }
  let mean = sum / f32(length);
  let index = p.stats_start + (n * p.chunks + chunk) * STAT_VECTORS * p.blocks + block;
  stats[index] = first_value + mean;
  stats[index + p.blocks] = max(squares - sum * mean, vec4<f32>());
}
