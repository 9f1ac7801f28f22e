// Convolution without groups, linear layer or product, in register tiles: each invocation computes ROWS rows of COLUMNS column blocks.
//
// Formula and tensors: shared/gemm.wgsl. Used on software adapters, where a barrier costs more than a load, and for small products; hence no
// workgroup memory.
// Grid: one invocation per tile, row tiles fastest, so that neighbours read the same weights. Sums run over taps, then channels.
// TAPS: a convolution with a kernel, strides and padding; without it, every row reads its own pixel.
// In bounds: rows past the end compute the last row and are not stored; taps outside x read block 0 and count as zero.
#import grid
#import gemm

// Rows of a tile.
const ROWS = {ROWS}u;
// Column blocks of a tile.
const COLUMNS = {COLUMNS}u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = flat_index(invocation, groups);
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
  var w_index = (column / p.panel_blocks) * (taps * p.depth_blocks * 4u * p.panel_blocks) + column % p.panel_blocks;
#for i {ROWS}
  let pixel{i} = pixel_of(min(row + {i}u, p.rows - 1u));
#ifdef TAPS
  let image{i} = p.x_start + pixel{i}.x * p.x_n;
  let top{i} = i32(pixel{i}.y * p.stride_y) - p.pad_top;
  let left{i} = i32(pixel{i}.z * p.stride_x) - p.pad_left;
#else
  let x_index{i} = p.x_start + pixel{i}.x * p.x_n + pixel{i}.y * p.x_y + pixel{i}.z * p.x_x;
#endif
#for j {COLUMNS}
  var sum{i}_{j} = vec4<f32>();
#end
#end
#ifdef TAPS
  for (var ky = 0u; ky < p.kernel_height; ky++) {
    for (var kx = 0u; kx < p.kernel_width; kx++) {
#for i {ROWS}
      // A negative coordinate, as a u32, is beyond every height and width.
      let iy{i} = u32(top{i} + i32(ky * p.dilation_y));
      let ix{i} = u32(left{i} + i32(kx * p.dilation_x));
      let inside{i} = iy{i} < p.height && ix{i} < p.width;
      let x_index{i} = select(0u, image{i} + iy{i} * p.x_y + ix{i} * p.x_x, inside{i});
#end
#endif
      for (var c = 0u; c < p.depth_blocks; c++) {
#for i {ROWS}
#ifdef TAPS
        let v{i} = select(vec4<f32>(), unpack_block(x[x_index{i} + select(0u, c, inside{i})]), inside{i});
#else
        let v{i} = unpack_block(x[x_index{i} + c]);
#endif
#end
#for l 4
#for j {COLUMNS}
        let w{l}_{j} = unpack_weight4(w[w_index + {j}u]);
#end
        w_index += p.panel_blocks;
#for i {ROWS}
#for j {COLUMNS}
        sum{i}_{j} = fma(vec4<f32>(v{i}[{l}]), w{l}_{j}, sum{i}_{j});
#end
#end
#end
      }
#ifdef TAPS
    }
  }
#endif
  // The epilogue runs in a loop, because unrolling it would multiply compile time. Indexing `sums` dynamically may move it out of registers, but
  // only here, after the main loop.
  var sums = array<vec4<f32>, ROWS * COLUMNS>(
#for i {ROWS}
#for j {COLUMNS}
    sum{i}_{j},
#end
#end
  );
#ifndef TAPS
  if (p.act == ACT_GEGLU) {
    for (var i = 0u; i < ROWS * COLUMNS / 2u; i++) {
      let m = row + i * 2u / COLUMNS;
      let block = column + i * 2u % COLUMNS;
      if (m < p.rows && block < p.column_blocks) {
        store_gated(pixel_of(m), block / 2u, sums[i * 2u], sums[i * 2u + 1u]);
      }
    }
    return;
  }
#endif
  for (var i = 0u; i < ROWS * COLUMNS; i++) {
    let m = row + i / COLUMNS;
    let block = column + i % COLUMNS;
    if (m < p.rows && block < p.column_blocks) {
      store(pixel_of(m), block, sums[i]);
    }
  }
}
