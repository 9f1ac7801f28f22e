// The end of a tile of 64 columns, of which an invocation holds eight rows of UNITS units, each LANES from the last: stores it.
//
// STATS: a group norm reads what is stored, and its statistics are left as channel_stats would compute them of that:
// stats[chunk, 0, unit] = mean of 64 rows, stats[chunk, 1, unit] = Σ (y - that mean)², from `stats_start` on, `stats_units` units apart.
// What the invocations find is joined by their counts, in the order of the rows.
//
// The importing kernel is shared/gemm.wgsl or declares the same of `p`, shared/epilogue.wgsl's tensors, and `a_tile` for four units of each of
// 128 invocations.

// Invocations side by side.
const LANES = 16u / {UNITS}u;

// How many of eight rows exist.
fn known_rows(first: u32) -> f32 {
  return f32(min(max(p.rows, first) - first, 8u));
}

// Stores the sums of an invocation of the tile that starts there. Workgroup-uniform control flow only.
fn finish(local: u32, row: u32, column: u32, given: array<vec4<f32>, {SUMS}>) {
  var sums = given;
  let eight = local / LANES;
  let first = row + eight * 8u;
#ifndef STATS
#ifndef TAPS
  if (p.act == ACT_GEGLU) {
    // Neighbours hold values and gates: each gives the other what it wants of four of its rows.
    let gates = local % 2u == 1u;
    let own = select(0u, 4u, gates);
#for j {UNITS}
    for (var i = 0u; i < 4u; i++) {
      a_tile[local * 4u + i] = sums[(4u - own + i) * {UNITS}u + {j}u];
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
      let unit = column + local % LANES + {j}u * LANES;
      let mine = sums[(own + i) * {UNITS}u + {j}u];
      let other = a_tile[(local ^ 1u) * 4u + i];
      if (first + own + i < p.rows && unit < p.columns) {
        store_gated(pixel_of(first + own + i), unit / 2u, select(mine, other, gates), select(other, mine, gates));
      }
    }
    workgroupBarrier();
#end
    return;
  }
#endif
#endif
#for j {UNITS}
  let unit{j} = column + local % LANES + {j}u * LANES;
  if (unit{j} < p.columns) {
#ifdef STATS
    var values = array<vec4<f32>, 8>();
    var sum = vec4<f32>();
    for (var i = 0u; i < 8u; i++) {
      if (first + i < p.rows) {
        values[i] = store(pixel_of(first + i), unit{j}, sums[i * {UNITS}u + {j}u]);
        sum += values[i];
      }
    }
    let mean = sum / max(known_rows(first), 1.0);
    var squares = vec4<f32>();
    for (var i = 0u; i < 8u; i++) {
      if (first + i < p.rows) {
        let difference = values[i] - mean;
        squares = fma(difference, difference, squares);
      }
    }
    a_tile[local * 4u + {j}u * 2u] = mean;
    a_tile[local * 4u + {j}u * 2u + 1u] = squares;
#else
    for (var i = 0u; i < 8u; i++) {
      if (first + i < p.rows) {
        store(pixel_of(first + i), unit{j}, sums[i * {UNITS}u + {j}u]);
      }
    }
#endif
  }
#end
#ifdef STATS
  workgroupBarrier();
  if (eight % 8u != 0u || first >= p.rows) {
    return;
  }
  let chunk = p.stats_start + first / 64u * 2u * p.stats_units;
#for j {UNITS}
  if (unit{j} < p.columns) {
    var sum = vec4<f32>();
    for (var e = 0u; e < 8u; e++) {
      sum = fma(a_tile[(local + e * LANES) * 4u + {j}u * 2u], vec4<f32>(known_rows(first + e * 8u)), sum);
    }
    let mean = sum / f32(min(p.rows - first, 64u));
    var squares = vec4<f32>();
    for (var e = 0u; e < 8u; e++) {
      let at = (local + e * LANES) * 4u + {j}u * 2u;
      let difference = a_tile[at] - mean;
      squares += fma(difference * difference, vec4<f32>(known_rows(first + e * 8u)), a_tile[at + 1u]);
    }
    stats[chunk + unit{j}] = mean;
    stats[chunk + p.stats_units + unit{j}] = squares;
  }
#end
#endif
}
