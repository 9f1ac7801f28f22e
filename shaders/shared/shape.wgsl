// Shapes and strides of up to eight dims, packed into two vec4.

// The component of a dim.
fn component(values: array<vec4<u32>, 2>, dim: u32) -> u32 {
  let half = select(values[0], values[1], dim >= 4u);
  return half[dim % 4u];
}

// The offset of a flat index into `shape`, last dim fastest, under the given strides.
fn strided_offset(index: u32, rank: u32, shape: array<vec4<u32>, 2>, strides: array<vec4<u32>, 2>) -> u32 {
  var rest = index;
  var offset = 0u;
  for (var step = 0u; step < rank; step++) {
    let dim = rank - 1u - step;
    let size = component(shape, dim);
    offset += (rest % size) * component(strides, dim);
    rest /= size;
  }
  return offset;
}
