// The first step of a group norm: mean and squared differences of every channel over a chunk of pixels.
//
// stats[n, chunk, 0, unit] = mean of x[n, pixels of the chunk, unit]; stats[n, chunk, 1, unit] = Σ (x - that mean)².
// x: units of channels, strides between n, rows and pixels in units; stats: f32 units. Grid: one invocation per unit of a chunk, units first.
// Sums run over the pixels in their order, of differences from the chunk's first pixel: they lose less than sums of elements far from zero.
#import grid
#import unit

struct Params {
  // N · chunks · units.
  count: u32,
  // Units of the channels.
  units: u32,
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
  // Units before the first n and chunk that are computed here.
  stats_start: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let unit = i % p.units;
  let chunk = (i / p.units) % p.chunks;
  let n = i / (p.units * p.chunks);
  let first = chunk * p.chunk;
  let length = min(p.pixels - first, p.chunk);
  let plane = p.x_start + n * p.x_n + unit;
  let shift = up(x[plane + (first / p.width) * p.x_y + (first % p.width) * p.x_x]);
  var sum = vec4<f32>();
  var squares = vec4<f32>();
  for (var turn = 0u; turn < length; turn++) {
    let pixel = first + turn;
    let difference = up(x[plane + (pixel / p.width) * p.x_y + (pixel % p.width) * p.x_x]) - shift;
    sum += difference;
    squares = fma(difference, difference, squares);
  }
  let mean = sum / f32(length);
  let at = p.stats_start + (n * p.chunks + chunk) * 2u * p.units + unit;
  stats[at] = shift + mean;
  stats[at + p.units] = max(squares - sum * mean, vec4<f32>());
}
