// Convolution without groups, linear layer or product, with cooperative matrices (the adapter's matrix units), in tiles of 64 rows and 64
// columns. Each of four subgroups computes 32 rows of 32 columns. Native only, because the WGSL extension is wgpu's.
//
// Formula and tensors: shared/gemm.wgsl; `panel_blocks` is COLUMNS. DEPTH blocks of k at a time are staged in workgroup memory as ELEMENT. Rows
// of x and rows of weights are padded by 16 bytes each, so that neighbouring rows fall into different memory banks. Sums are f32. They are
// stored through workgroup memory, 16 rows and columns of each subgroup at a time, because WGSL does not say which invocation holds which
// element of a cooperative matrix.
// HALF: staged values are rounded to f16 and clamped to its range.
// SIDE: rows and columns of a cooperative matrix; BLOCKS: how many of them make 16.
// Grid: one workgroup per tile, row tiles fastest. Sums run over taps, then channels.
// TAPS: a convolution with a kernel, strides and padding.
// In bounds: what is outside x or past the channels is read from block 0 and staged as zero; rows and columns past the end are not stored.
enable f16;
enable wgpu_cooperative_matrix;
#import gemm

// Four subgroups, whatever their size.
override WORKGROUP: u32 = 128u;

// A tile: rows and column blocks.
const ROWS = 64u;
const COLUMNS = 16u;
// Blocks of k that are staged.
const DEPTH = {DEPTH}u;
const A_STRIDE = 5u * DEPTH;
const B_STRIDE = 64u + DEPTH;

// [rows][k] and [k][columns].
var<workgroup> a_tile: array<{ELEMENT}, ROWS * A_STRIDE>;
var<workgroup> b_tile: array<{ELEMENT}, 4u * DEPTH * B_STRIDE>;
// [subgroups][16][16].
var<workgroup> sums: array<f32, 1024>;
// For each row: the start of its image in x, and the coordinates (y, x) of its first tap.
var<workgroup> row_origins: array<vec3<i32>, ROWS>;

fn staged(values: vec4<f32>) -> vec4<{ELEMENT}> {
#ifdef HALF
  return vec4<f16>(clamp(values, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
#else
  return values;
#endif
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
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
  for (var index = local; index < ROWS; index += WORKGROUP) {
    let pixel = pixel_of(min(row + index, p.rows - 1u));
#ifdef TAPS
    let start = p.x_start + pixel.x * p.x_n;
    row_origins[index] = vec3<i32>(i32(start), i32(pixel.y * p.stride_y) - p.pad_top, i32(pixel.z * p.stride_x) - p.pad_left);
#else
    let start = p.x_start + pixel.x * p.x_n + pixel.y * p.x_y + pixel.z * p.x_x;
    row_origins[index] = vec3<i32>(i32(start), 0, 0);
#endif
  }
  for (var index = local; index < 1024u; index += WORKGROUP) {
    sums[index] = 0.0;
  }
  workgroupBarrier();
  let top = (subgroup / 2u) * 32u;
  let left = (subgroup % 2u) * 32u;
#for h 2
#for i {BLOCKS}
#for g 2
#for j {BLOCKS}
  var sum{h}_{i}_{g}_{j} = coopLoadT<coop_mat{SIDE}x{SIDE}<f32, C>>(&sums[0], 16u);
#end
#end
#end
#end
  for (var step = 0u; step < p.steps; step++) {
    let tap = step / p.depth_steps;
    let c0 = (step % p.depth_steps) * DEPTH;
#ifdef TAPS
    let ky = i32((tap / p.kernel_width) * p.dilation_y);
    let kx = i32((tap % p.kernel_width) * p.dilation_x);
#endif
    for (var index = local; index < ROWS * DEPTH; index += WORKGROUP) {
      let origin = row_origins[index / DEPTH];
      let c = c0 + index % DEPTH;
#ifdef TAPS
      let iy = u32(origin.y + ky);
      let ix = u32(origin.z + kx);
      let inside = c < p.depth_blocks && iy < p.height && ix < p.width;
      let x_index = u32(origin.x) + iy * p.x_y + ix * p.x_x + c;
#else
      let inside = c < p.depth_blocks;
      let x_index = u32(origin.x) + c;
#endif
      let values = staged(select(vec4<f32>(), unpack_block(x[select(0u, x_index, inside)]), inside));
      let target_index = (index / DEPTH) * A_STRIDE + (index % DEPTH) * 4u;
#for l 4
      a_tile[target_index + {l}u] = values[{l}];
#end
    }
    for (var index = local; index < 4u * DEPTH * COLUMNS; index += WORKGROUP) {
      let k = c0 * 4u + index / COLUMNS;
      let w_index = panel + (tap * p.depth_blocks * 4u + k) * COLUMNS + index % COLUMNS;
      let values = staged(unpack_weight4(w[select(0u, w_index, k < p.depth_blocks * 4u)]));
      let target_index = (index / COLUMNS) * B_STRIDE + (index % COLUMNS) * 4u;
#for l 4
      b_tile[target_index + {l}u] = values[{l}];
#end
    }
    workgroupBarrier();
    for (var k = 0u; k < 4u * DEPTH; k += {SIDE}u) {
#for h 2
#for i {BLOCKS}
      let a{h}_{i} = coopLoadT<coop_mat{SIDE}x{SIDE}<{ELEMENT}, A>>(&a_tile[(top + {h}u * 16u + {i}u * {SIDE}u) * A_STRIDE + k], A_STRIDE);
      let b{h}_{i} = coopLoadT<coop_mat{SIDE}x{SIDE}<{ELEMENT}, B>>(&b_tile[k * B_STRIDE + left + {h}u * 16u + {i}u * {SIDE}u], B_STRIDE);
#end
#end
#for h 2
#for i {BLOCKS}
#for g 2
#for j {BLOCKS}
      sum{h}_{i}_{g}_{j} = coopMultiplyAdd(a{h}_{i}, b{g}_{j}, sum{h}_{i}_{g}_{j});
#end
#end
#end
#end
    }
    workgroupBarrier();
  }
#for h 2
#for g 2
#for i {BLOCKS}
#for j {BLOCKS}
  coopStoreT(sum{h}_{i}_{g}_{j}, &sums[subgroup * 256u + {i}u * {SIDE}u * 16u + {j}u * {SIDE}u], 16u);
#end
#end
  workgroupBarrier();
  for (var index = local; index < 256u; index += WORKGROUP) {
    let m = row + (index / 128u) * 32u + {h}u * 16u + (index / 4u) % 16u;
    let block = column + ((index / 64u) % 2u) * 8u + {g}u * 4u + index % 4u;
    if (m < p.rows && block < p.column_blocks) {
      store(pixel_of(m), block, vec4<f32>(sums[index * 4u], sums[index * 4u + 1u], sums[index * 4u + 2u], sums[index * 4u + 3u]));
    }
  }
  workgroupBarrier();
#end
#end
}
