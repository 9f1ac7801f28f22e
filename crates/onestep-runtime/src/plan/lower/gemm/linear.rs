//! Linear layers.

use onestep_program::{Activation, Node, Op};

use super::super::super::axes::IndexBox;
use super::super::{
    layout::{BLOCK, View, block_strides, outer_dims},
    lowering::Lowering,
};
use super::product::{Matrix, PixelView, Product};
use crate::error::RunError;

/// The most axes of rows that the matrix kernels have.
const ROW_AXES: usize = 3;

impl<'a> Lowering<'a> {
    /// The GEGLU that can be fused into a linear layer; none unless it is the only reader of the layer's result, only a packed bias follows the
    /// sums, and values and gates are whole blocks.
    pub(in crate::plan::lower) fn fused_gate(&self, node: &Node) -> Option<&'a Node> {
        let Op::Linear { bias, act: Activation::None, residual: false } = node.op else { return None };
        let is_weight = |index: usize| node.inputs.get(index).is_some_and(|&id| self.is_weight(id));
        let is_output = self.program.outputs.iter().any(|port| port.value == node.output);
        let mut readers = self.program.nodes.iter().filter(|reader| reader.inputs.contains(&node.output));
        let gate = readers.next().filter(|reader| matches!(reader.op, Op::Geglu) && !is_output && is_weight(1) && (!bias || is_weight(2)))?;
        let whole_blocks = self.shape(gate.output).last().is_some_and(|half| half.is_multiple_of(BLOCK));
        (whole_blocks && readers.next().is_none()).then_some(gate)
    }

    /// A linear layer, fused with the GEGLU `gate` if there is one.
    pub(in crate::plan::lower) fn linear(
        &mut self,
        node: &Node,
        bias: bool,
        act: Activation,
        residual: bool,
        gate: Option<&Node>,
    ) -> Result<(), RunError> {
        let (x, w) = (self.input(node, 0)?, self.input(node, 1)?);
        let target = gate.unwrap_or(node);
        let (xs, shape, ws) = (self.shape(x), self.shape(target.output), self.shape(w));
        let epilogue = self.epilogue(node, bias, act, residual)?;
        let last = shape.len() - 1;
        let mut x = self.blocked(x, last)?;
        let computed = if self.is_weight(w) { None } else { Some(self.view(w)?) };
        let mut residual = self.fused_residual(&epilogue, last)?;
        let reads: Vec<&View> = [Some(&x), residual.as_ref(), computed.as_ref()].into_iter().flatten().collect();
        let mut y = self.product_output(target, &epilogue, last, &reads)?;
        let mut rows = merged_rows(shape, &x, &y, residual.as_ref());
        if rows.shape.len() > ROW_AXES {
            // Dense tensors need one axis of rows.
            let dense = self.allocate_blocked(xs, last)?;
            self.copy(xs, &x, &dense, 0)?;
            x = dense;
            if let Some(view) = &residual {
                let dense = self.allocate_blocked(shape, last)?;
                self.copy(shape, view, &dense, 0)?;
                residual = Some(dense);
            }
            y = self.allocate_blocked(shape, last)?;
            self.set_view(target, y.clone());
            rows = merged_rows(shape, &x, &y, residual.as_ref());
        }
        while rows.shape.len() < ROW_AXES {
            rows.shape.insert(0, 1);
            rows.strides.iter_mut().for_each(|strides| strides.insert(0, 0));
        }
        let pixels = |view: &View, tensor: usize| PixelView {
            resource: view.resource,
            start: view.start / BLOCK,
            strides: std::array::from_fn(|axis| rows.strides[tensor][axis]),
        };
        let matrix = computed.as_ref().map(|view| View { strides: view.strides.iter().copied().chain([0]).collect(), ..view.clone() });
        self.product(&Product {
            rows: std::array::from_fn(|axis| rows.shape[axis]),
            columns: ws[0],
            depth: ws[1],
            x: pixels(&x, 0),
            matrix: matrix.as_ref().map_or(Matrix::Weight(w, 0), Matrix::Computed),
            taps: None,
            bias: epilogue.bias,
            act: epilogue.fused_act(),
            gated: gate.is_some(),
            residual: residual.as_ref().map(|view| pixels(view, 2)),
            y: pixels(&y, 1),
            phase: None,
        })?;
        self.apply_deferred_bias(node, &epilogue, last, &y)
    }
}

/// The rows of x, y and the residual as one box; without a residual, its strides are those of y.
fn merged_rows(shape: &[usize], x: &View, y: &View, residual: Option<&View>) -> IndexBox<3> {
    let outer = outer_dims(shape, shape.len() - 1);
    let lengths: Vec<usize> = outer.iter().map(|&axis| shape[axis]).collect();
    let strides = [x, y, residual.unwrap_or(y)].map(|view| block_strides(view, &outer));
    IndexBox::merged(&lengths, std::array::from_fn(|tensor| strides[tensor].as_slice()))
}
