// Attention in one pass over the keys, in register tiles: an invocation computes FEATURES units of features of QUERIES queries of one head.
//
// The formula and the tensors are those of shared/attention.wgsl. Workgroup memory is not used: software adapters, where a barrier costs
// more than a load, and few queries.
// Grid: one invocation per tile; tiles of queries count first, so that neighbours read the same keys.
// Four keys at a time, their scores in registers; the maximum runs along: what is summed is rescaled when a larger score comes.
// In bounds: queries, keys and features in the tail read the last one; keys count as hidden, the others are not stored.
#import grid
#import attention

const QUERIES = 4u;
// Units of features of a tile.
const FEATURES = 8u;

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
