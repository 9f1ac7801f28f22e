// Convolution without groups, with stride and dilation 1, in register tiles: an invocation computes PIXELS neighbouring pixels of a row in
// COLUMNS units of channels. For software adapters, where a load costs more than the products that it feeds: what the taps of a row share
// is loaded once.
//
// The formula and the tensors are those of shared/gemm.wgsl; `row_tiles` counts strips of PIXELS pixels of all rows of all pictures.
// WIDTH: taps along a row. Grid: one invocation per tile; strips count first, so that neighbours share weights.
// Sums run over rows of taps, then channels, then taps of the row.
// In bounds: pixels outside x read the row's first and count as zero; tails are not stored.
#import grid
#import gemm

// Pixels of a tile, and units of channels.
const PIXELS = {PIXELS}u;
const COLUMNS = {COLUMNS}u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let strips = (p.out_width + PIXELS - 1u) / PIXELS;
  let strip = tile % p.row_tiles;
  let first = (strip % strips) * PIXELS;
  let oy = (strip / strips) % p.out_height;
  let n = strip / (strips * p.out_height);
  let column = (tile / p.row_tiles) * COLUMNS;
  let panel = (column / p.panel) * (p.kernel_height * {WIDTH}u * p.depth * 4u * p.panel) + column % p.panel;
  // From a tap to the next of its row.
  let tap_step = p.depth * 4u * p.panel;
  let plane = p.x_start + n * p.x_n;
#for i {PIXELS}
#for j {COLUMNS}
  var sum{i}_{j} = vec4<f32>();
#end
#end
#for i {INPUTS}
  // What is negative is as a u32 beyond every width.
  let ix{i} = u32(i32(first + {i}u) - p.left);
  let inside{i} = ix{i} < p.width;
  let at{i} = select(0u, ix{i} * p.x_x, inside{i});
#end
  for (var ky = 0u; ky < p.kernel_height; ky++) {
    let iy = u32(i32(oy + ky) - p.top);
    if (iy < p.height) {
      let row = plane + iy * p.x_y;
      for (var c = 0u; c < p.depth; c++) {
#for i {INPUTS}
        let v{i} = select(vec4<f32>(), up(x[row + at{i} + c]), inside{i});
#end
        var at = panel + (ky * {WIDTH}u * p.depth + c) * 4u * p.panel;
#for k {WIDTH}
        {
#for l 4
#for j {COLUMNS}
          let w{l}_{j} = widen(w[at + {l}u * p.panel + {j}u]);
#end
#for i {PIXELS}
#for j {COLUMNS}
          sum{i}_{j} = fma(vec4<f32>(v{i+k}[{l}]), w{l}_{j}, sum{i}_{j});
#end
#end
#end
        }
        at += tap_step;
#end
      }
    }
  }
  // The epilogue once in the text, and not once for every output: what an adapter compiles is what users wait for.
  var sums = array<vec4<f32>, {SUMS}>(
#for i {PIXELS}
#for j {COLUMNS}
    sum{i}_{j},
#end
#end
  );
  for (var i = 0u; i < PIXELS * COLUMNS; i++) {
    let ox = first + i / COLUMNS;
    let unit = column + i % COLUMNS;
    if (ox < p.out_width && unit < p.columns) {
      store(vec3<u32>(n, oy, ox), unit, sums[i]);
    }
  }
}
