// The pointwise functions at the end of other operations. All of them keep zero.
#import math

const ACT_NONE = 0u;
const ACT_RELU = 1u;
const ACT_SILU = 2u;
const ACT_GELU = 3u;
const ACT_QUICK_GELU = 4u;
// Of two sums, one of them a gate: a · gelu(b).
const ACT_GEGLU = 5u;

// `kind` comes from a uniform: the branch is the same for all.
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
