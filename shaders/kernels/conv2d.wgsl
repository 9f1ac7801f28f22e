// Convolution with any stride, padding, dilation and groups; one output per invocation.
//
// y[n, co, oy, ox] = act(bias[co] + Σ_{ci, ky, kx} x[n, g·Cg + ci, oy·stride_y + ky·dilation_y - top, ox·stride_x + kx·dilation_x - left]
//                    · w[co, ci, ky, kx]) + residual[n, co, oy, ox], with g the group of co and zeros outside x.
//
// x: f32 [N, Cin, H, W], w: f32 or f16 [Cout, Cg, Kh, Kw], bias: f32 [Cout], residual, y: f32 [N, Cout, Ho, Wo].
// Grid: one invocation per element of y. Sums run over ci, then ky, then kx.
// In bounds: taps outside x are not read; bias and residual are read only where they are flagged.
#import grid
#import activation

struct Params {
  // N·Cout·Ho·Wo.
  count: u32,
  // Cin.
  in_channels: u32,
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
  // ACT_….
  act: u32,
  // 1 where it is given.
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<Weight>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

#import weight

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let ox = i % p.out_width;
  let oy = (i / p.out_width) % p.out_height;
  let plane = i / (p.out_width * p.out_height);
  let co = plane % p.out_channels;
  let n = plane / p.out_channels;
  let first_channel = n * p.in_channels + (co / p.group_out_channels) * p.group_channels;
  let y0 = i32(oy * p.stride_y) - i32(p.top);
  let x0 = i32(ox * p.stride_x) - i32(p.left);
  var sum = 0.0;
  var tap = co * p.group_channels * p.kernel_height * p.kernel_width;
  for (var ci = 0u; ci < p.group_channels; ci++) {
    for (var ky = 0u; ky < p.kernel_height; ky++) {
      let iy = y0 + i32(ky * p.dilation_y);
      for (var kx = 0u; kx < p.kernel_width; kx++) {
        let ix = x0 + i32(kx * p.dilation_x);
        if (iy >= 0 && iy < i32(p.height) && ix >= 0 && ix < i32(p.width)) {
          sum = fma(x[((first_channel + ci) * p.height + u32(iy)) * p.width + u32(ix)], weight(tap), sum);
        }
        tap++;
      }
    }
  }
  if (p.has_bias != 0u) {
    sum += bias[co];
  }
  sum = activate(p.act, sum);
  if (p.has_residual != 0u) {
    sum += residual[i];
  }
  y[i] = sum;
}
