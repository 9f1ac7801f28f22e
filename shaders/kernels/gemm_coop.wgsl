// Convolution without groups, linear layer or product, by an adapter's own matrix units: 64 rows in 64 columns, of which each of four
// subgroups computes 32 in 32. Native only: the dialect is wgpu's.
//
// The formula and the tensors are those of shared/gemm.wgsl; `panel` is 16. DEPTH units of k at a time are staged in workgroup memory as
// ELEMENT, rows and rows of weights each padded by 16 bytes so that neighbouring ones lie in different banks. Sums are f32; they come
// back through workgroup memory, 16 rows and columns of each subgroup at a time, because what a matrix of the adapter holds where is its own.
// HALF: what is staged is rounded to 16 bits; values beyond them become their largest number.
// SIDE: rows and columns of the adapter's matrices; BLOCKS: how many of them fill 16.
// Grid: a workgroup per tile, tiles of rows first. Sums run over taps, then channels.
// TAPS: a convolution with a kernel, strides, padding.
// In bounds: what is outside x or beyond the channels is read from unit 0 and staged as zero; tails are not stored.
enable f16;
enable wgpu_cooperative_matrix;
#import gemm

// Four subgroups, whatever the adapter has in one.
override WORKGROUP: u32 = 128u;

const ROWS = 64u;
const COLUMNS = 16u;
// Units of k that are staged.
const DEPTH = {DEPTH}u;
const A_STRIDE = 5u * DEPTH;
const B_STRIDE = 64u + DEPTH;

// [rows][k] and [k][columns].
var<workgroup> a_tile: array<{ELEMENT}, ROWS * A_STRIDE>;
var<workgroup> b_tile: array<{ELEMENT}, 4u * DEPTH * B_STRIDE>;
// [subgroups][16][16].
var<workgroup> sums: array<f32, 1024>;
// Of each row: where its picture starts in x, and the pixel of its first tap.
var<workgroup> places: array<vec3<i32>, ROWS>;

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
  let panel = (column / 16u) * (taps * p.depth * 64u);
  for (var at = local; at < ROWS; at += WORKGROUP) {
    let pixel = pixel_of(min(row + at, p.rows - 1u));
#ifdef TAPS
    let start = p.x_start + pixel.x * p.x_n;
    places[at] = vec3<i32>(i32(start), i32(pixel.y * p.stride_y) - p.top, i32(pixel.z * p.stride_x) - p.left);
#else
    let start = p.x_start + pixel.x * p.x_n + pixel.y * p.x_y + pixel.z * p.x_x;
    places[at] = vec3<i32>(i32(start), 0, 0);
#endif
  }
  for (var at = local; at < 1024u; at += WORKGROUP) {
    sums[at] = 0.0;
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
    let tap = step / p.chunks;
    let c0 = (step % p.chunks) * DEPTH;
#ifdef TAPS
    let ky = i32((tap / p.kernel_width) * p.dilation_y);
    let kx = i32((tap % p.kernel_width) * p.dilation_x);
#endif
    for (var at = local; at < ROWS * DEPTH; at += WORKGROUP) {
      let place = places[at / DEPTH];
      let c = c0 + at % DEPTH;
#ifdef TAPS
      let iy = u32(place.y + ky);
      let ix = u32(place.z + kx);
      let inside = c < p.depth && iy < p.height && ix < p.width;
      let near = u32(place.x) + iy * p.x_y + ix * p.x_x + c;
#else
      let inside = c < p.depth;
      let near = u32(place.x) + c;
#endif
      let values = staged(select(vec4<f32>(), up(x[select(0u, near, inside)]), inside));
      let to = (at / DEPTH) * A_STRIDE + (at % DEPTH) * 4u;
#for l 4
      a_tile[to + {l}u] = values[{l}];
#end
    }
    for (var at = local; at < 4u * DEPTH * COLUMNS; at += WORKGROUP) {
      let k = c0 * 4u + at / COLUMNS;
      let near = panel + (tap * p.depth * 4u + k) * 16u + at % COLUMNS;
      let values = staged(widen(w[select(0u, near, k < p.depth * 4u)]));
      let to = (at / COLUMNS) * B_STRIDE + (at % COLUMNS) * 4u;
#for l 4
      b_tile[to + {l}u] = values[{l}];
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
  for (var at = local; at < 256u; at += WORKGROUP) {
    let m = row + (at / 128u) * 32u + {h}u * 16u + (at / 4u) % 16u;
    let unit = column + ((at / 64u) % 2u) * 8u + {g}u * 4u + at % 4u;
    if (m < p.rows && unit < p.columns) {
      store(pixel_of(m), unit, vec4<f32>(sums[at * 4u], sums[at * 4u + 1u], sums[at * 4u + 2u], sums[at * 4u + 3u]));
    }
  }
  workgroupBarrier();
#end
#end
}
