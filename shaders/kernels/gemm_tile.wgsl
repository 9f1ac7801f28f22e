// Convolution without groups, linear layer or product, in tiles of ROWS rows and 64 columns that a workgroup computes together. Each invocation
// computes THREAD_ROWS rows of BLOCKS column blocks. Used on GPUs.
//
// Formula and tensors: shared/gemm.wgsl; `panel_blocks` is COLUMNS. DEPTH blocks of k at a time are staged in workgroup memory, transposed so
// that rows are contiguous and the inner loop reads whole vectors.
// Grid: one workgroup per tile, row tiles fastest; slices of k along z. Sums run over taps, then channels.
// TAPS: a convolution with a kernel, strides and padding.
// SPLIT (split-K): slice z writes its sums to y, f32 [slices, rows, column blocks], for split_sum to add up. It fills a GPU that few tiles would
// leave idle.
// STATS: also writes the statistics of a group norm, as in shared/store_tile.wgsl.
// In bounds: what is outside x, past the channels or past the taps is read from block 0 and staged as zero; rows and columns past the end are
// not stored.
#import gemm

// 128 invocations, 16 column blocks.
const ROWS = {BLOCKS}u * 64u;
const COLUMNS = 16u;
// Blocks of k that are staged.
const DEPTH = 512u / ROWS;
// Invocations along the columns.
const LANES = COLUMNS / {BLOCKS}u;
// Rows of an invocation.
const THREAD_ROWS = 8u;

// [k][rows / 4] and [k][columns / 4].
var<workgroup> a_tile: array<vec4<f32>, 512>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * 64u>;
#ifndef SPLIT
#import store_tile
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
  let panel = (column / COLUMNS) * (taps * p.depth_blocks * 64u);
  // This invocation stages four rows of one block of k, and LOADS blocks of weights.
  let stage_block = local % DEPTH;
  let stage_rows = local / DEPTH;
#for i 4
  let pixel{i} = pixel_of(min(row + stage_rows * 4u + {i}u, p.rows - 1u));
#ifdef TAPS
  let image{i} = p.x_start + pixel{i}.x * p.x_n;
  let top{i} = i32(pixel{i}.y * p.stride_y) - p.pad_top;
  let left{i} = i32(pixel{i}.z * p.stride_x) - p.pad_left;
#else
  let x_index{i} = p.x_start + pixel{i}.x * p.x_n + pixel{i}.y * p.x_y + pixel{i}.z * p.x_x;
#endif
#end
  // The first column block and the row group that it computes.
  let block = local % LANES;
  let row_group = local / LANES;
#for i 8
#for j {BLOCKS}
  var sum{i}_{j} = vec4<f32>();
#end
#end
  for (var iteration = 0u; iteration < p.steps; iteration++) {
    let step = group.z * p.steps + iteration;
    let tap = step / p.depth_steps;
    let c = (step % p.depth_steps) * DEPTH + stage_block;
    let valid = tap < taps && c < p.depth_blocks;
#ifdef TAPS
    let ky = tap / p.kernel_width;
    let kx = tap % p.kernel_width;
#endif
#for i 4
#ifdef TAPS
    let iy{i} = u32(top{i} + i32(ky * p.dilation_y));
    let ix{i} = u32(left{i} + i32(kx * p.dilation_x));
    let inside{i} = valid && iy{i} < p.height && ix{i} < p.width;
    let a{i} = select(vec4<f32>(), unpack_block(x[select(0u, image{i} + iy{i} * p.x_y + ix{i} * p.x_x + c, inside{i})]), inside{i});
#else
    let a{i} = select(vec4<f32>(), unpack_block(x[select(0u, x_index{i} + c, valid)]), valid);
#endif
#end
#for l 4
    a_tile[(stage_block * 4u + {l}u) * (ROWS / 4u) + stage_rows] = vec4<f32>(a0[{l}], a1[{l}], a2[{l}], a3[{l}]);
#end
#for i {LOADS}
    let b_row{i} = local / 16u + {i}u * 8u;
    let b_valid{i} = tap < taps && (step % p.depth_steps) * (DEPTH * 4u) + b_row{i} < p.depth_blocks * 4u;
    let b_index{i} = panel + (tap * p.depth_blocks * 4u + (step % p.depth_steps) * (DEPTH * 4u) + b_row{i}) * 16u + local % 16u;
    b_tile[local + {i}u * 128u] = unpack_weight4(w[select(0u, b_index{i}, b_valid{i})]);
#end
    workgroupBarrier();
    for (var k = 0u; k < DEPTH * 4u; k++) {
      let low = a_tile[k * (ROWS / 4u) + row_group * 2u];
      let high = a_tile[k * (ROWS / 4u) + row_group * 2u + 1u];
#for j {BLOCKS}
      let b{j} = b_tile[k * 16u + block + {j}u * LANES];
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
  if (column + block >= p.column_blocks) {
    return;
  }
#for i 8
  if (row + row_group * 8u + {i}u < p.rows) {
    y[(group.z * p.rows + row + row_group * 8u + {i}u) * p.column_blocks + column + block] = sum{i}_0;
  }
#end
#else
  store_tile(local, row, column, array<vec4<f32>, THREAD_ROWS * {BLOCKS}u>(
#for i 8
#for j {BLOCKS}
    sum{i}_{j},
#end
#end
  ));
#endif
}
