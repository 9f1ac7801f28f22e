// Convolution without groups, in register tiles: an invocation computes PIXELS neighbouring pixels of a row in CHANNELS channels.
//
// y[n, co, oy, ox] = act(bias[co] + Σ_{ci, ky, kx} x[n, ci, oy·stride_y + ky·dilation_y - top, ox·stride_x + kx·dilation_x - left]
//                    · w[ci, ky, kx, co]) + residual[n, co, oy, ox], with zeros outside x.
//
// x: f32 [N, Cin, H, W], w: f32 or f16 [Cin, Kh, Kw, Cout rounded up to CHANNELS] (packed by the planner, zeros in the tail),
// bias: f32 [Cout], residual, y: f32 [N, Cout, Ho, Wo].
// Grid: one invocation per tile; tiles count columns first, then rows, then channels, then n. Neighbours share weights.
// Sums run over ci, then ky, then kx. UNIT_STRIDE: stride and dilation along x are 1, and a row's pixels move through registers.
// In bounds: taps outside x read element 0 and count as zero; pixels and channels in the tail are computed and not stored.
#import grid
#import activation
#import weight4

// Pixels of a tile.
const PIXELS = 8u;
// Channels of a tile.
const CHANNELS = 8u;

struct Params {
  // Tiles in all.
  count: u32,
  // Tiles of a row: Wo / PIXELS, rounded up.
  row_tiles: u32,
  // Tiles of the channels: Cout / CHANNELS, rounded up.
  channel_tiles: u32,
  // Cin.
  in_channels: u32,
  // Cout.
  out_channels: u32,
  // H, W.
  height: u32,
  width: u32,
  // Ho, Wo.
  out_height: u32,
  out_width: u32,
  // Kh, Kw.
  kernel_height: u32,
  kernel_width: u32,
  stride_y: u32,
  stride_x: u32,
  top: u32,
  left: u32,
  dilation_y: u32,
  dilation_x: u32,
  // ACT_….
  act: u32,
  // 1 where it is given.
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<Weight4>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// The pixel of a row that starts at `row`; zero outside.
fn pixel(row: u32, row_inside: bool, ix: i32) -> f32 {
  let inside = row_inside && ix >= 0 && ix < i32(p.width);
  return select(0.0, x[select(0u, row + u32(ix), inside)], inside);
}

// The epilogue of four channels of one pixel.
fn store_four(n: u32, co: u32, oy: u32, ox: u32, sums: vec4<f32>) {
  for (var c = 0u; c < 4u; c++) {
    if (co + c < p.out_channels) {
      let at = ((n * p.out_channels + co + c) * p.out_height + oy) * p.out_width + ox;
      var value = sums[c];
      if (p.has_bias != 0u) {
        value += bias[co + c];
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
  let ox = (tile % p.row_tiles) * PIXELS;
  let oy = (tile / p.row_tiles) % p.out_height;
  let channel_tile = (tile / (p.row_tiles * p.out_height)) % p.channel_tiles;
  let n = tile / (p.row_tiles * p.out_height * p.channel_tiles);
  let y0 = i32(oy * p.stride_y) - i32(p.top);
  let x0 = i32(ox * p.stride_x) - i32(p.left);
  // Weights in steps of four channels.
  let tap_step = p.channel_tiles * 2u;
  var tap = channel_tile * 2u;
  var low0 = vec4<f32>();
  var high0 = vec4<f32>();
  var low1 = vec4<f32>();
  var high1 = vec4<f32>();
  var low2 = vec4<f32>();
  var high2 = vec4<f32>();
  var low3 = vec4<f32>();
  var high3 = vec4<f32>();
  var low4 = vec4<f32>();
  var high4 = vec4<f32>();
  var low5 = vec4<f32>();
  var high5 = vec4<f32>();
  var low6 = vec4<f32>();
  var high6 = vec4<f32>();
  var low7 = vec4<f32>();
  var high7 = vec4<f32>();
  for (var ci = 0u; ci < p.in_channels; ci++) {
    let channel = (n * p.in_channels + ci) * p.height;
    for (var ky = 0u; ky < p.kernel_height; ky++) {
      let iy = y0 + i32(ky * p.dilation_y);
      let row_inside = iy >= 0 && iy < i32(p.height);
      let row = (channel + select(0u, u32(iy), row_inside)) * p.width;
#ifdef UNIT_STRIDE
      var v0 = pixel(row, row_inside, x0 + 0);
      var v1 = pixel(row, row_inside, x0 + 1);
      var v2 = pixel(row, row_inside, x0 + 2);
      var v3 = pixel(row, row_inside, x0 + 3);
      var v4 = pixel(row, row_inside, x0 + 4);
      var v5 = pixel(row, row_inside, x0 + 5);
      var v6 = pixel(row, row_inside, x0 + 6);
      var v7 = pixel(row, row_inside, x0 + 7);
#endif
      for (var kx = 0u; kx < p.kernel_width; kx++) {
#ifndef UNIT_STRIDE
        let ix = x0 + i32(kx * p.dilation_x);
        let stride = i32(p.stride_x);
        let v0 = pixel(row, row_inside, ix + 0 * stride);
        let v1 = pixel(row, row_inside, ix + 1 * stride);
        let v2 = pixel(row, row_inside, ix + 2 * stride);
        let v3 = pixel(row, row_inside, ix + 3 * stride);
        let v4 = pixel(row, row_inside, ix + 4 * stride);
        let v5 = pixel(row, row_inside, ix + 5 * stride);
        let v6 = pixel(row, row_inside, ix + 6 * stride);
        let v7 = pixel(row, row_inside, ix + 7 * stride);
#endif
        let w_low = widen(w[tap]);
        let w_high = widen(w[tap + 1u]);
        tap += tap_step;
        low0 = fma(vec4<f32>(v0), w_low, low0);
        high0 = fma(vec4<f32>(v0), w_high, high0);
        low1 = fma(vec4<f32>(v1), w_low, low1);
        high1 = fma(vec4<f32>(v1), w_high, high1);
        low2 = fma(vec4<f32>(v2), w_low, low2);
        high2 = fma(vec4<f32>(v2), w_high, high2);
        low3 = fma(vec4<f32>(v3), w_low, low3);
        high3 = fma(vec4<f32>(v3), w_high, high3);
        low4 = fma(vec4<f32>(v4), w_low, low4);
        high4 = fma(vec4<f32>(v4), w_high, high4);
        low5 = fma(vec4<f32>(v5), w_low, low5);
        high5 = fma(vec4<f32>(v5), w_high, high5);
        low6 = fma(vec4<f32>(v6), w_low, low6);
        high6 = fma(vec4<f32>(v6), w_high, high6);
        low7 = fma(vec4<f32>(v7), w_low, low7);
        high7 = fma(vec4<f32>(v7), w_high, high7);
#ifdef UNIT_STRIDE
        v0 = v1;
        v1 = v2;
        v2 = v3;
        v3 = v4;
        v4 = v5;
        v5 = v6;
        v6 = v7;
        v7 = pixel(row, row_inside, x0 + i32(kx) + 8);
#endif
      }
    }
  }
  let co = channel_tile * CHANNELS;
  // The epilogue once in the text, and not once for every output: what an adapter compiles is what users wait for.
  var sums = array<vec4<f32>, 16>(
    low0, high0, low1, high1, low2, high2, low3, high3,
    low4, high4, low5, high5, low6, high6, low7, high7,
  );
  for (var i = 0u; i < 16u; i++) {
    if (ox + i / 2u < p.out_width) {
      store_four(n, co + (i % 2u) * 4u, oy, ox + i / 2u, sums[i]);
    }
  }
}
