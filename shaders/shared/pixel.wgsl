// Rows of a matrix as pixels of pictures. The importing kernel declares `p` with `out_height` and `out_width`.

// The pixel of a row: n, oy, ox.
fn pixel_of(row: u32) -> vec3<u32> {
  let line = row / p.out_width;
  return vec3<u32>(line / p.out_height, line % p.out_height, row % p.out_width);
}
