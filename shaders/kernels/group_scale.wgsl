// The second step of a group norm: from the statistics of chunks of channels to what is done to each channel.
//
// For a group of channels: mean and variance over all its channels and chunks; factor[c] = gamma[c] / √(variance + epsilon). The mean stays
// apart: as a part of what is added it would cancel where it is large. stats: f32 [N, chunks, 2, stats_width], as channel_stats or
// shared/tile.wgsl leaves it, the channels from `stats_start` on; gamma, beta: f32 [padded channels]; scale: f32 [N, 3, padded channels],
// means, factors, betas. Grid: one invocation per n and group. Padded channels become zero.
// Chunks are joined by their counts, means and squared differences, in their order: no difference of large squares.
#import grid

struct Params {
  // N · groups.
  count: u32,
  groups: u32,
  // Channels of a group.
  group_channels: u32,
  // Channels, and channels with the padding.
  channels: u32,
  padded: u32,
  chunks: u32,
  // Pixels of a chunk, and of all chunks.
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
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let n = i / p.groups;
  let first = (i % p.groups) * p.group_channels;
  var sum = 0.0;
  for (var chunk = 0u; chunk < p.chunks; chunk++) {
    let length = f32(min(p.pixels - chunk * p.chunk, p.chunk));
    let at = p.stats_start + (n * p.chunks + chunk) * 2u * p.stats_width + first;
    for (var c = 0u; c < p.group_channels; c++) {
      sum = fma(stats[at + c], length, sum);
    }
  }
  let count = f32(p.pixels) * f32(p.group_channels);
  let mean = sum / count;
  var squares = 0.0;
  for (var chunk = 0u; chunk < p.chunks; chunk++) {
    let length = f32(min(p.pixels - chunk * p.chunk, p.chunk));
    let at = p.stats_start + (n * p.chunks + chunk) * 2u * p.stats_width + first;
    for (var c = 0u; c < p.group_channels; c++) {
      let difference = stats[at + c] - mean;
      squares += fma(difference * difference, length, stats[at + p.stats_width + c]);
    }
  }
  let factor = 1.0 / sqrt(squares / count + p.epsilon);
  let to = n * 3u * p.padded;
  for (var c = first; c < first + p.group_channels; c++) {
    scale[to + c] = mean;
    scale[to + p.padded + c] = gamma[c] * factor;
    scale[to + 2u * p.padded + c] = beta[c];
  }
  if (i % p.groups == 0u) {
    for (var c = p.channels; c < p.padded; c++) {
      scale[to + c] = 0.0;
      scale[to + p.padded + c] = 0.0;
      scale[to + 2u * p.padded + c] = 0.0;
    }
  }
}
