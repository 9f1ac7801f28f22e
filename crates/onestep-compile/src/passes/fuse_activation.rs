//! Fuses a pointwise function into the operation that computes its operand, if nothing else reads that.

use onestep_program::{Activation, Op, UnaryKind};

use super::at_each::at_each;
use crate::{error::CompileError, graph::Graph};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    at_each(graph, |graph, uses, index| {
        let node = &graph.nodes[index];
        let Op::Unary { unary } = node.op else { return false };
        let function = match unary {
            UnaryKind::Relu => Activation::Relu,
            UnaryKind::Silu => Activation::Silu,
            UnaryKind::Gelu => Activation::Gelu,
            UnaryKind::QuickGelu => Activation::QuickGelu,
            _ => return false,
        };
        let x = node.inputs[0];
        let Some(layer) = uses.producer(graph, x).filter(|_| uses.reads(x) == 1) else { return false };
        let (mut op, inputs) = (layer.op.clone(), layer.inputs.clone());
        match &mut op {
            Op::Conv2d { act: act @ Activation::None, residual: false, .. }
            | Op::Linear { act: act @ Activation::None, residual: false, .. }
            | Op::GroupNorm { act: act @ Activation::None, .. } => *act = function,
            _ => return false,
        }
        graph.nodes[index].op = op;
        graph.nodes[index].inputs = inputs;
        true
    });
    Ok(())
}
