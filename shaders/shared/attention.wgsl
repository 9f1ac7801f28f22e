// The uniform, buffers and mask of the attention kernels. The importing kernel declares QUERIES, the number of queries of a tile.
//
// y[n, h, i, e] = Σ_j softmax_j(scale · Σ_d q[n, h, i, d] · k[n, h, j, d]) · v[n, h, j, e]; if causal, query i attends to keys 0..=i only.
//
// q [N, H, Lq, D], k [N, H, Lk, D], v [N, H, Lk, E], y [N, H, Lq, E]: blocks along D or E. Each has its own start and strides between n, heads
// and tokens, in blocks, so heads may be interleaved in one tensor.
#import block

// The score of a masked key: lower than every real score, with an exponential of zero. Finite, because WGSL implementations may assume
// that infinities do not occur.
const MASKED = -1.0e30;

struct Params {
  // Tiles in all.
  count: u32,
#ifndef LANES
  // Tiles along E.
  feature_tiles: u32,
#endif
  // Tiles along Lq.
  query_tiles: u32,
  heads: u32,
  // Lq, Lk.
  queries: u32,
  keys: u32,
  // Blocks of D, blocks of E.
  depth_blocks: u32,
  feature_blocks: u32,
  // 1: causal.
  causal: u32,
  scale: f32,
  q_start: u32,
  q_n: u32,
  q_head: u32,
  q_token: u32,
  k_start: u32,
  k_n: u32,
  k_head: u32,
  k_token: u32,
  v_start: u32,
  v_n: u32,
  v_head: u32,
  v_token: u32,
  y_start: u32,
  y_n: u32,
  y_head: u32,
  y_token: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<Block>;
@group(0) @binding(2) var<storage, read> k: array<Block>;
@group(0) @binding(3) var<storage, read> v: array<Block>;
@group(0) @binding(4) var<storage, read_write> y: array<Block>;

// Scales the scores of one query for the keys j..j+3 and masks those that it does not attend to.
fn mask_scores(scores: vec4<f32>, j: u32, query: u32) -> vec4<f32> {
  let end = select(p.keys, min(p.keys, query + 1u), p.causal != 0u);
  let keys = vec4<u32>(j, j + 1u, j + 2u, j + 3u);
  return select(vec4<f32>(MASKED), scores * p.scale, keys < vec4<u32>(end));
}
