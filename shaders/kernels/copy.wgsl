// A strided copy between layouts: y[…, j] = x[…, j].
//
// x: blocks, or f32 elements with PLAIN_IN; y: blocks, or f32 elements with PLAIN_OUT.
// j is the innermost dim of y; `shape` holds the dims around it. Starts and strides of x are in elements; those of y are in blocks, or in
// elements with PLAIN_OUT. `x_inner`: elements of x between neighbours along j.
// Grid: one invocation per block of y that is written, or per element with PLAIN_OUT; j fastest.
// `shift`: the element of y's first block at which the copy starts. KEEP_BEFORE, KEEP_AFTER: elements of those blocks before or after the copied
// range keep their values; otherwise they are set to zero, as padding must be.
// `blockwise`: x is blocked along j too, and is read block by block.
#import grid
#import block
#import shape

const KEEP_BEFORE = 1u;
const KEEP_AFTER = 2u;

struct Params {
  // Invocations in all.
  count: u32,
  // Dims around j.
  rank: u32,
  // Invocations along j.
  blocks: u32,
  // Elements along j.
  length: u32,
  x_start: u32,
  x_inner: u32,
  y_start: u32,
  shift: u32,
  // KEEP_….
  keep_outside: u32,
  // 1: blockwise.
  blockwise: u32,
  shape: array<vec4<u32>, 2>,
  x_strides: array<vec4<u32>, 2>,
  y_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
#ifdef PLAIN_IN
@group(0) @binding(1) var<storage, read> x: array<f32>;

fn element(index: u32) -> f32 {
  return x[index];
}

fn block_at(index: u32) -> vec4<f32> {
  return vec4<f32>(x[index], x[index + 1u], x[index + 2u], x[index + 3u]);
}
#else
@group(0) @binding(1) var<storage, read> x: array<Block>;

fn element(index: u32) -> f32 {
  return unpack_block(x[index / 4u])[index % 4u];
}

fn block_at(index: u32) -> vec4<f32> {
  return unpack_block(x[index / 4u]);
}
#endif
#ifdef PLAIN_OUT
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<Block>;

// Element j of the copied range, which may lie outside it, in a block that held `old`.
fn lane(start: u32, j: i32, old: f32) -> f32 {
  let length = i32(p.length);
  let inside = j >= 0 && j < length;
  let keeps = (j < 0 && (p.keep_outside & KEEP_BEFORE) != 0u) || (j >= length && (p.keep_outside & KEEP_AFTER) != 0u);
  let value = element(start + u32(clamp(j, 0, length - 1)) * p.x_inner);
  return select(select(0.0, old, keeps), value, inside);
}
#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = flat_index(invocation, groups);
  if (i >= p.count) {
    return;
  }
  let inner = i % p.blocks;
  let outer = i / p.blocks;
  let source = p.x_start + strided_offset(outer, p.rank, p.shape, p.x_strides);
  let y_index = p.y_start + strided_offset(outer, p.rank, p.shape, p.y_strides) + inner;
#ifdef PLAIN_OUT
  y[y_index] = element(source + inner * p.x_inner);
#else
  if (p.blockwise != 0u) {
    y[y_index] = pack_block(select(vec4<f32>(), block_at(source + inner * 4u), valid_elements(inner, p.length) > vec4<f32>(0.5)));
    return;
  }
  let first = i32(inner * 4u) - i32(p.shift);
  var old = vec4<f32>();
  if (p.keep_outside != 0u) {
    old = unpack_block(y[y_index]);
  }
  y[y_index] = pack_block(vec4<f32>(
    lane(source, first, old.x),
    lane(source, first + 1, old.y),
    lane(source, first + 2, old.z),
    lane(source, first + 3, old.w),
  ));
#endif
}
