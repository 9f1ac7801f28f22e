// Attention in one pass over the keys, in register tiles: an invocation computes FEATURES units of features of QUERIES queries of one head.
//
// y[n, h, i, e] = Σ_j softmax_j(scale · Σ_d q[n, h, i, d] · k[n, h, j, d]) · v[n, h, j, e]; a causal query i sees keys 0..=i.
//
// q, k, v, y: units of D or E, with starts and strides between n, heads and tokens in units, so that heads may lie side by side.
// Grid: one invocation per tile; tiles of queries count first, so that neighbours read the same keys.
// Four keys at a time, their scores in registers; the maximum runs along: what is summed is rescaled when a larger score comes.
// In bounds: queries, keys and features in the tail read the last one; keys count as hidden, the others are not stored.
#import grid
#import unit

const QUERIES = 4u;
// Units of features of a tile.
const FEATURES = 8u;
// Lower than every score, and its exponential is zero; finite, because implementations may assume that no infinity exists.
const HIDDEN = -1.0e30;

struct Params {
  count: u32,
  // Tiles of the queries, and of the features.
  query_tiles: u32,
  feature_tiles: u32,
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

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let query = (tile % p.query_tiles) * QUERIES;
  let feature = ((tile / p.query_tiles) % p.feature_tiles) * FEATURES;
  let batch = tile / (p.query_tiles * p.feature_tiles);
  let n = batch / p.heads;
  let head = batch % p.heads;
  let all_q = p.q_start + n * p.q_n + head * p.q_head;
  let all_k = p.k_start + n * p.k_n + head * p.k_head;
  let all_v = p.v_start + n * p.v_n + head * p.v_head;
  let all_y = p.y_start + n * p.y_n + head * p.y_head;
#for i 4
  let q{i} = all_q + min(query + {i}u, p.queries - 1u) * p.q_token;
  var largest{i} = HIDDEN;
  var total{i} = 0.0;
#for f 8
  var sum{i}_{f} = vec4<f32>();
#end
#end
#for f 8
  let e{f} = min(feature + {f}u, p.features - 1u);
#end
  // The last query sees the most.
  let end = select(p.keys, min(p.keys, query + QUERIES), p.causal != 0u);
  for (var j = 0u; j < end; j += 4u) {
#for j 4
    let key{j} = min(j + {j}u, p.keys - 1u);
    let k{j} = all_k + key{j} * p.k_token;
#end
#for i 4
    var score{i} = vec4<f32>();
#end
    for (var d = 0u; d < p.depth; d++) {
#for j 4
      let b{j} = up(k[k{j} + d]);
#end
#for i 4
      let a{i} = up(q[q{i} + d]);
      score{i} += vec4<f32>(dot(a{i}, b0), dot(a{i}, b1), dot(a{i}, b2), dot(a{i}, b3));
#end
    }
#for i 4
    let masked{i} = seen(score{i}, j, query + {i}u);
    let raised{i} = max(max(largest{i}, max(masked{i}.x, masked{i}.y)), max(masked{i}.z, masked{i}.w));
    let keep{i} = exp(max(largest{i} - raised{i}, -87.0)) * select(1.0, 0.0, j == 0u);
    let share{i} = select(exp(max(masked{i} - raised{i}, vec4<f32>(-87.0))), vec4<f32>(), masked{i} <= vec4<f32>(HIDDEN));
    largest{i} = raised{i};
    total{i} = fma(total{i}, keep{i}, dot(share{i}, vec4<f32>(1.0)));
#end
#for j 4
    let v{j} = all_v + key{j} * p.v_token;
#end
#for f 8
    {
#for j 4
      let b{j} = up(v[v{j} + e{f}]);
#end
#for i 4
      sum{i}_{f} = fma(vec4<f32>(share{i}.w), b3, fma(vec4<f32>(share{i}.z), b2, fma(vec4<f32>(share{i}.y), b1, fma(vec4<f32>(share{i}.x), b0, sum{i}_{f} * keep{i}))));
#end
    }
#end
  }
#for i 4
  if (query + {i}u < p.queries) {
    let scale = 1.0 / max(total{i}, 1.0e-30);
    let to = all_y + (query + {i}u) * p.y_token + feature;
#for f 8
    if (feature + {f}u < p.features) {
      y[to + {f}u] = down(sum{i}_{f} * scale);
    }
#end
  }
#end
}
