// What the forms of attention share: their uniform, their buffers, and which keys a query sees. The importing kernel declares QUERIES, the
// queries of a tile.
//
// y[n, h, i, e] = Σ_j softmax_j(scale · Σ_d q[n, h, i, d] · k[n, h, j, d]) · v[n, h, j, e]; a causal query i sees keys 0..=i.
//
// q, k, v, y: units of D or E, with starts and strides between n, heads and tokens in units, so that heads may lie side by side.
#import unit

// Lower than every score, and its exponential is zero; finite, because implementations may assume that no infinity exists.
const HIDDEN = -1.0e30;

struct Params {
  // What the grid counts.
  count: u32,
#ifndef LANES
  // Tiles of the features.
  feature_tiles: u32,
#endif
  query_tiles: u32,
  heads: u32,
  // Lq, Lk.
  queries: u32,
  keys: u32,
  // Units of D, of E.
  depth: u32,
  features: u32,
  // 1: later keys are hidden.
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
@group(0) @binding(1) var<storage, read> q: array<Unit>;
@group(0) @binding(2) var<storage, read> k: array<Unit>;
@group(0) @binding(3) var<storage, read> v: array<Unit>;
@group(0) @binding(4) var<storage, read_write> y: array<Unit>;

// The scores of one query for the keys j..j+3, hidden where it does not see them.
fn seen(scores: vec4<f32>, j: u32, query: u32) -> vec4<f32> {
  let end = select(p.keys, min(p.keys, query + 1u), p.causal != 0u);
  let keys = vec4<u32>(j, j + 1u, j + 2u, j + 3u);
  return select(vec4<f32>(HIDDEN), scores * p.scale, keys < vec4<u32>(end));
}
