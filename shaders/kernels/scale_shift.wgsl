// The last step of a group norm: y[n, pixel, c] = act((x[n, pixel, c] - mean[n, c]) · factor[n, c] + beta[n, c]).
//
// x, y: units of channels, strides between n, rows and pixels in units; scale: f32 units [N, 3, units], means, factors, betas.
// Grid: one invocation per unit of y.
#import grid
#import unit
#import activation

struct Params {
  // N · H · W · units.
  count: u32,
  units: u32,
  // H, W.
  height: u32,
  width: u32,
  x_start: u32,
  x_n: u32,
  x_y: u32,
  x_x: u32,
  y_start: u32,
  y_n: u32,
  y_y: u32,
  y_x: u32,
  // ACT_….
  act: u32,
  // Units before the first n that is computed here.
  scale_start: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = item(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let unit = i % p.units;
  let pixel = i / p.units;
  let column = pixel % p.width;
  let line = (pixel / p.width) % p.height;
  let n = pixel / (p.width * p.height);
  let v = up(x[p.x_start + n * p.x_n + line * p.x_y + column * p.x_x + unit]);
  let at = p.scale_start + n * 3u * p.units + unit;
  y[p.y_start + n * p.y_n + line * p.y_y + column * p.y_x + unit] = down(activate4(p.act, fma(v - scale[at], scale[at + p.units], scale[at + 2u * p.units])));
}
