// Shapes and strides of up to eight axes, as two vec4.

// The entry of an axis.
fn along(list: array<vec4<u32>, 2>, axis: u32) -> u32 {
  let part = select(list[0], list[1], axis >= 4u);
  return part[axis % 4u];
}

// The place of an index that counts through `shape`, the last axis fastest.
fn place(index: u32, rank: u32, shape: array<vec4<u32>, 2>, strides: array<vec4<u32>, 2>) -> u32 {
  var rest = index;
  var at = 0u;
  for (var step = 0u; step < rank; step++) {
    let axis = rank - 1u - step;
    let length = along(shape, axis);
    at += (rest % length) * along(strides, axis);
    rest /= length;
  }
  return at;
}
