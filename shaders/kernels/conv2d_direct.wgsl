// Convolution with any stride, padding, dilation and groups; each invocation computes one pixel of four channels.
//
// y[n, co, oy, ox] = act(bias[co] + Σ_{ci, ky, kx} x[n, g·Cg + ci, iy, ix] · w[co, ci, ky, kx]) + residual[n, co, oy, ox],
// with iy = oy·stride_y + ky·dilation_y - pad_top and ix = ox·stride_x + kx·dilation_x - pad_left, where g is the group of co and x is zero
// outside the image.
//
// x: blocks of channels, strides between n, rows and pixels in elements; w: f32 or f16 [Cout, Cg, Kh, Kw]; bias: f32 [Cout];
// residual: blocks of channels, strides in blocks; y: blocks, dense [N, Ho, Wo, Cout].
// Grid: one invocation per block of y. The padding of y is set to zero. Sums run over ci, then ky, then kx.
// In bounds: taps outside x are skipped; bias and residual are read only if flagged.
#import grid
#import block
#import activation

struct Params {
  // Blocks of y.
  count: u32,
  // Blocks of Cout.
  blocks: u32,
  // Cg: channels of x in a group.
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
  pad_top: u32,
  pad_left: u32,
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
  // 1 if the tensor is given.
  has_bias: u32,
  has_residual: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Block>;
@group(0) @binding(2) var<storage, read> w: array<Weight>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<Block>;
@group(0) @binding(5) var<storage, read_write> y: array<Block>;

#import weight

// The sum of one output channel at one pixel, with its bias.
fn channel(n: u32, y0: i32, x0: i32, co: u32) -> f32 {
  let base = p.x_start + n * p.x_n + (co / p.group_out_channels) * p.group_channels;
  var sum = 0.0;
  var weight_index = co * p.group_channels * p.kernel_height * p.kernel_width;
  for (var ci = 0u; ci < p.group_channels; ci++) {
    for (var ky = 0u; ky < p.kernel_height; ky++) {
      let iy = y0 + i32(ky * p.dilation_y);
      for (var kx = 0u; kx < p.kernel_width; kx++) {
        let ix = x0 + i32(kx * p.dilation_x);
        if (iy >= 0 && iy < i32(p.height) && ix >= 0 && ix < i32(p.width)) {
          let index = base + ci + u32(iy) * p.x_y + u32(ix) * p.x_x;
          sum = fma(unpack_block(x[index / 4u])[index % 4u], load_weight(weight_index), sum);
        }
        weight_index++;
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
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let block = i % p.blocks;
  let pixel = i / p.blocks;
  let ox = pixel % p.out_width;
  let oy = (pixel / p.out_width) % p.out_height;
  let n = pixel / (p.out_width * p.out_height);
  let y0 = i32(oy * p.stride_y) - i32(p.pad_top);
  let x0 = i32(ox * p.stride_x) - i32(p.pad_left);
  var sums = vec4<f32>();
  for (var l = 0u; l < 4u; l++) {
    if (block * 4u + l < p.out_channels) {
      sums[l] = channel(n, y0, x0, block * 4u + l);
    }
  }
  sums = activate4(p.act, sums);
  if (p.has_residual != 0u) {
    sums += unpack_block(residual[p.residual_start + n * p.residual_n + oy * p.residual_y + ox * p.residual_x + block]);
  }
  y[i] = pack_block(sums);
}
