// The end of a 64-column tile: stores the sums of its 128 invocations, each of which holds THREAD_ROWS rows of BLOCKS column blocks, LANES blocks
// apart.
//
// STATS: also leaves the statistics that a group norm of the stored values needs, as channel_stats would compute them, per chunk of STATS_ROWS
// rows: stats[chunk, 0, block] = mean, stats[chunk, 1, block] = Σ (y - mean)². Chunks begin at `stats_start`; each vector of stats has
// `stats_blocks` blocks. The partial results of the invocations are combined by their counts, in the order of the rows.
//
// The importing kernel declares `p`, the tensors of shared/epilogue.wgsl, COLUMNS, LANES, THREAD_ROWS, and `a_tile` with four blocks for each
// invocation.
#ifdef STATS
#import group_norm

// Rows of a chunk of statistics.
const STATS_ROWS = 64u;
#endif

// How many of THREAD_ROWS rows from `first` on exist.
fn valid_rows(first: u32) -> f32 {
  return f32(min(max(p.rows, first) - first, THREAD_ROWS));
}

// Stores the sums of an invocation of the tile that starts at (row, column). Call it in workgroup-uniform control flow.
fn store_tile(local: u32, row: u32, column: u32, results: array<vec4<f32>, THREAD_ROWS * {BLOCKS}u>) {
  var sums = results;
  let row_group = local / LANES;
  let first = row + row_group * THREAD_ROWS;
#ifndef STATS
#ifndef TAPS
  if (p.act == ACT_GEGLU) {
    // Neighbouring invocations hold values and gates: each passes the other half of its rows, and stores the other half.
    let is_gate = local % 2u == 1u;
    let stored_half = select(0u, 4u, is_gate);
#for j {BLOCKS}
    for (var i = 0u; i < 4u; i++) {
      a_tile[local * 4u + i] = sums[(4u - stored_half + i) * {BLOCKS}u + {j}u];
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
      let block = column + local % LANES + {j}u * LANES;
      let local_sum = sums[(stored_half + i) * {BLOCKS}u + {j}u];
      let neighbour_sum = a_tile[(local ^ 1u) * 4u + i];
      if (first + stored_half + i < p.rows && block < p.column_blocks) {
        store_gated(pixel_of(first + stored_half + i), block / 2u, select(local_sum, neighbour_sum, is_gate), select(neighbour_sum, local_sum, is_gate));
      }
    }
    workgroupBarrier();
#end
    return;
  }
#endif
#endif
#for j {BLOCKS}
  let block{j} = column + local % LANES + {j}u * LANES;
  if (block{j} < p.column_blocks) {
#ifdef STATS
    var values = array<vec4<f32>, THREAD_ROWS>();
    var sum = vec4<f32>();
    for (var i = 0u; i < THREAD_ROWS; i++) {
      if (first + i < p.rows) {
        values[i] = store(pixel_of(first + i), block{j}, sums[i * {BLOCKS}u + {j}u]);
        sum += values[i];
      }
    }
    let mean = sum / max(valid_rows(first), 1.0);
    var squares = vec4<f32>();
    for (var i = 0u; i < THREAD_ROWS; i++) {
      if (first + i < p.rows) {
        let difference = values[i] - mean;
        squares = fma(difference, difference, squares);
      }
    }
    a_tile[local * 4u + {j}u * 2u] = mean;
    a_tile[local * 4u + {j}u * 2u + 1u] = squares;
#else
    for (var i = 0u; i < THREAD_ROWS; i++) {
      if (first + i < p.rows) {
        store(pixel_of(first + i), block{j}, sums[i * {BLOCKS}u + {j}u]);
      }
    }
#endif
  }
#end
#ifdef STATS
  workgroupBarrier();
  // The first row group of each chunk combines the statistics of the eight row groups of the chunk.
  if (row_group % 8u != 0u || first >= p.rows) {
    return;
  }
  let chunk = p.stats_start + first / STATS_ROWS * STAT_VECTORS * p.stats_blocks;
#for j {BLOCKS}
  if (block{j} < p.column_blocks) {
    var sum = vec4<f32>();
    for (var e = 0u; e < 8u; e++) {
      sum = fma(a_tile[(local + e * LANES) * 4u + {j}u * 2u], vec4<f32>(valid_rows(first + e * THREAD_ROWS)), sum);
    }
    let mean = sum / f32(min(p.rows - first, STATS_ROWS));
    var squares = vec4<f32>();
    for (var e = 0u; e < 8u; e++) {
      let index = (local + e * LANES) * 4u + {j}u * 2u;
      let difference = a_tile[index] - mean;
      squares += fma(difference * difference, vec4<f32>(valid_rows(first + e * THREAD_ROWS)), a_tile[index + 1u]);
    }
    stats[chunk + block{j}] = mean;
    stats[chunk + p.stats_blocks + block{j}] = squares;
  }
#end
#endif
}
