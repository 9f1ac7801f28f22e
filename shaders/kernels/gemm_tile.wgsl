// Convolution without groups, linear layer or product, in tiles that a workgroup shares: 64 rows in 64 columns, 8 rows in one unit of
// columns an invocation. For GPUs.
//
// The formula and the tensors are those of shared/gemm.wgsl; `panel` is 16. 32 of k at a time are staged in workgroup memory, rows side by
// side, so that the inner loop reads whole vectors.
// Grid: a workgroup per tile, tiles of rows first; along z the slices of k. Sums run over taps, then channels.
// TAPS: a convolution with a kernel, strides, padding. SPLIT: the sums of slice z go to y, f32 [slices, rows, columns in units], for
// split_sum to finish: where few tiles would leave a GPU idle.
// In bounds: what is outside x, beyond the channels or beyond the taps is read from unit 0 and staged as zero; tails are not stored.
#import gemm

const ROWS = 64u;
const COLUMNS = 16u;
// Units of k that are staged.
const DEPTH = 8u;

// [k][rows / 4] and [k][columns / 4].
var<workgroup> a_tile: array<vec4<f32>, 512>;
var<workgroup> b_tile: array<vec4<f32>, 512>;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let tile = group.y * groups.x + group.x;
  if (tile >= p.count) {
    return;
  }
  let row = (tile % p.row_tiles) * ROWS;
  let column = (tile / p.row_tiles) * COLUMNS;
#ifdef TAPS
  let taps = p.kernel_height * p.kernel_width;
#else
  let taps = 1u;
#endif
  let panel = (column / 16u) * (taps * p.depth * 64u);
  // What this invocation stages: four rows of one unit of k, and four units of the weights.
  let stage_unit = local % 8u;
  let stage_rows = local / 8u;
#for i 4
  let pixel{i} = pixel_of(min(row + stage_rows * 4u + {i}u, p.rows - 1u));
#ifdef TAPS
  let plane{i} = p.x_start + pixel{i}.x * p.x_n;
  let top{i} = i32(pixel{i}.y * p.stride_y) - p.top;
  let left{i} = i32(pixel{i}.z * p.stride_x) - p.left;
#else
  let from{i} = p.x_start + pixel{i}.x * p.x_n + pixel{i}.y * p.x_y + pixel{i}.z * p.x_x;
#endif
#end
  // What it computes.
  let unit = local % 16u;
  let eight = local / 16u;
#for i 8
  var sum{i} = vec4<f32>();
#end
  for (var turn = 0u; turn < p.steps; turn++) {
    let step = group.z * p.steps + turn;
    let tap = step / p.chunks;
    let c = (step % p.chunks) * DEPTH + stage_unit;
    let known = tap < taps && c < p.depth;
#ifdef TAPS
    let ky = tap / p.kernel_width;
    let kx = tap % p.kernel_width;
#endif
#for i 4
#ifdef TAPS
    let iy{i} = u32(top{i} + i32(ky * p.dilation_y));
    let ix{i} = u32(left{i} + i32(kx * p.dilation_x));
    let inside{i} = known && iy{i} < p.height && ix{i} < p.width;
    let a{i} = select(vec4<f32>(), up(x[select(0u, plane{i} + iy{i} * p.x_y + ix{i} * p.x_x + c, inside{i})]), inside{i});
#else
    let a{i} = select(vec4<f32>(), up(x[select(0u, from{i} + c, known)]), known);
#endif
#end
    a_tile[(stage_unit * 4u + 0u) * 16u + stage_rows] = vec4<f32>(a0.x, a1.x, a2.x, a3.x);
    a_tile[(stage_unit * 4u + 1u) * 16u + stage_rows] = vec4<f32>(a0.y, a1.y, a2.y, a3.y);
    a_tile[(stage_unit * 4u + 2u) * 16u + stage_rows] = vec4<f32>(a0.z, a1.z, a2.z, a3.z);
    a_tile[(stage_unit * 4u + 3u) * 16u + stage_rows] = vec4<f32>(a0.w, a1.w, a2.w, a3.w);
#for i 4
    let b_row{i} = local / 16u + {i}u * 8u;
    let b_known{i} = tap < taps && (step % p.chunks) * (DEPTH * 4u) + b_row{i} < p.depth * 4u;
    let b_at{i} = panel + (tap * p.depth * 4u + (step % p.chunks) * (DEPTH * 4u) + b_row{i}) * 16u + local % 16u;
    b_tile[local + {i}u * 128u] = widen(w[select(0u, b_at{i}, b_known{i})]);
#end
    workgroupBarrier();
    for (var k = 0u; k < 32u; k++) {
      let low = a_tile[k * 16u + eight * 2u];
      let high = a_tile[k * 16u + eight * 2u + 1u];
      let b = b_tile[k * 16u + unit];
#for i 4
      sum{i} = fma(vec4<f32>(low[{i}]), b, sum{i});
#end
      sum4 = fma(vec4<f32>(high.x), b, sum4);
      sum5 = fma(vec4<f32>(high.y), b, sum5);
      sum6 = fma(vec4<f32>(high.z), b, sum6);
      sum7 = fma(vec4<f32>(high.w), b, sum7);
    }
    workgroupBarrier();
  }
  if (column + unit >= p.columns) {
    return;
  }
#for i 8
  if (row + eight * 8u + {i}u < p.rows) {
#ifdef SPLIT
    y[(group.z * p.rows + row + eight * 8u + {i}u) * p.columns + column + unit] = sum{i};
#else
    store(pixel_of(row + eight * 8u + {i}u), column + unit, sum{i});
#endif
  }
#end
}
