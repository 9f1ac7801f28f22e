// Activations in the blocked layout (NC/4HW4): blocks of four neighbours along one dim, which is padded with zeros to whole blocks.
// ACTIVATION_F16: elements are f16, two per u32; otherwise f32.

#ifdef ACTIVATION_F16
alias Block = vec2<u32>;

fn unpack_block(block: Block) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(block.x), unpack2x16float(block.y));
}

// Clamps to the range of f16, because packing a larger value gives an indeterminate result.
fn pack_block(values: vec4<f32>) -> Block {
  let v = clamp(values, vec4<f32>(-65504.0), vec4<f32>(65504.0));
  return vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}
#else
alias Block = vec4<f32>;

fn unpack_block(block: Block) -> vec4<f32> {
  return block;
}

fn pack_block(values: vec4<f32>) -> Block {
  return values;
}
#endif

// A mask of block `block` of a dim with `length` elements: one for elements, zero for padding.
fn valid_elements(block: u32, length: u32) -> vec4<f32> {
  let first = block * 4u;
  return vec4<f32>(
    select(0.0, 1.0, first < length),
    select(0.0, 1.0, first + 1u < length),
    select(0.0, 1.0, first + 2u < length),
    select(0.0, 1.0, first + 3u < length),
  );
}
