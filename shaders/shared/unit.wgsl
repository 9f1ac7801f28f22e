// Activations in memory: units of four neighbours along a tensor's innermost axis, which is padded to whole units with zeros.
// UNIT_F16: each in 16 bits, two to a word.

#ifdef UNIT_F16
alias Unit = vec2<u32>;

fn up(unit: Unit) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(unit.x), unpack2x16float(unit.y));
}

// What is beyond 16 bits becomes their largest number: packing it would give an indeterminate value.
fn down(values: vec4<f32>) -> Unit {
  let v = clamp(values, vec4<f32>(-65504.0), vec4<f32>(65504.0));
  return vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}
#else
alias Unit = vec4<f32>;

fn up(unit: Unit) -> vec4<f32> {
  return unit;
}

fn down(values: vec4<f32>) -> Unit {
  return values;
}
#endif

// Ones for the lanes of unit `unit` that hold elements of an axis of that length, zeros for its padding.
fn lanes_inside(unit: u32, length: u32) -> vec4<f32> {
  let first = unit * 4u;
  return vec4<f32>(
    select(0.0, 1.0, first < length),
    select(0.0, 1.0, first + 1u < length),
    select(0.0, 1.0, first + 2u < length),
    select(0.0, 1.0, first + 3u < length),
  );
}
