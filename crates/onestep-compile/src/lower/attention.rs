//! Lowers attention, which burn captures as one operation, with masks that programs may not support.

use burn::backend::ir::{AttentionOpIr, OperationIr};
use onestep_program::{BinaryKind, Op, UnaryKind};

use super::{Lowering, refuse, scalar};
use crate::error::CompileError;

impl Lowering {
    pub(super) fn attention(&mut self, op: &AttentionOpIr, operation: &OperationIr) -> Result<bool, CompileError> {
        let [_, _, queries, depth] = op.query.shape.dims::<4>();
        let [batch, heads, keys, _] = op.key.shape.dims::<4>();
        if op.query.shape[..2] != [batch, heads] {
            return Err(refuse(operation, "uses the same keys for several heads"));
        }
        let scale = match &op.options.scale {
            Some(scale) => scalar(scale, operation)?,
            None => (1.0 / (depth as f64).sqrt()) as f32,
        };
        let (q, k, v) = (self.operand(&op.query, operation)?, self.operand(&op.key, operation)?, self.operand(&op.value, operation)?);
        // burn aligns its causal mask at the last query and key, programs at the first.
        let causal = op.options.is_causal;
        let plain = op.mask.is_none() && op.attn_bias.is_none() && op.options.softcap.is_none() && (!causal || queries == keys);
        if plain {
            let value = self.graph.emit(Op::Attention { scale, causal }, vec![q, k, v], op.out.shape.to_vec());
            return self.define(&op.out, value, operation);
        }
        let turned = [batch, heads, depth, keys];
        let k = self.graph.emit(Op::Permute { axes: vec![0, 1, 3, 2] }, vec![k], turned.to_vec());
        let scores = self.mat_mul(q, k, operation)?;
        let mut scores = self.affine(scores, scale, 0.0);
        if let Some(cap) = &op.options.softcap {
            let cap = scalar(cap, operation)?;
            let inside = self.affine(scores, 1.0 / cap, 0.0);
            let inside = self.unary(inside, UnaryKind::Tanh);
            scores = self.affine(inside, cap, 0.0);
        }
        if let Some(mask) = &op.mask {
            let hidden = self.mask(mask, operation)?;
            scores = self.fill(scores, &hidden, f32::NEG_INFINITY, &mask.shape, operation)?;
        }
        if causal {
            let hidden: Vec<bool> = (0..queries).flat_map(|query| (0..keys).map(move |key| key + queries > query + keys)).collect();
            scores = self.fill(scores, &hidden, f32::NEG_INFINITY, &[1, 1, queries, keys], operation)?;
        }
        if let Some(bias) = &op.attn_bias {
            let bias = self.operand(bias, operation)?;
            scores = self.binary(scores, bias, BinaryKind::Add, operation)?;
        }
        let shape = self.graph.shape(scores).to_vec();
        let weights = self.graph.emit(Op::Softmax { axis: 3 }, vec![scores], shape);
        let value = self.mat_mul(weights, v, operation)?;
        self.define(&op.out, value, operation)
    }
}
