// Maps matrix rows to image pixels. The importing kernel declares `p` with `out_height` and `out_width`.

// The pixel (n, oy, ox) of a row.
fn pixel_of(row: u32) -> vec3<u32> {
  let line = row / p.out_width;
  return vec3<u32>(line / p.out_height, line % p.out_height, row % p.out_width);
}
