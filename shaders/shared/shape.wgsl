// Shapes and strides of up to eight axes, as two vec4.

// The entry of an axis.
fn along(list: array<vec4<u32>, 2>, axis: u32) -> u32 {
  let part = select(list[0], list[1], axis >= 4u);
  return part[axis % 4u];
}
