// Convolution without groups, with stride and dilation 1, in register tiles: each invocation computes a row strip, PIXELS neighbouring pixels of
// a row, in COLUMNS column blocks. Used on software adapters, where a load costs more than the products that it feeds: inputs that several taps
// of a row need are loaded once.
//
// Formula and tensors: shared/gemm.wgsl; `row_tiles` is the number of strips in all rows of all images. WIDTH: the width of the kernel.
// Grid: one invocation per strip and column tile, strips fastest, so that neighbours read the same weights.
// Sums run over the rows of the kernel, then channels, then the taps of a row.
// In bounds: pixels outside x read the first pixel of the row and count as zero; pixels and columns past the end are not stored.
#import grid
#import gemm

// Pixels of a strip, and its column blocks.
const PIXELS = {PIXELS}u;
const COLUMNS = {COLUMNS}u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = flat_index(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let strips = (p.out_width + PIXELS - 1u) / PIXELS;
  let strip = tile % p.row_tiles;
  let first = (strip % strips) * PIXELS;
  let oy = (strip / strips) % p.out_height;
  let n = strip / (strips * p.out_height);
  let column = (tile / p.row_tiles) * COLUMNS;
  let panel = (column / p.panel_blocks) * (p.kernel_height * {WIDTH}u * p.depth_blocks * 4u * p.panel_blocks) + column % p.panel_blocks;
  // From one tap to the next in its row.
  let tap_step = p.depth_blocks * 4u * p.panel_blocks;
  let image = p.x_start + n * p.x_n;
#for i {PIXELS}
#for j {COLUMNS}
  var sum{i}_{j} = vec4<f32>();
#end
#end
#for i {INPUTS}
  // A negative coordinate, as a u32, is beyond every width.
  let ix{i} = u32(i32(first + {i}u) - p.pad_left);
  let inside{i} = ix{i} < p.width;
  let offset{i} = select(0u, ix{i} * p.x_x, inside{i});
#end
  for (var ky = 0u; ky < p.kernel_height; ky++) {
    let iy = u32(i32(oy + ky) - p.pad_top);
    if (iy < p.height) {
      let row = image + iy * p.x_y;
      for (var c = 0u; c < p.depth_blocks; c++) {
#for i {INPUTS}
        let v{i} = select(vec4<f32>(), unpack_block(x[row + offset{i} + c]), inside{i});
#end
        var w_index = panel + (ky * {WIDTH}u * p.depth_blocks + c) * 4u * p.panel_blocks;
#for k {WIDTH}
        {
#for l 4
#for j {COLUMNS}
          let w{l}_{j} = unpack_weight4(w[w_index + {l}u * p.panel_blocks + {j}u]);
#end
#for i {PIXELS}
#for j {COLUMNS}
          sum{i}_{j} = fma(vec4<f32>(v{i+k}[{l}]), w{l}_{j}, sum{i}_{j});
#end
#end
#end
        }
        w_index += tap_step;
#end
      }
    }
  }
  // The epilogue runs in a loop, because unrolling it would multiply compile time.
  var sums = array<vec4<f32>, PIXELS * COLUMNS>(
#for i {PIXELS}
#for j {COLUMNS}
    sum{i}_{j},
#end
#end
  );
  for (var i = 0u; i < PIXELS * COLUMNS; i++) {
    let ox = first + i / COLUMNS;
    let block = column + i % COLUMNS;
    if (ox < p.out_width && block < p.column_blocks) {
      store(vec3<u32>(n, oy, ox), block, sums[i]);
    }
  }
}
