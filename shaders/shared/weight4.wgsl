// Four neighbouring weights, stored in 32 or in 16 bits each.

#ifdef WEIGHT_F16
alias Weight4 = vec2<u32>;

fn widen(packed: Weight4) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
#else
alias Weight4 = vec4<f32>;

fn widen(values: Weight4) -> vec4<f32> {
  return values;
}
#endif
