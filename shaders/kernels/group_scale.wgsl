// Group norm, step 2 of 3: combines the statistics of chunks and channels into a mean, a factor and an offset for each channel.
//
// For each group, mean and variance over all of its channels and chunks; factor[c] = gamma[c] / √(variance + epsilon). The mean is stored apart
// from the offset: folded into it, a large mean would cancel.
// stats: f32 [N, chunks, 2, stats_width], as channel_stats or shared/store_tile.wgsl writes it, the channels from `stats_start` on;
// gamma, beta: f32 [padded channels]; scale: f32 [N, 3, padded channels]: means, factors, betas. Padded channels are set to zero.
// Grid: one invocation per n and group.
// Chunks are combined by their counts, means and squared deviations, in order, which avoids differences of large squares.
#import grid
#import group_norm

struct Params {
  // N · groups.
  count: u32,
  groups: u32,
  // Channels of a group.
  group_channels: u32,
  // Channels without and with padding.
  channels: u32,
  padded: u32,
  chunks: u32,
  // Pixels of a chunk, pixels of all chunks.
  chunk: u32,
  pixels: u32,
  stats_start: u32,
  stats_width: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> stats: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let n = i / p.groups;
  let first = (i % p.groups) * p.group_channels;
  var sum = 0.0;
  for (var chunk = 0u; chunk < p.chunks; chunk++) {
    let length = f32(min(p.pixels - chunk * p.chunk, p.chunk));
    let index = p.stats_start + (n * p.chunks + chunk) * STAT_VECTORS * p.stats_width + first;
    for (var c = 0u; c < p.group_channels; c++) {
      sum = fma(stats[index + c], length, sum);
    }
  }
  let count = f32(p.pixels) * f32(p.group_channels);
  let mean = sum / count;
  var squares = 0.0;
  for (var chunk = 0u; chunk < p.chunks; chunk++) {
    let length = f32(min(p.pixels - chunk * p.chunk, p.chunk));
    let index = p.stats_start + (n * p.chunks + chunk) * STAT_VECTORS * p.stats_width + first;
    for (var c = 0u; c < p.group_channels; c++) {
      let difference = stats[index + c] - mean;
      squares += fma(difference * difference, length, stats[index + p.stats_width + c]);
    }
  }
  let factor = 1.0 / sqrt(squares / count + p.epsilon);
  let output = n * SCALE_VECTORS * p.padded;
  for (var c = first; c < first + p.group_channels; c++) {
    scale[output + c] = mean;
    scale[output + p.padded + c] = gamma[c] * factor;
    scale[output + 2u * p.padded + c] = beta[c];
  }
  if (i % p.groups == 0u) {
    for (var c = p.channels; c < p.padded; c++) {
      scale[output + c] = 0.0;
      scale[output + p.padded + c] = 0.0;
      scale[output + 2u * p.padded + c] = 0.0;
    }
  }
}
