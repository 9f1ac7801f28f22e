// What happens to a finished sum of the matrix kernel: act(sum + bias) + residual. The importing kernel declares `p`, `bias`, `residual` and
// `y`, as shared/gemm.wgsl does.
#import unit
#import activation
#import pixel

// Finishes and stores the sums of unit `unit` of the columns at a pixel; gives them as they are stored.
fn store(pixel: vec3<u32>, unit: u32, sums: vec4<f32>) -> vec4<f32> {
  var value = sums;
  if (p.has_bias != 0u) {
    value += bias[unit];
  }
  value = activate4(p.act, value);
  if (p.has_residual != 0u) {
    value += up(residual[p.residual_start + pixel.x * p.residual_n + pixel.y * p.residual_y + pixel.z * p.residual_x + unit]);
  }
  let stored = down(value);
  y[p.y_start + pixel.x * p.y_n + pixel.y * p.y_y + pixel.z * p.y_x + unit] = stored;
  return up(stored);
}

// With ACT_GEGLU: the same for unit `unit` of y, of the sums of its values and of its gates. The bias is that of all values, then of all gates.
fn store_gated(pixel: vec3<u32>, unit: u32, values: vec4<f32>, gates: vec4<f32>) {
  var a = values;
  var b = gates;
  if (p.has_bias != 0u) {
    a += bias[unit];
    b += bias[p.columns / 2u + unit];
  }
  y[p.y_start + pixel.x * p.y_n + pixel.y * p.y_y + pixel.z * p.y_x + unit] = down(a * activate4(ACT_GELU, b));
}
