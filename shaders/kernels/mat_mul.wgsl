// Batched product of two computed tensors: y[b, m, n] = Σ_k a[b, m, k] · c[b, k, n]. Each invocation computes ROWS rows of one column block.
//
// a: blocks along k; c, y: blocks along n; strides in blocks. Batch b runs over `shape`; a stride of 0 repeats a matrix. y is dense.
// Grid: one invocation per tile, column blocks fastest. Sums run over k.
// In bounds: rows past the end compute the last row and are not stored. The padding of a and c is zero, hence that of y.
#import grid
#import block
#import shape

// Rows of a tile.
const ROWS = {ROWS}u;

struct Params {
  count: u32,
  // Tiles along the rows, and rows.
  row_tiles: u32,
  rows: u32,
  // Blocks of the columns.
  column_blocks: u32,
  // K.
  depth: u32,
  a_start: u32,
  a_row: u32,
  c_start: u32,
  c_row: u32,
  // Dims of b.
  rank: u32,
  shape: array<vec4<u32>, 2>,
  a_strides: array<vec4<u32>, 2>,
  c_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Block>;
@group(0) @binding(2) var<storage, read> c: array<Block>;
@group(0) @binding(3) var<storage, read_write> y: array<Block>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = flat_index(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let block = tile % p.column_blocks;
  let row = ((tile / p.column_blocks) % p.row_tiles) * ROWS;
  let batch = tile / (p.column_blocks * p.row_tiles);
  let a_base = p.a_start + strided_offset(batch, p.rank, p.shape, p.a_strides);
  var c_index = p.c_start + strided_offset(batch, p.rank, p.shape, p.c_strides) + block;
#for i {ROWS}
  let row{i} = a_base + min(row + {i}u, p.rows - 1u) * p.a_row;
  var sum{i} = vec4<f32>();
#end
  for (var k = 0u; k < p.depth; k++) {
    let v = unpack_block(c[c_index]);
    c_index += p.c_row;
#for i {ROWS}
    sum{i} = fma(vec4<f32>(unpack_block(a[row{i} + k / 4u])[k % 4u]), v, sum{i});
#end
  }
  let y_base = (batch * p.rows + row) * p.column_blocks + block;
#for i {ROWS}
  if (row + {i}u < p.rows) {
    y[y_base + {i}u * p.column_blocks] = pack_block(sum{i});
  }
#end
}
