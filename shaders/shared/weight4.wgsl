// Four neighbouring weights, stored as f32 or f16 (WEIGHT_F16).

#ifdef WEIGHT_F16
alias Weight4 = vec2<u32>;

fn unpack_weight4(packed: Weight4) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
#else
alias Weight4 = vec4<f32>;

fn unpack_weight4(values: Weight4) -> vec4<f32> {
  return values;
}
#endif
