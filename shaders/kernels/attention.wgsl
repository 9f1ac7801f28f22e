// Attention in one pass over the keys, for scores too many to be stored: an invocation computes FEATURES features of one query.
//
// y[b, i, e] = Σ_j softmax_j(scale · Σ_d q[b, i, d] · k[b, j, d]) · v[b, j, e]; a causal query i sees keys 0..=i.
//
// q: f32 [B, Lq, D], k: f32 [B, Lk, D], v: f32 [B, Lk, E], y: f32 [B, Lq, E], B counting batch and heads.
// Grid: one invocation per query and tile of features; queries count first, so that neighbours read the same keys.
// The maximum runs along: what is summed is rescaled when a larger score comes. Sums run over d, then j.
// In bounds: features in the tail read the last one and are not stored.
#import grid

// Features of a tile.
const FEATURES = 32u;

struct Params {
  // Queries times tiles of features, in all b.
  count: u32,
  // Lq.
  queries: u32,
  // Lk.
  keys: u32,
  // D.
  depth: u32,
  // E; at least 1.
  features: u32,
  // Tiles of the features: E / FEATURES, rounded up.
  feature_tiles: u32,
  // 1: later keys are hidden.
  causal: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Four features from `e` on of the row that starts at `row`.
fn values(row: u32, e: u32) -> vec4<f32> {
  let last = p.features - 1u;
  return vec4<f32>(v[row + min(e, last)], v[row + min(e + 1u, last)], v[row + min(e + 2u, last)], v[row + min(e + 3u, last)]);
}

// Stores four features from `e` on.
fn store(row: u32, e: u32, sums: vec4<f32>) {
  if (e < p.features) {
    y[row + e] = sums.x;
  }
  if (e + 1u < p.features) {
    y[row + e + 1u] = sums.y;
  }
  if (e + 2u < p.features) {
    y[row + e + 2u] = sums.z;
  }
  if (e + 3u < p.features) {
    y[row + e + 3u] = sums.w;
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let i = tile % p.queries;
  let e = ((tile / p.queries) % p.feature_tiles) * FEATURES;
  let b = tile / (p.queries * p.feature_tiles);
  let query = (b * p.queries + i) * p.depth;
  let seen = select(p.keys, min(p.keys, i + 1u), p.causal != 0u);
  var largest = -1.0e30;
  var total = 0.0;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  var sum4 = vec4<f32>();
  var sum5 = vec4<f32>();
  var sum6 = vec4<f32>();
  var sum7 = vec4<f32>();
  for (var j = 0u; j < seen; j++) {
    let key = (b * p.keys + j) * p.depth;
    var score = 0.0;
    for (var d = 0u; d < p.depth; d++) {
      score = fma(q[query + d], k[key + d], score);
    }
    score *= p.scale;
    let raised = max(largest, score);
    let keep = exp(max(largest - raised, -87.0)) * select(1.0, 0.0, j == 0u);
    let share = exp(max(score - raised, -87.0));
    largest = raised;
    total = fma(total, keep, share);
    let row = (b * p.keys + j) * p.features;
    sum0 = fma(sum0, vec4<f32>(keep), share * values(row, e));
    sum1 = fma(sum1, vec4<f32>(keep), share * values(row, e + 4u));
    sum2 = fma(sum2, vec4<f32>(keep), share * values(row, e + 8u));
    sum3 = fma(sum3, vec4<f32>(keep), share * values(row, e + 12u));
    sum4 = fma(sum4, vec4<f32>(keep), share * values(row, e + 16u));
    sum5 = fma(sum5, vec4<f32>(keep), share * values(row, e + 20u));
    sum6 = fma(sum6, vec4<f32>(keep), share * values(row, e + 24u));
    sum7 = fma(sum7, vec4<f32>(keep), share * values(row, e + 28u));
  }
  let scale = 1.0 / max(total, 1.0e-30);
  let row = (b * p.queries + i) * p.features;
  store(row, e, sum0 * scale);
  store(row, e + 4u, sum1 * scale);
  store(row, e + 8u, sum2 * scale);
  store(row, e + 12u, sum3 * scale);
  store(row, e + 16u, sum4 * scale);
  store(row, e + 20u, sum5 * scale);
  store(row, e + 24u, sum6 * scale);
  store(row, e + 28u, sum7 * scale);
}
