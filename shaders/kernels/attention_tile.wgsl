// Attention in one pass over the keys, in tiles that a workgroup computes together: QUERIES queries of one head. Each invocation computes four
// queries, KEYS blocks of keys for the scores and FEATURES blocks of features for the result. Used on GPUs.
//
// Formula and tensors: shared/attention.wgsl; E is at most 4 · FEATURE_BLOCKS. Both products are computed as in gemm_tile: CHUNK blocks of depth,
// then CHUNK blocks of keys, are staged in workgroup memory at a time, transposed so that queries and keys are contiguous.
// Grid: one workgroup per tile, query tiles fastest. LANES invocations share the same four queries; GROUPS such groups make a workgroup.
// The softmax is online: when a larger score arrives, the running sums are rescaled. Each invocation sums the weights of the keys it computed;
// at the end the lanes are added up in a fixed order.
// CHUNK divides LANES, LANES <= 4 · CHUNK, KEYS <= FEATURES.
// In bounds: queries, keys and features past the end read the last one; such keys are masked, the others are not stored. Depth past D is staged
// as zero.
#import attention

const LANES = {LANES}u;
const GROUPS = {GROUPS}u;
const CHUNK = {CHUNK}u;
const WORKGROUP = LANES * GROUPS;
const QUERIES = 4u * GROUPS;
// Blocks of keys and of features of a tile.
const KEY_BLOCKS = {KEYS}u * LANES;
const FEATURE_BLOCKS = {FEATURES}u * LANES;
// Rows of a staged chunk.
const ROWS = 4u * CHUNK;

// [depth or keys][queries / 4]; for reductions over the lanes, [lanes][queries / 4].
var<workgroup> a_tile: array<vec4<f32>, ROWS * GROUPS>;
// [depth][keys / 4] or [keys][features / 4].
var<workgroup> b_tile: array<vec4<f32>, ROWS * FEATURE_BLOCKS>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let tile = group.y * groups.x + group.x;
  if (tile >= p.count) {
    return;
  }
  let query = (tile % p.query_tiles) * QUERIES;
  let batch = tile / p.query_tiles;
  let n = batch / p.heads;
  let head = batch % p.heads;
  let q_base = p.q_start + n * p.q_n + head * p.q_head;
  let k_base = p.k_start + n * p.k_n + head * p.k_head;
  let v_base = p.v_start + n * p.v_n + head * p.v_head;
  let y_base = p.y_start + n * p.y_n + head * p.y_head;
  let lane = local % LANES;
  let query_group = local / LANES;
  let first_query = query + query_group * 4u;
  // Maximum and sum of the exponentials of the four queries.
  var running_max = vec4<f32>(MASKED);
  var denominator = vec4<f32>();
#for i 4
#for f {FEATURES}
  var sum{i}_{f} = vec4<f32>();
