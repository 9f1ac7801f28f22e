// Convolution with any stride, padding, dilation and groups; one pixel of four channels per invocation.
//
// y[n, co, oy, ox] = act(bias[co] + Σ_{ci, ky, kx} x[n, g·Cg + ci, oy·stride_y + ky·dilation_y - top, ox·stride_x + kx·dilation_x - left]
//                    · w[co, ci, ky, kx]) + residual[n, co, oy, ox], with g the group of co and zeros outside x.
//
// x: units of channels, with strides between n, rows and pixels, in elements; w: f32 or f16 [Cout, Cg, Kh, Kw]; bias: f32 [Cout];
// residual: units of channels, strides in units; y: units, dense [N, Ho, Wo, Cout].
// Grid: one invocation per unit of y, whose padding becomes zero. Sums run over ci, then ky, then kx.
// In bounds: taps outside x are not read; bias and residual are read only where they are flagged.
#import grid
#import unit
#import activation

struct Params {
  // Units of y.
  count: u32,
  // Units of Cout.
  units: u32,
  // Cg, channels of a group of x.
  group_channels: u32,
  // Cout.
  out_channels: u32,
  // Cout / groups.
  group_out_channels: u32,
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
  x_start: u32,
  x_n: u32,
  x_y: u32,
  x_x: u32,
  residual_start: u32,
  residual_n: u32,
  residual_y: u32,
  residual_x: u32,
  // ACT_….
  act: u32,
  // 1 where it is given.
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(2) var<storage, read> w: array<Weight>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<Unit>;
@group(0) @binding(5) var<storage, read_write> y: array<Unit>;

#import weight

// One channel of one pixel, with its bias.
fn channel(n: u32, y0: i32, x0: i32, co: u32) -> f32 {
  let first = p.x_start + n * p.x_n + (co / p.group_out_channels) * p.group_channels;
  var sum = 0.0;
  var tap = co * p.group_channels * p.kernel_height * p.kernel_width;
  for (var ci = 0u; ci < p.group_channels; ci++) {
    for (var ky = 0u; ky < p.kernel_height; ky++) {
      let iy = y0 + i32(ky * p.dilation_y);
      for (var kx = 0u; kx < p.kernel_width; kx++) {
        let ix = x0 + i32(kx * p.dilation_x);
        if (iy >= 0 && iy < i32(p.height) && ix >= 0 && ix < i32(p.width)) {
          let at = first + ci + u32(iy) * p.x_y + u32(ix) * p.x_x;
          sum = fma(up(x[at / 4u])[at % 4u], weight(tap), sum);
        }
        tap++;
      }
    }
  }
  if (p.has_bias != 0u) {
    sum += bias[co];
  }
  return sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let unit = i % p.units;
  let pixel = i / p.units;
  let ox = pixel % p.out_width;
  let oy = (pixel / p.out_width) % p.out_height;
  let n = pixel / (p.out_width * p.out_height);
  let y0 = i32(oy * p.stride_y) - i32(p.top);
  let x0 = i32(ox * p.stride_x) - i32(p.left);
  var sums = vec4<f32>();
  for (var l = 0u; l < 4u; l++) {
    if (unit * 4u + l < p.out_channels) {
      sums[l] = channel(n, y0, x0, unit * 4u + l);
    }
  }
  sums = activate4(p.act, sums);
  if (p.has_residual != 0u) {
    sums += up(residual[p.residual_start + n * p.residual_n + oy * p.residual_y + ox * p.residual_x + unit]);
  }
  y[i] = down(sums);
}
