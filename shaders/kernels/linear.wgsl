// Linear layer in register tiles: an invocation computes ROWS rows in COLUMNS columns.
//
// y[m, d] = act(bias[d] + Σ_k x[m, k] · w[k, d]) + residual[m, d].
//
// x: f32 [M, K], w: f32 or f16 [K, D rounded up to COLUMNS] (packed by the planner, zeros in the tail), bias: f32 [D],
// residual, y: f32 [M, D].
// Grid: one invocation per tile; tiles count columns first. Sums run over k.
// INPUT_VEC4: K is a multiple of 4 and x is read four elements at a time.
// In bounds: rows in the tail read the last row; rows and columns in the tail are not stored.
#import grid
#import activation
#import weight4

// Rows of a tile.
const ROWS = 4u;
// Columns of a tile.
const COLUMNS = 8u;

struct Params {
  // Tiles in all.
  count: u32,
  // Tiles of the columns: D / COLUMNS, rounded up.
  column_tiles: u32,
  // M; at least 1.
  rows: u32,
  // K.
  depth: u32,
  // D.
  columns: u32,
  // ACT_….
  act: u32,
  // 1 where it is given.
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
#ifdef INPUT_VEC4
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> w: array<Weight4>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// The epilogue of four columns of one row.
fn store_four(m: u32, d: u32, sums: vec4<f32>) {
  for (var c = 0u; c < 4u; c++) {
    if (d + c < p.columns) {
      let at = m * p.columns + d + c;
      var value = sums[c];
      if (p.has_bias != 0u) {
        value += bias[d + c];
      }
      value = activate(p.act, value);
      if (p.has_residual != 0u) {
        value += residual[at];
      }
      y[at] = value;
    }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let tile = item(invocation, groups);
  if (tile >= p.count) {
    return;
  }
  let column_tile = tile % p.column_tiles;
  let m = (tile / p.column_tiles) * ROWS;
#ifdef INPUT_VEC4
  let depth = p.depth / 4u;
#else
  let depth = p.depth;
#endif
  // Weights in steps of four columns.
  let step = p.column_tiles * 2u;
  var at = column_tile * 2u;
  let row0 = m * depth;
  let row1 = min(m + 1u, p.rows - 1u) * depth;
  let row2 = min(m + 2u, p.rows - 1u) * depth;
  let row3 = min(m + 3u, p.rows - 1u) * depth;
  var low0 = vec4<f32>();
  var high0 = vec4<f32>();
  var low1 = vec4<f32>();
  var high1 = vec4<f32>();
  var low2 = vec4<f32>();
  var high2 = vec4<f32>();
  var low3 = vec4<f32>();
  var high3 = vec4<f32>();
  for (var k = 0u; k < depth; k++) {
    let v0 = x[row0 + k];
    let v1 = x[row1 + k];
    let v2 = x[row2 + k];
    let v3 = x[row3 + k];
#ifdef INPUT_VEC4
    let w_low_x = widen(w[at]);
    let w_high_x = widen(w[at + 1u]);
    low0 = fma(vec4<f32>(v0.x), w_low_x, low0);
    high0 = fma(vec4<f32>(v0.x), w_high_x, high0);
    low1 = fma(vec4<f32>(v1.x), w_low_x, low1);
    high1 = fma(vec4<f32>(v1.x), w_high_x, high1);
    low2 = fma(vec4<f32>(v2.x), w_low_x, low2);
    high2 = fma(vec4<f32>(v2.x), w_high_x, high2);
    low3 = fma(vec4<f32>(v3.x), w_low_x, low3);
    high3 = fma(vec4<f32>(v3.x), w_high_x, high3);
    let w_low_y = widen(w[at + step]);
    let w_high_y = widen(w[at + step + 1u]);
    low0 = fma(vec4<f32>(v0.y), w_low_y, low0);
    high0 = fma(vec4<f32>(v0.y), w_high_y, high0);
    low1 = fma(vec4<f32>(v1.y), w_low_y, low1);
    high1 = fma(vec4<f32>(v1.y), w_high_y, high1);
    low2 = fma(vec4<f32>(v2.y), w_low_y, low2);
    high2 = fma(vec4<f32>(v2.y), w_high_y, high2);
    low3 = fma(vec4<f32>(v3.y), w_low_y, low3);
    high3 = fma(vec4<f32>(v3.y), w_high_y, high3);
    let w_low_z = widen(w[at + 2u * step]);
    let w_high_z = widen(w[at + 2u * step + 1u]);
    low0 = fma(vec4<f32>(v0.z), w_low_z, low0);
    high0 = fma(vec4<f32>(v0.z), w_high_z, high0);
    low1 = fma(vec4<f32>(v1.z), w_low_z, low1);
    high1 = fma(vec4<f32>(v1.z), w_high_z, high1);
    low2 = fma(vec4<f32>(v2.z), w_low_z, low2);
    high2 = fma(vec4<f32>(v2.z), w_high_z, high2);
    low3 = fma(vec4<f32>(v3.z), w_low_z, low3);
    high3 = fma(vec4<f32>(v3.z), w_high_z, high3);
    let w_low_w = widen(w[at + 3u * step]);
    let w_high_w = widen(w[at + 3u * step + 1u]);
    low0 = fma(vec4<f32>(v0.w), w_low_w, low0);
    high0 = fma(vec4<f32>(v0.w), w_high_w, high0);
    low1 = fma(vec4<f32>(v1.w), w_low_w, low1);
    high1 = fma(vec4<f32>(v1.w), w_high_w, high1);
    low2 = fma(vec4<f32>(v2.w), w_low_w, low2);
    high2 = fma(vec4<f32>(v2.w), w_high_w, high2);
    low3 = fma(vec4<f32>(v3.w), w_low_w, low3);
    high3 = fma(vec4<f32>(v3.w), w_high_w, high3);
    at += 4u * step;
#else
    let w_low = widen(w[at]);
    let w_high = widen(w[at + 1u]);
    low0 = fma(vec4<f32>(v0), w_low, low0);
    high0 = fma(vec4<f32>(v0), w_high, high0);
    low1 = fma(vec4<f32>(v1), w_low, low1);
    high1 = fma(vec4<f32>(v1), w_high, high1);
    low2 = fma(vec4<f32>(v2), w_low, low2);
    high2 = fma(vec4<f32>(v2), w_high, high2);
    low3 = fma(vec4<f32>(v3), w_low, low3);
    high3 = fma(vec4<f32>(v3), w_high, high3);
    at += step;
#endif
  }
  let d = column_tile * COLUMNS;
  // The epilogue once in the text, and not once for every output: what an adapter compiles is what users wait for.
  var sums = array<vec4<f32>, 8>(low0, high0, low1, high1, low2, high2, low3, high3);
  for (var i = 0u; i < 8u; i++) {
    if (m + i / 2u < p.rows) {
      store_four(m + i / 2u, d + (i % 2u) * 4u, sums[i]);
    }
  }
}
