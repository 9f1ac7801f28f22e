// The uniform, buffers and epilogue of the matrix kernels: convolution without groups, linear layer, matrix product.
//
// y[m, d] = act(bias[d] + Σ_k x[m, k] · w[k, d]) + residual[m, d]. Row m is the pixel (n, oy, ox) of an output [N, Ho, Wo, D].
// TAPS: k runs over the taps of a convolution kernel and its input channels. Without it, k runs over the channels of pixel m.
//
// x, residual, y: blocks of channels, with strides between n, rows and pixels, so that each may be part of a wider tensor.
// w: f32 or f16, packed by the planner as [D / panel][taps · 4 · depth_blocks][panel], padded with zeros.
// bias: f32, padded to whole panels.
// ACT_GEGLU: column blocks of values and of gates alternate; y has half the columns, values · gelu(gates), and no residual.
// Starts, strides and panel_blocks are in blocks of four channels.
#import block
#import activation
#import weight4

struct Params {
  // Rows: N · Ho · Wo; at least 1.
  rows: u32,
  // Tiles of rows.
  row_tiles: u32,
  // Tiles in all.
  count: u32,
  // Blocks of D.
  column_blocks: u32,
  // Blocks of the input channels.
  depth_blocks: u32,
  // Blocks of D in a panel of w.
  panel_blocks: u32,
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
  // 1 if the tensor is given.
  has_bias: u32,
  has_residual: u32,
#ifdef STEPS
  // Steps of DEPTH blocks over the channels of a tap, and over all of k in one slice.
  depth_steps: u32,
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
  // Rows of zeros above x, columns of zeros to the left.
  pad_top: i32,
  pad_left: i32,
  dilation_y: u32,
  dilation_x: u32,
#endif
#ifdef STATS
  stats_start: u32,
  stats_blocks: u32,
#endif
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read> w: array<Weight4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<Block>;
#ifdef SPLIT
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(5) var<storage, read_write> y: array<Block>;
#endif
#ifndef SPLIT
#import epilogue
#else
#import pixel
#endif
#ifdef STATS
@group(0) @binding(6) var<storage, read_write> stats: array<vec4<f32>>;
#endif
