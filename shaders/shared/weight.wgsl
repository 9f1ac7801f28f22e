// A weight by its index in row-major order, stored in 32 or in 16 bits.
// The importing kernel declares `w`: array<Weight>.

#ifdef WEIGHT_F16
alias Weight = u32;

fn weight(index: u32) -> f32 {
  return unpack2x16float(w[index / 2u])[index % 2u];
}
#else
alias Weight = f32;

fn weight(index: u32) -> f32 {
  return w[index];
}
#endif
