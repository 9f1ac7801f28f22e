// What the forms of the matrix kernel share: their uniform, their buffers, and what happens to a sum at the end.
//
// y[m, d] = act(bias[d] + Σ_k x[m, k] · w[k, d]) + residual[m, d], where row m is the pixel (n, oy, ox) of an output [N, Ho, Wo, D] and,
// with TAPS, k runs through the taps of a convolution and its input channels; without, through the channels of that pixel.
//
// x, residual, y: units of channels, with strides between n, rows and pixels, so that each may be a part of a wider tensor.
// With ACT_GEGLU the columns lie in units of values and of gates by turns, and y has half of them: values · gelu(gates), no residual.
// w: f32 or f16, packed by the planner as [D / panel][taps · 4 · depth][panel] with zeros in the tails. bias: f32, padded to whole panels.
// Strides, starts and `panel` count units of four.
#import unit
#import activation
#import weight4

struct Params {
  // Rows: N · Ho · Wo; at least 1.
  rows: u32,
  // Tiles of rows.
  row_tiles: u32,
  // Tiles in all.
  count: u32,
  // Units of D.
  columns: u32,
  // Units of the input channels.
  depth: u32,
  panel: u32,
  // Ho, Wo.
  out_height: u32,
  out_width: u32,
  x_start: u32,
  x_n: u32,
  x_y: u32,
  x_x: u32,
  y_start: u32,
  y_n: u32,
  y_y: u32,
  y_x: u32,
  residual_start: u32,
  residual_n: u32,
  residual_y: u32,
  residual_x: u32,
  // ACT_….
  act: u32,
  // 1 where it is given.
  has_bias: u32,
  has_residual: u32,
#ifdef STEPS
  // Steps of this kernel over the channels of a tap, and over all of k in one slice.
  chunks: u32,
  steps: u32,
#endif
#ifdef TAPS
  // H, W.
  height: u32,
  width: u32,
  kernel_height: u32,
  kernel_width: u32,
  stride_y: u32,
  stride_x: u32,
  // Zeros above and to the left.
  top: i32,
  left: i32,
  dilation_y: u32,
  dilation_x: u32,
#endif
#ifdef STATS
  stats_start: u32,
  stats_units: u32,
#endif
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(2) var<storage, read> w: array<Weight4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<Unit>;
#ifdef SPLIT
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(5) var<storage, read_write> y: array<Unit>;
#endif
#ifndef SPLIT
#import epilogue
#else
#import pixel
#endif
#ifdef STATS
@group(0) @binding(6) var<storage, read_write> stats: array<vec4<f32>>;
#endif
