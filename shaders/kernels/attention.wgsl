// Attention in one pass over the keys, in register tiles: each invocation computes FEATURES blocks of features for QUERIES queries of a head.
//
// Formula and tensors: shared/attention.wgsl. Used on software adapters, where a barrier costs more than a load, and for few queries or narrow
// heads; hence no workgroup memory.
// Grid: one invocation per tile, query tiles fastest, so that neighbours read the same keys.
// Keys are processed four at a time with an online softmax: when a larger score arrives, the running sums are rescaled.
// In bounds: queries, keys and features past the end read the last one; such keys are masked, the others are not stored.
#import grid
#import attention

const QUERIES = {QUERIES}u;
// Blocks of features of a tile.
const FEATURES = {FEATURES}u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = flat_index(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let query = (tile % p.query_tiles) * QUERIES;
  let feature = ((tile / p.query_tiles) % p.feature_tiles) * FEATURES;
  let batch = tile / (p.query_tiles * p.feature_tiles);
  let n = batch / p.heads;
  let head = batch % p.heads;
  let q_base = p.q_start + n * p.q_n + head * p.q_head;
  let k_base = p.k_start + n * p.k_n + head * p.k_head;
  let v_base = p.v_start + n * p.v_n + head * p.v_head;
  let y_base = p.y_start + n * p.y_n + head * p.y_head;
#for i {QUERIES}
  let q{i} = q_base + min(query + {i}u, p.queries - 1u) * p.q_token;
  var max{i} = MASKED;
  var denominator{i} = 0.0;
#for f {FEATURES}
  var sum{i}_{f} = vec4<f32>();
#end
#end
#for f {FEATURES}
  let feature{f} = min(feature + {f}u, p.feature_blocks - 1u);
#end
  // The last query attends to the most keys.
  let end = select(p.keys, min(p.keys, query + QUERIES), p.causal != 0u);
  for (var j = 0u; j < end; j += 4u) {
#for j 4
    let key{j} = min(j + {j}u, p.keys - 1u);
    let k{j} = k_base + key{j} * p.k_token;
#end
#for i {QUERIES}
    var score{i} = vec4<f32>();
#end
    for (var d = 0u; d < p.depth_blocks; d++) {
#for j 4
      let b{j} = unpack_block(k[k{j} + d]);
#end
#for i {QUERIES}
      let a{i} = unpack_block(q[q{i} + d]);
      score{i} += vec4<f32>(dot(a{i}, b0), dot(a{i}, b1), dot(a{i}, b2), dot(a{i}, b3));
#end
    }
#for i {QUERIES}
    let masked{i} = mask_scores(score{i}, j, query + {i}u);
    let new_max{i} = max(max(max{i}, max(masked{i}.x, masked{i}.y)), max(masked{i}.z, masked{i}.w));
    let rescale{i} = exp(max(max{i} - new_max{i}, -87.0)) * select(1.0, 0.0, j == 0u);
    let weight{i} = select(exp(max(masked{i} - new_max{i}, vec4<f32>(-87.0))), vec4<f32>(), masked{i} <= vec4<f32>(MASKED));
    max{i} = new_max{i};
    denominator{i} = fma(denominator{i}, rescale{i}, dot(weight{i}, vec4<f32>(1.0)));
#end
#for j 4
    let v{j} = v_base + key{j} * p.v_token;
#end
#for f {FEATURES}
    {
#for j 4
      let b{j} = unpack_block(v[v{j} + feature{f}]);
#end
#for i {QUERIES}
      sum{i}_{f} = fma(vec4<f32>(weight{i}.w), b3, fma(vec4<f32>(weight{i}.z), b2, fma(vec4<f32>(weight{i}.y), b1, fma(vec4<f32>(weight{i}.x), b0, sum{i}_{f} * rescale{i}))));
#end
    }
#end
  }
#for i {QUERIES}
  if (query + {i}u < p.queries) {
    let norm = 1.0 / max(denominator{i}, 1.0e-30);
    let output = y_base + (query + {i}u) * p.y_token + feature;
#for f {FEATURES}
    if (feature + {f}u < p.feature_blocks) {
      y[output + {f}u] = pack_block(sum{i}_{f} * norm);
    }
#end
  }
#end
}