#end
#end
  // The last query attends to the most keys.
  let end = select(p.keys, min(p.keys, query + QUERIES), p.causal != 0u);
  for (var first = 0u; first < end; first += KEY_BLOCKS * 4u) {
#for i 4
#for j {KEYS}
    var s{i}_{j} = vec4<f32>();
#end
#end
    for (var c = 0u; c < p.depth_blocks; c += CHUNK) {
      // Each invocation stages one block of depth of four queries or of four keys.
      for (var iteration = 0u; iteration < (CHUNK * (GROUPS + KEY_BLOCKS) + WORKGROUP - 1u) / WORKGROUP; iteration++) {
        let index = iteration * WORKGROUP + local;
        let row = index / CHUNK;
        let depth_row = (index % CHUNK) * 4u;
        let d = c + index % CHUNK;
        let clamped = min(d, p.depth_blocks - 1u);
        let valid = select(0.0, 1.0, d < p.depth_blocks);
        if (row < GROUPS) {
#for i 4
          let a{i} = unpack_block(q[q_base + min(query + row * 4u + {i}u, p.queries - 1u) * p.q_token + clamped]) * valid;
#end
#for l 4
          a_tile[(depth_row + {l}u) * GROUPS + row] = vec4<f32>(a0[{l}], a1[{l}], a2[{l}], a3[{l}]);
#end
        } else if (row < GROUPS + KEY_BLOCKS) {
          let block = row - GROUPS;
#for i 4
          let b{i} = unpack_block(k[k_base + min(first + block * 4u + {i}u, p.keys - 1u) * p.k_token + clamped]);
#end
#for l 4
          b_tile[(depth_row + {l}u) * KEY_BLOCKS + block] = vec4<f32>(b0[{l}], b1[{l}], b2[{l}], b3[{l}]);
#end
        }
      }
      workgroupBarrier();
      for (var d = 0u; d < ROWS; d++) {
        let a = a_tile[d * GROUPS + query_group];
#for j {KEYS}
        let b{j} = b_tile[d * KEY_BLOCKS + {j}u * LANES + lane];
#for i 4
        s{i}_{j} = fma(vec4<f32>(a[{i}]), b{j}, s{i}_{j});
#end
#end
      }
      workgroupBarrier();
    }
    var new_max = vec4<f32>(MASKED);
#for i 4
#for j {KEYS}
    s{i}_{j} = mask_scores(s{i}_{j}, first + ({j}u * LANES + lane) * 4u, first_query + {i}u);
    new_max[{i}] = max(max(new_max[{i}], max(s{i}_{j}.x, s{i}_{j}.y)), max(s{i}_{j}.z, s{i}_{j}.w));
#end
#end
    a_tile[lane * GROUPS + query_group] = new_max;
    workgroupBarrier();
    new_max = running_max;
    for (var l = 0u; l < LANES; l++) {
      new_max = max(new_max, a_tile[l * GROUPS + query_group]);
    }
    workgroupBarrier();
    let rescale = exp(max(running_max - new_max, vec4<f32>(-87.0)));
    running_max = new_max;
    denominator *= rescale;
#for i 4
#for j {KEYS}
    s{i}_{j} = select(exp(max(s{i}_{j} - new_max[{i}], vec4<f32>(-87.0))), vec4<f32>(), s{i}_{j} <= vec4<f32>(MASKED));
    denominator[{i}] += dot(s{i}_{j}, vec4<f32>(1.0));
#end
#for f {FEATURES}
    sum{i}_{f} *= rescale[{i}];
#end
#end
#for j {KEYS}
    for (var part = 0u; part < LANES / CHUNK; part++) {
      let start = first + ({j}u * LANES + part * CHUNK) * 4u;
      if (start < end) {
        if (lane / CHUNK == part) {
          let key_row = (lane % CHUNK) * 4u;
#for l 4
          a_tile[(key_row + {l}u) * GROUPS + query_group] = vec4<f32>(s0_{j}[{l}], s1_{j}[{l}], s2_{j}[{l}], s3_{j}[{l}]);
#end
        }
        for (var iteration = 0u; iteration < (ROWS * FEATURE_BLOCKS + WORKGROUP - 1u) / WORKGROUP; iteration++) {
          let index = iteration * WORKGROUP + local;
          if (index < ROWS * FEATURE_BLOCKS) {
            let row = min(start + index / FEATURE_BLOCKS, p.keys - 1u);
            b_tile[index] = unpack_block(v[v_base + row * p.v_token + min(index % FEATURE_BLOCKS, p.feature_blocks - 1u)]);
          }
        }
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
          let a = a_tile[r * GROUPS + query_group];
#for f {FEATURES}
          let b{f} = b_tile[r * FEATURE_BLOCKS + {f}u * LANES + lane];
#for i 4
          sum{i}_{f} = fma(vec4<f32>(a[{i}]), b{f}, sum{i}_{f});
#end
#end
        }
        workgroupBarrier();
      }
    }
#end
  }
  a_tile[lane * GROUPS + query_group] = denominator;
  workgroupBarrier();
  denominator = vec4<f32>();
  for (var l = 0u; l < LANES; l++) {
    denominator += a_tile[l * GROUPS + query_group];
  }
#for i 4
  if (first_query + {i}u < p.queries) {
    let norm = 1.0 / max(denominator[{i}], 1.0e-30);
    let output = y_base + (first_query + {i}u) * p.y_token;
#for f {FEATURES}
    if ({f}u * LANES + lane < p.feature_blocks) {
      y[output + {f}u * LANES + lane] = pack_block(sum{i}_{f} * norm);
    }
#end
  }
#end
}
