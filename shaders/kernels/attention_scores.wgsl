// Scores of attention in register tiles: an invocation computes QUERIES queries against KEYS keys.
//
// y[b, i, j] = scale · Σ_d q[b, i, d] · k[b, j, d], and HIDDEN where a causal query i must not see key j > i.
//
// q: f32 [B, Lq, D], k: f32 [B, Lk, D], y: f32 [B, Lq, Lk], B counting batch and heads.
// Grid: one invocation per tile; tiles count keys first, then queries, then b. Sums run over d.
// In bounds: queries and keys in the tail read the last one and are not stored.
#import grid

// Queries of a tile.
const QUERIES = 4u;
// Keys of a tile.
const KEYS = 4u;
// The score of a hidden key: finite, and so low that its exponential is zero.
const HIDDEN = -1.0e30;

struct Params {
  // Tiles in all.
  count: u32,
  // Tiles of the keys: Lk / KEYS, rounded up.
  key_tiles: u32,
  // Tiles of the queries: Lq / QUERIES, rounded up.
  query_tiles: u32,
  // Lq; at least 1.
  queries: u32,
  // Lk; at least 1.
  keys: u32,
  // D.
  depth: u32,
  // 1: later keys are hidden.
  causal: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// The epilogue of one score.
fn store_one(at: u32, i: u32, j: u32, sum: f32) {
  if (j < p.keys) {
    y[at + j] = select(sum * p.scale, HIDDEN, p.causal != 0u && j > i);
  }
}

// The epilogue of one query's keys.
fn store_row(b: u32, i: u32, j: u32, sums: vec4<f32>) {
  if (i >= p.queries) {
    return;
  }
  let at = (b * p.queries + i) * p.keys;
  store_one(at, i, j, sums.x);
  store_one(at, i, j + 1u, sums.y);
  store_one(at, i, j + 2u, sums.z);
  store_one(at, i, j + 3u, sums.w);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let j = (tile % p.key_tiles) * KEYS;
  let i = ((tile / p.key_tiles) % p.query_tiles) * QUERIES;
  let b = tile / (p.key_tiles * p.query_tiles);
  let first_query = b * p.queries;
  let first_key = b * p.keys;
  let last_query = p.queries - 1u;
  let last_key = p.keys - 1u;
  let query0 = (first_query + i) * p.depth;
  let query1 = (first_query + min(i + 1u, last_query)) * p.depth;
  let query2 = (first_query + min(i + 2u, last_query)) * p.depth;
  let query3 = (first_query + min(i + 3u, last_query)) * p.depth;
  let key0 = (first_key + j) * p.depth;
  let key1 = (first_key + min(j + 1u, last_key)) * p.depth;
  let key2 = (first_key + min(j + 2u, last_key)) * p.depth;
  let key3 = (first_key + min(j + 3u, last_key)) * p.depth;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var d = 0u; d < p.depth; d++) {
    let v = vec4<f32>(k[key0 + d], k[key1 + d], k[key2 + d], k[key3 + d]);
    sum0 = fma(vec4<f32>(q[query0 + d]), v, sum0);
    sum1 = fma(vec4<f32>(q[query1 + d]), v, sum1);
    sum2 = fma(vec4<f32>(q[query2 + d]), v, sum2);
    sum3 = fma(vec4<f32>(q[query3 + d]), v, sum3);
  }
  store_row(b, i, j, sum0);
  store_row(b, i + 1u, j, sum1);
  store_row(b, i + 2u, j, sum2);
  store_row(b, i + 3u, j, sum3);
}
