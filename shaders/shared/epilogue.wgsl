// The epilogue of the matrix kernels: act(sum + bias) + residual. The importing kernel declares `p`, `bias`, `residual` and `y` as
// shared/gemm.wgsl does.
#import block
#import activation
#import pixel

// Applies the epilogue to the sums of column block `block` at a pixel (n, oy, ox) and stores the result. Returns the stored values, which
// may have been rounded to f16.
fn store(pixel: vec3<u32>, block: u32, sums: vec4<f32>) -> vec4<f32> {
  var value = sums;
  if (p.has_bias != 0u) {
    value += bias[block];
  }
  value = activate4(p.act, value);
  if (p.has_residual != 0u) {
    value += unpack_block(residual[p.residual_start + pixel.x * p.residual_n + pixel.y * p.residual_y + pixel.z * p.residual_x + block]);
  }
  let stored = pack_block(value);
  y[p.y_start + pixel.x * p.y_n + pixel.y * p.y_y + pixel.z * p.y_x + block] = stored;
  return unpack_block(stored);
}

// The epilogue of ACT_GEGLU for block `block` of y: values · gelu(gates). The bias holds all values first, then all gates.
fn store_gated(pixel: vec3<u32>, block: u32, values: vec4<f32>, gates: vec4<f32>) {
  var a = values;
  var b = gates;
  if (p.has_bias != 0u) {
    a += bias[block];
    b += bias[p.column_blocks / 2u + block];
  }
  y[p.y_start + pixel.x * p.y_n + pixel.y * p.y_y + pixel.z * p.y_x + block] = pack_block(a * activate4(ACT_GELU, b));
}
