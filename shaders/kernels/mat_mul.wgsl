// Batched matrix product in register tiles: an invocation computes ROWS rows in COLUMNS columns.
//
// y[.., m, j] = Σ_k a[.., m, k] · b[.., k, j]; the leading axes broadcast.
//
// a: f32 [.., M, K], b: f32 [.., K, J], y: f32 [.., M, J].
// Grid: one invocation per tile; tiles count columns first, then rows, then matrices. Sums run over k.
// In bounds: rows and columns in the tail read the last row and column and are not stored.
#import grid
#import shape

// Rows of a tile.
const ROWS = 4u;
// Columns of a tile.
const COLUMNS = 4u;

struct Params {
  // Tiles in all.
  count: u32,
  // Tiles of the columns: J / COLUMNS, rounded up.
  column_tiles: u32,
  // Tiles of the rows: M / ROWS, rounded up.
  row_tiles: u32,
  // M; at least 1.
  rows: u32,
  // K.
  depth: u32,
  // J; at least 1.
  columns: u32,
  // Leading axes; at least 1.
  rank: u32,
  // Lengths of the leading axes of y, first axis first.
  shape: array<vec4<u32>, 2>,
  // Elements between neighbouring matrices along each leading axis; 0 repeats.
  a_strides: array<vec4<u32>, 2>,
  b_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// Stores one row's columns of a matrix that starts at `matrix`.
fn store_row(matrix: u32, m: u32, j: u32, sums: vec4<f32>) {
  if (m >= p.rows) {
    return;
  }
  let at = matrix + m * p.columns + j;
  y[at] = sums.x;
  if (j + 1u < p.columns) {
    y[at + 1u] = sums.y;
  }
  if (j + 2u < p.columns) {
    y[at + 2u] = sums.z;
  }
  if (j + 3u < p.columns) {
    y[at + 3u] = sums.w;
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let j = (tile % p.column_tiles) * COLUMNS;
  let m = ((tile / p.column_tiles) % p.row_tiles) * ROWS;
  let matrix = tile / (p.column_tiles * p.row_tiles);
  var rest = matrix;
  var at_a = 0u;
  var at_b = 0u;
  for (var step = 0u; step < 8u; step++) {
    if (step < p.rank) {
      let axis = p.rank - 1u - step;
      let length = along(p.shape, axis);
      let index = rest % length;
      rest /= length;
      at_a += index * along(p.a_strides, axis);
      at_b += index * along(p.b_strides, axis);
    }
  }
  let last_row = p.rows - 1u;
  let last_column = p.columns - 1u;
  let row0 = at_a + m * p.depth;
  let row1 = at_a + min(m + 1u, last_row) * p.depth;
  let row2 = at_a + min(m + 2u, last_row) * p.depth;
  let row3 = at_a + min(m + 3u, last_row) * p.depth;
  let column0 = at_b + j;
  let column1 = at_b + min(j + 1u, last_column);
  let column2 = at_b + min(j + 2u, last_column);
  let column3 = at_b + min(j + 3u, last_column);
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var k = 0u; k < p.depth; k++) {
    let line = k * p.columns;
    let v = vec4<f32>(b[column0 + line], b[column1 + line], b[column2 + line], b[column3 + line]);
    sum0 = fma(vec4<f32>(a[row0 + k]), v, sum0);
    sum1 = fma(vec4<f32>(a[row1 + k]), v, sum1);
    sum2 = fma(vec4<f32>(a[row2 + k]), v, sum2);
    sum3 = fma(vec4<f32>(a[row3 + k]), v, sum3);
  }
  let first = matrix * p.rows * p.columns;
  store_row(first, m, j, sum0);
  store_row(first, m + 1u, j, sum1);
  store_row(first, m + 2u, j, sum2);
  store_row(first, m + 3u, j, sum3);
}
