//! What follows the sums of a product: act(sum + bias) + residual.

use onestep_program::{Activation, Node, ValueId};

use super::super::{
    layout::{View, dim_order},
    lowering::Lowering,
};
use crate::error::RunError;

/// The epilogue of a convolution or linear layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epilogue {
    /// A bias that the kernel adds: a weight, because the planner packs it.
    pub(super) bias: Option<ValueId>,
    pub(super) act: Activation,
    pub(super) residual: Option<ValueId>,
    /// A computed bias, which cannot be packed. Bias, activation and residual are then applied by dispatches that follow the sums.
    pub(super) deferred_bias: Option<ValueId>,
}

impl Epilogue {
    /// The activation that the kernel applies.
    pub(super) fn fused_act(&self) -> Activation {
        if self.deferred_bias.is_some() { Activation::None } else { self.act }
    }
}

impl Lowering<'_> {
    /// The epilogue of an operation with the inputs x, w and, as flagged, a bias and a residual.
    pub(super) fn epilogue(&self, node: &Node, bias: bool, act: Activation, residual: bool) -> Result<Epilogue, RunError> {
        let given_bias = if bias { Some(self.input(node, 2)?) } else { None };
        let residual = if residual { Some(self.input(node, 2 + usize::from(bias))?) } else { None };
        let (bias, deferred_bias) = match given_bias {
            Some(id) if !self.is_weight(id) => (None, Some(id)),
            packed => (packed, None),
        };
        Ok(Epilogue { bias, act, residual, deferred_bias })
    }

    /// The residual that the kernel adds, in the blocked layout.
    pub(super) fn fused_residual(&mut self, epilogue: &Epilogue, block_axis: usize) -> Result<Option<View>, RunError> {
        epilogue.residual.filter(|_| epilogue.deferred_bias.is_none()).map(|id| self.blocked(id, block_axis)).transpose()
    }

    /// Where the kernel writes: the result of `node`, or new memory if a deferred bias follows.
    pub(super) fn product_output(&mut self, node: &Node, epilogue: &Epilogue, block_axis: usize, reads: &[&View]) -> Result<View, RunError> {
        let shape = self.shape(node.output);
        match epilogue.deferred_bias {
            Some(_) => self.allocate_blocked(shape, block_axis),
            None => self.output(node, &dim_order(shape.len(), block_axis), reads),
        }
    }

    /// Applies a deferred bias, and the activation and residual behind it, to the sums; nothing without one.
    pub(super) fn apply_deferred_bias(&mut self, node: &Node, epilogue: &Epilogue, block_axis: usize, sums: &View) -> Result<(), RunError> {
        let Some(bias) = epilogue.deferred_bias else { return Ok(()) };
        let shape = self.shape(node.output);
        let bias = self.per_channel(bias, shape, block_axis)?;
        let mut value = self.allocate_blocked(shape, block_axis)?;
        self.apply_binary(shape, block_axis, "ADD", sums, &bias, &value)?;
        if let Some(function) = unary_constant(epilogue.act) {
            let active = self.allocate_blocked(shape, block_axis)?;
            self.apply_unary(shape, block_axis, function, [0.0; 2], &value, &active)?;
            value = active;
        }
        if let Some(residual) = epilogue.residual {
            let residual = self.blocked(residual, block_axis)?;
            let sum = self.allocate_blocked(shape, block_axis)?;
            self.apply_binary(shape, block_axis, "ADD", &value, &residual, &sum)?;
            value = sum;
        }
        self.set_view(node, value);
        Ok(())
    }
}

/// The constant of the kernel `unary` for an activation.
fn unary_constant(act: Activation) -> Option<&'static str> {
    match act {
        Activation::None => None,
        Activation::Relu => Some("RELU"),
        Activation::Silu => Some("SILU"),
        Activation::Gelu => Some("GELU"),
        Activation::QuickGelu => Some("QUICK_GELU"),
    }
}
