// Convolution without groups, linear layer or product, in tiles that a workgroup shares: ROWS rows in 64 columns, eight rows in UNITS units
// of columns an invocation. For GPUs.
//
// The formula and the tensors are those of shared/gemm.wgsl; `panel` is 16. DEPTH units of k at a time are staged in workgroup memory, rows
// side by side, so that the inner loop reads whole vectors.
// Grid: a workgroup per tile, tiles of rows first; along z the slices of k. Sums run over taps, then channels.
// TAPS: a convolution with a kernel, strides, padding. SPLIT: the sums of slice z go to y, f32 [slices, rows, columns in units], for
// split_sum to finish: where few tiles would leave a GPU idle. STATS: with the statistics of a group norm, as in shared/tile.wgsl.
// In bounds: what is outside x, beyond the channels or beyond the taps is read from unit 0 and staged as zero; tails are not stored.
#import gemm

// 128 invocations, in 16 units of columns.
const ROWS = {UNITS}u * 64u;
const COLUMNS = 16u;
// Units of k that are staged.
const DEPTH = 512u / ROWS;

// [k][rows / 4] and [k][columns / 4].
var<workgroup> a_tile: array<vec4<f32>, 512>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * 64u>;
#ifndef SPLIT
#import tile
#else
const LANES = 16u / {UNITS}u;
#endif

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
  // What this invocation stages: four rows of one unit of k, and units of the weights.
  let stage_unit = local % DEPTH;
  let stage_rows = local / DEPTH;
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
  let unit = local % LANES;
  let eight = local / LANES;
#for i 8
#for j {UNITS}
  var sum{i}_{j} = vec4<f32>();
#end
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
#for l 4
    a_tile[(stage_unit * 4u + {l}u) * (ROWS / 4u) + stage_rows] = vec4<f32>(a0[{l}], a1[{l}], a2[{l}], a3[{l}]);
#end
#for i {LOADS}
    let b_row{i} = local / 16u + {i}u * 8u;
    let b_known{i} = tap < taps && (step % p.chunks) * (DEPTH * 4u) + b_row{i} < p.depth * 4u;
    let b_at{i} = panel + (tap * p.depth * 4u + (step % p.chunks) * (DEPTH * 4u) + b_row{i}) * 16u + local % 16u;
    b_tile[local + {i}u * 128u] = widen(w[select(0u, b_at{i}, b_known{i})]);
#end
    workgroupBarrier();
    for (var k = 0u; k < DEPTH * 4u; k++) {
      let low = a_tile[k * (ROWS / 4u) + eight * 2u];
      let high = a_tile[k * (ROWS / 4u) + eight * 2u + 1u];
#for j {UNITS}
      let b{j} = b_tile[k * 16u + unit + {j}u * LANES];
#for i 4
      sum{i}_{j} = fma(vec4<f32>(low[{i}]), b{j}, sum{i}_{j});
#end
      sum4_{j} = fma(vec4<f32>(high.x), b{j}, sum4_{j});
      sum5_{j} = fma(vec4<f32>(high.y), b{j}, sum5_{j});
      sum6_{j} = fma(vec4<f32>(high.z), b{j}, sum6_{j});
      sum7_{j} = fma(vec4<f32>(high.w), b{j}, sum7_{j});
#end
    }
    workgroupBarrier();
  }
#ifdef SPLIT
  if (column + unit >= p.columns) {
    return;
  }
#for i 8
  if (row + eight * 8u + {i}u < p.rows) {
    y[(group.z * p.rows + row + eight * 8u + {i}u) * p.columns + column + unit] = sum{i}_0;
  }
#end
#else
  finish(local, row, column, array<vec4<f32>, {SUMS}>(
#for i 8
#for j {UNITS}
    sum{i}_{j},
#end
#end
  ));
#endif
}
