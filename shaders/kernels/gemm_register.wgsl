// Convolution without groups, linear layer or product, in register tiles: an invocation computes ROWS rows in COLUMNS units of columns.
//
// The formula and the tensors are those of shared/gemm.wgsl. Workgroup memory is not used: software adapters, where a barrier costs more
// than a load, and small products.
// Grid: one invocation per tile; tiles count rows first, so that neighbours share weights. Sums run over taps, then channels.
// TAPS: a convolution with a kernel, strides, padding; without, every row reads its own pixel. WIDE: 16 columns and not 8.
// In bounds: rows in the tail compute the last row; taps outside x read unit 0 and count as zero; tails are not stored.
#import grid
#import gemm

// Rows of a tile.
const ROWS = 8u;
// Units of columns of a tile.
#ifdef WIDE
const COLUMNS = 4u;
#else
const COLUMNS = 2u;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
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
  var at = (column / p.panel) * (taps * p.depth * 4u * p.panel) + column % p.panel;
#for i 8
  let pixel{i} = pixel_of(min(row + {i}u, p.rows - 1u));
#ifdef TAPS
  let plane{i} = p.x_start + pixel{i}.x * p.x_n;
  let top{i} = i32(pixel{i}.y * p.stride_y) - p.top;
  let left{i} = i32(pixel{i}.z * p.stride_x) - p.left;
#else
  let from{i} = p.x_start + pixel{i}.x * p.x_n + pixel{i}.y * p.x_y + pixel{i}.z * p.x_x;
#endif
  var sum{i}_0 = vec4<f32>();
  var sum{i}_1 = vec4<f32>();
#ifdef WIDE
  var sum{i}_2 = vec4<f32>();
  var sum{i}_3 = vec4<f32>();
#endif
#end
#ifdef TAPS
  for (var ky = 0u; ky < p.kernel_height; ky++) {
    for (var kx = 0u; kx < p.kernel_width; kx++) {
#for i 8
      // What is negative is as a u32 beyond every height and width.
      let iy{i} = u32(top{i} + i32(ky * p.dilation_y));
      let ix{i} = u32(left{i} + i32(kx * p.dilation_x));
      let inside{i} = iy{i} < p.height && ix{i} < p.width;
      let from{i} = select(0u, plane{i} + iy{i} * p.x_y + ix{i} * p.x_x, inside{i});
#end
#endif
      for (var c = 0u; c < p.depth; c++) {
#for i 8
#ifdef TAPS
        let v{i} = select(vec4<f32>(), up(x[from{i} + select(0u, c, inside{i})]), inside{i});
#else
        let v{i} = up(x[from{i} + c]);
#endif
#end
#for l 4
        let w{l}_0 = widen(w[at]);
        let w{l}_1 = widen(w[at + 1u]);
#ifdef WIDE
        let w{l}_2 = widen(w[at + 2u]);
        let w{l}_3 = widen(w[at + 3u]);
#endif
        at += p.panel;
#for i 8
        sum{i}_0 = fma(vec4<f32>(v{i}[{l}]), w{l}_0, sum{i}_0);
        sum{i}_1 = fma(vec4<f32>(v{i}[{l}]), w{l}_1, sum{i}_1);
#ifdef WIDE
        sum{i}_2 = fma(vec4<f32>(v{i}[{l}]), w{l}_2, sum{i}_2);
        sum{i}_3 = fma(vec4<f32>(v{i}[{l}]), w{l}_3, sum{i}_3);
#endif
#end
#end
      }
#ifdef TAPS
    }
  }
#endif
  // The epilogue once in the text, and not once for every output: what an adapter compiles is what users wait for.
#ifdef WIDE
  var sums = array<vec4<f32>, 32>(
#for i 8
    sum{i}_0, sum{i}_1, sum{i}_2, sum{i}_3,
#end
  );
#else
  var sums = array<vec4<f32>, 16>(
#for i 8
    sum{i}_0, sum{i}_1,
#end
  );
#endif
#ifndef TAPS
  if (p.act == ACT_GEGLU) {
    for (var i = 0u; i < ROWS * COLUMNS / 2u; i++) {
      let m = row + i * 2u / COLUMNS;
      let unit = column + i * 2u % COLUMNS;
      if (m < p.rows && unit < p.columns) {
        store_gated(pixel_of(m), unit / 2u, sums[i * 2u], sums[i * 2u + 1u]);
      }
    }
    return;
  }
#endif
  for (var i = 0u; i < ROWS * COLUMNS; i++) {
    let m = row + i / COLUMNS;
    let unit = column + i % COLUMNS;
    if (m < p.rows && unit < p.columns) {
      store(pixel_of(m), unit, sums[i]);
    }
  }
}
