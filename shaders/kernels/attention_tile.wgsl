// Attention in one pass over the keys, in tiles that a workgroup shares: 4 · GROUPS queries of one head, of which an invocation computes
// four, in KEYS units of keys for the scores and in FEATURES units of features for the result. For GPUs.
//
// The formula and the tensors are those of shared/attention.wgsl; E is at most 16 · LANES · FEATURES. Both products are those of
// gemm_tile: CHUNK units of depth, then CHUNK units of keys, are staged at a time, queries and keys side by side.
// Grid: a workgroup per tile, tiles of queries first. LANES invocations share the same four queries.
// The maximum runs along: what is summed is rescaled when a larger score comes. An invocation sums the shares of its own keys; at the end
// the lanes are added in a fixed order.
// CHUNK divides LANES, LANES <= 4 · CHUNK, KEYS <= FEATURES.
// In bounds: queries, keys and features in the tail read the last one; keys count as hidden, the others are not stored. Depth beyond D is
// staged as zero.
#import attention

const LANES = {LANES}u;
const GROUPS = {GROUPS}u;
const CHUNK = {CHUNK}u;
const WORKGROUP = LANES * GROUPS;
const QUERIES = 4u * GROUPS;
// Units of keys and of features of a tile.
const KEY_UNITS = {KEYS}u * LANES;
const FEATURE_UNITS = {FEATURES}u * LANES;
// Rows of a chunk.
const ROWS = 4u * CHUNK;

// [depth or keys][queries / 4], and for a moment [lanes][queries / 4].
var<workgroup> a_tile: array<vec4<f32>, ROWS * GROUPS>;
// [depth][keys / 4] or [keys][features / 4].
var<workgroup> b_tile: array<vec4<f32>, ROWS * FEATURE_UNITS>;

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
  let all_q = p.q_start + n * p.q_n + head * p.q_head;
  let all_k = p.k_start + n * p.k_n + head * p.k_head;
  let all_v = p.v_start + n * p.v_n + head * p.v_head;
  let all_y = p.y_start + n * p.y_n + head * p.y_head;
  let lane = local % LANES;
  let quad = local / LANES;
  let mine = query + quad * 4u;
  // Of the four queries.
  var largest = vec4<f32>(HIDDEN);
  var total = vec4<f32>();
#for i 4
#for f {FEATURES}
  var sum{i}_{f} = vec4<f32>();
#end
#end
  // The last query sees the most.
  let end = select(p.keys, min(p.keys, query + QUERIES), p.causal != 0u);
  for (var first = 0u; first < end; first += KEY_UNITS * 4u) {
#for i 4
#for j {KEYS}
    var s{i}_{j} = vec4<f32>();
#end
#end
    for (var c = 0u; c < p.depth; c += CHUNK) {
      // An item is one unit of four queries, or of four keys.
      for (var turn = 0u; turn < (CHUNK * (GROUPS + KEY_UNITS) + WORKGROUP - 1u) / WORKGROUP; turn++) {
        let at = turn * WORKGROUP + local;
        let row = at / CHUNK;
        let to = (at % CHUNK) * 4u;
        let d = c + at % CHUNK;
        let near = min(d, p.depth - 1u);
        let known = select(0.0, 1.0, d < p.depth);
        if (row < GROUPS) {
#for i 4
          let a{i} = up(q[all_q + min(query + row * 4u + {i}u, p.queries - 1u) * p.q_token + near]) * known;
#end
#for l 4
          a_tile[(to + {l}u) * GROUPS + row] = vec4<f32>(a0[{l}], a1[{l}], a2[{l}], a3[{l}]);
#end
        } else if (row < GROUPS + KEY_UNITS) {
          let unit = row - GROUPS;
#for i 4
          let b{i} = up(k[all_k + min(first + unit * 4u + {i}u, p.keys - 1u) * p.k_token + near]);
#end
#for l 4
          b_tile[(to + {l}u) * KEY_UNITS + unit] = vec4<f32>(b0[{l}], b1[{l}], b2[{l}], b3[{l}]);
#end
        }
      }
      workgroupBarrier();
      for (var d = 0u; d < ROWS; d++) {
        let a = a_tile[d * GROUPS + quad];
#for j {KEYS}
        let b{j} = b_tile[d * KEY_UNITS + {j}u * LANES + lane];
#for i 4
        s{i}_{j} = fma(vec4<f32>(a[{i}]), b{j}, s{i}_{j});
#end
#end
      }
      workgroupBarrier();
    }
    var raised = vec4<f32>(HIDDEN);
#for i 4
#for j {KEYS}
    s{i}_{j} = seen(s{i}_{j}, first + ({j}u * LANES + lane) * 4u, mine + {i}u);
    raised[{i}] = max(max(raised[{i}], max(s{i}_{j}.x, s{i}_{j}.y)), max(s{i}_{j}.z, s{i}_{j}.w));
#end
#end
    a_tile[lane * GROUPS + quad] = raised;
    workgroupBarrier();
    raised = largest;
    for (var l = 0u; l < LANES; l++) {
      raised = max(raised, a_tile[l * GROUPS + quad]);
    }
    workgroupBarrier();
    let keep = exp(max(largest - raised, vec4<f32>(-87.0)));
    largest = raised;
    total *= keep;
#for i 4
#for j {KEYS}
    s{i}_{j} = select(exp(max(s{i}_{j} - raised[{i}], vec4<f32>(-87.0))), vec4<f32>(), s{i}_{j} <= vec4<f32>(HIDDEN));
    total[{i}] += dot(s{i}_{j}, vec4<f32>(1.0));
#end
#for f {FEATURES}
    sum{i}_{f} *= keep[{i}];
#end
#end
#for j {KEYS}
    for (var part = 0u; part < LANES / CHUNK; part++) {
      let start = first + ({j}u * LANES + part * CHUNK) * 4u;
      if (start < end) {
        if (lane / CHUNK == part) {
          let to = (lane % CHUNK) * 4u;
#for l 4
          a_tile[(to + {l}u) * GROUPS + quad] = vec4<f32>(s0_{j}[{l}], s1_{j}[{l}], s2_{j}[{l}], s3_{j}[{l}]);
#end
        }
        for (var turn = 0u; turn < (ROWS * FEATURE_UNITS + WORKGROUP - 1u) / WORKGROUP; turn++) {
          let at = turn * WORKGROUP + local;
          if (at < ROWS * FEATURE_UNITS) {
            let row = min(start + at / FEATURE_UNITS, p.keys - 1u);
            b_tile[at] = up(v[all_v + row * p.v_token + min(at % FEATURE_UNITS, p.features - 1u)]);
          }
        }
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
          let a = a_tile[r * GROUPS + quad];
#for f {FEATURES}
          let b{f} = b_tile[r * FEATURE_UNITS + {f}u * LANES + lane];
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
  a_tile[lane * GROUPS + quad] = total;
  workgroupBarrier();
  total = vec4<f32>();
  for (var l = 0u; l < LANES; l++) {
    total += a_tile[l * GROUPS + quad];
  }
#for i 4
  if (mine + {i}u < p.queries) {
    let scale = 1.0 / max(total[{i}], 1.0e-30);
    let to = all_y + (mine + {i}u) * p.y_token;
#for f {FEATURES}
    if ({f}u * LANES + lane < p.features) {
      y[to + {f}u * LANES + lane] = down(sum{i}_{f} * scale);
    }
#end
  }
#end
}
