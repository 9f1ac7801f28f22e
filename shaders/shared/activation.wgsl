// Activation functions that other kernels apply to their results. Each maps zero to zero, so the padding of a block stays zero.
#import math

const ACT_NONE = 0u;
const ACT_RELU = 1u;
const ACT_SILU = 2u;
const ACT_GELU = 3u;
const ACT_QUICK_GELU = 4u;
// A gated sum, from two columns: a · gelu(b).
const ACT_GEGLU = 5u;

// `kind` is an ACT_… constant. It comes from a uniform, so all invocations take the same branch.
fn activate(kind: u32, x: f32) -> f32 {
  switch kind {
    case ACT_RELU: { return max(x, 0.0); }
    case ACT_SILU: { return silu(x); }
    case ACT_GELU: { return gelu(x); }
    case ACT_QUICK_GELU: { return quick_gelu(x); }
    default: { return x; }
  }
}

fn activate4(kind: u32, x: vec4<f32>) -> vec4<f32> {
  if (kind == ACT_NONE) {
    return x;
  }
  return vec4<f32>(activate(kind, x.x), activate(kind, x.y), activate(kind, x.z), activate(kind, x.w));
}
