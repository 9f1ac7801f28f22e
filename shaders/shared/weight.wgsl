// Weights by row-major index, stored as f32 or f16 (WEIGHT_F16). The importing kernel declares `w`: array<Weight>.

#ifdef WEIGHT_F16
alias Weight = u32;

fn load_weight(index: u32) -> f32 {
  return unpack2x16float(w[index / 2u])[index % 2u];
}
#else
alias Weight = f32;

fn load_weight(index: u32) -> f32 {
  return w[index];
}
#endif
