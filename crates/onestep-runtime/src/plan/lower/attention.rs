//! Attention: in one pass over the keys, or, for wide heads, with stored scores.

use onestep_program::Node;
use onestep_shaders::{Flags, Kernel};

use super::super::{params::Params, variants::AttentionVariant};
use super::{
    layout::{BLOCK, View, block_strides, elements},
    lowering::Lowering,
    step::constant,
};
use crate::error::RunError;

/// The widest head for which scores are not stored. The one-pass register kernel recomputes the scores for every tile of features.
const MAX_ONE_PASS_WIDTH: usize = 192;

/// The fewest queries and the narrowest heads for workgroup tiles. With less, most of a tile would be empty.
const MIN_TILE_SIDE: usize = 32;

/// The kernel families with workgroup tiles, by increasing head width.
const TILE_FAMILIES: [&str; 4] = ["attention_tile_40", "attention_tile_64", "attention_tile_80", "attention_tile_160"];

impl Lowering<'_> {
    pub(super) fn attention(&mut self, node: &Node, scale: f32, causal: bool) -> Result<(), RunError> {
        let (q, k, v) = (self.input(node, 0)?, self.input(node, 1)?, self.input(node, 2)?);
        let (qs, ks, vs) = (self.shape(q), self.shape(k), self.shape(v));
        let (batch, heads, queries, depth, keys, features) = (qs[0], qs[1], qs[2], qs[3], ks[2], vs[3]);
        let (q, k, v) = (self.blocked(q, 3)?, self.blocked(k, 3)?, self.blocked(v, 3)?);
        // Heads inside tokens, because the next operation joins the heads.
        let y = self.output(node, &[0, 2, 1, 3], &[&q, &k, &v])?;
        if elements(self.shape(node.output)) == 0 {
            return Ok(());
        }
        let score_bytes = (queries as u64).saturating_mul(keys.next_multiple_of(BLOCK) as u64).saturating_mul(self.block_bytes() / BLOCK as u64);
        let stored = score_bytes <= self.options.stored_scores.min(self.capabilities.max_storage_binding);
        if stored && !causal && keys > 0 && depth.max(features) > MAX_ONE_PASS_WIDTH {
            for head in 0..batch * heads {
                let start = [head / heads, head % heads, 0, 0];
                let matrix = |view: &View, shape: &[usize]| {
                    let part = view.part(shape, &start, &[1, 1, shape[2], shape[3]]);
                    View { block_axis: Some(1), strides: part.strides[2..].to_vec(), ..part }
                };
                let (q, k, v, y) = (matrix(&q, qs), matrix(&k, ks), matrix(&v, vs), matrix(&y, self.shape(node.output)));
                self.attention_with_stored_scores(&[queries, keys, depth, features], scale, [&q, &k, &v, &y])?;
            }
            return Ok(());
        }
        let tile = self.attention_tile(queries, depth, features)?;
        let kernel = match tile {
            Some(kernel) => kernel,
            None => self.kernel("attention", Flags::NONE)?,
        };
        let query_tiles = queries.div_ceil(constant(kernel, "QUERIES")?);
        let mut params = Params::new(kernel);
        for (name, value) in [
            ("query_tiles", query_tiles),
            ("heads", heads),
            ("queries", queries),
            ("keys", keys),
            ("depth_blocks", depth.div_ceil(BLOCK)),
            ("feature_blocks", features.div_ceil(BLOCK)),
        ] {
            params.set(name, value);
        }
        params.flag("causal", causal);
        params.float("scale", scale);
        for (name, view) in [("q", &q), ("k", &k), ("v", &v), ("y", &y)] {
            params.set(&format!("{name}_start"), view.start / BLOCK);
            for (axis, stride) in ["n", "head", "token"].into_iter().zip(block_strides(view, &[0, 1, 2])) {
                params.set(&format!("{name}_{axis}"), stride);
            }
        }
        let bindings = vec![("q", q.resource), ("k", k.resource), ("v", v.resource), ("y", y.resource)];
        let tiles = batch * heads * query_tiles;
        if tile.is_some() {
            params.set("count", tiles);
            self.dispatch(kernel, params, bindings, tiles);
            return Ok(());
        }
        let feature_tiles = features.div_ceil(BLOCK).div_ceil(constant(kernel, "FEATURES")?);
        params.set("feature_tiles", feature_tiles);
        self.dispatch_invocations(kernel, params, bindings, tiles * feature_tiles);
        Ok(())
    }

    /// The kernel with the narrowest workgroup tile that holds a head; none if tiles would be mostly empty or are slow on the adapter.
    fn attention_tile(&self, queries: usize, depth: usize, features: usize) -> Result<Option<&'static Kernel>, RunError> {
        if self.capabilities.variants.attention != AttentionVariant::Tile || queries.min(depth).min(features) < MIN_TILE_SIDE {
            return Ok(None);
        }
        for family in TILE_FAMILIES {
            let kernel = self.kernel(family, Flags::NONE)?;
            if depth.max(features) <= constant(kernel, "FEATURE_BLOCKS")? * BLOCK {
                return Ok(Some(kernel));
            }
        }
        Ok(None)
    }

    /// Attention of one head as matrix products: scores, their softmax, and the weighted values.
    fn attention_with_stored_scores(
        &mut self,
        &[queries, keys, depth, features]: &[usize; 4],
        scale: f32,
        [q, k, v, y]: [&View; 4],
    ) -> Result<(), RunError> {
        let scaled = self.allocate_blocked(&[queries, depth], 1)?;
        self.apply_unary(&[queries, depth], 1, "AFFINE", [scale, 0.0], q, &scaled)?;
        let scores = self.allocate_blocked(&[queries, keys], 1)?;
        self.matrix_product([queries, keys, depth], &scaled, k, &scores)?;
        let weights = self.allocate_blocked(&[queries, keys], 1)?;
        self.softmax_rows(&[queries, keys], 1, &scores, &weights)?;
        self.matrix_product([queries, features, keys], &weights, &v.permuted(&[1, 0]), y)
    }
}
