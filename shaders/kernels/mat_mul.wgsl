// Batched product of two computed tensors: y[b, m, n] = Σ_k a[b, m, k] · c[b, k, n]; an invocation computes 4 rows of one unit of columns.
//
// a: units along k; c, y: units along n; strides in units. Batches count through `shape`, a stride of 0 repeats. y: dense.
// Grid: one invocation per tile, units of columns first. Sums run over k.
// In bounds: rows in the tail compute the last row and are not stored. The padding of a and c is zero, and so is that of y.
#import grid
#import unit
#import shape

const ROWS = 4u;

struct Params {
  count: u32,
  // Tiles of the rows, and rows.
  row_tiles: u32,
  rows: u32,
  // Units of the columns.
  columns: u32,
  // K.
  depth: u32,
  a_start: u32,
  a_row: u32,
  c_start: u32,
  c_row: u32,
  // Axes of batches.
  rank: u32,
  shape: array<vec4<u32>, 2>,
  a_strides: array<vec4<u32>, 2>,
  c_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Unit>;
@group(0) @binding(2) var<storage, read> c: array<Unit>;
@group(0) @binding(3) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let unit = tile % p.columns;
  let row = ((tile / p.columns) % p.row_tiles) * ROWS;
  let batch = tile / (p.columns * p.row_tiles);
  let source = p.a_start + place(batch, p.rank, p.shape, p.a_strides);
  var at = p.c_start + place(batch, p.rank, p.shape, p.c_strides) + unit;
#for i 4
  let row{i} = source + min(row + {i}u, p.rows - 1u) * p.a_row;
  var sum{i} = vec4<f32>();
#end
  for (var k = 0u; k < p.depth; k++) {
    let v = up(c[at]);
    at += p.c_row;
#for i 4
    sum{i} = fma(vec4<f32>(up(a[row{i} + k / 4u])[k % 4u]), v, sum{i});
#end
  }
  let to = (batch * p.rows + row) * p.columns + unit;
#for i 4
  if (row + {i}u < p.rows) {
    y[to + {i}u * p.columns] = down(sum{i});
  }
#end
}
