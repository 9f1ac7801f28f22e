//! Functions of one or two tensors, element by element.

use onestep_program::{BinaryKind, Node, UnaryKind, ValueId};
use onestep_shaders as shaders;

use super::{Lowering, Params, UNIT, View, constant, elements, movement::units_of, order};
use crate::error::RunError;

/// The shader's name of a function.
pub(super) fn unary(kind: UnaryKind) -> &'static str {
    match kind {
        UnaryKind::Neg => "NEG",
        UnaryKind::Abs => "ABS",
        UnaryKind::Exp => "EXP",
        UnaryKind::Log => "LOG",
        UnaryKind::Sqrt => "SQRT",
        UnaryKind::Recip => "RECIP",
        UnaryKind::Sin => "SIN",
        UnaryKind::Cos => "COS",
        UnaryKind::Tanh => "TANH",
        UnaryKind::Erf => "ERF",
        UnaryKind::Sigmoid => "SIGMOID",
        UnaryKind::Relu => "RELU",
        UnaryKind::Silu => "SILU",
        UnaryKind::Gelu => "GELU",
        UnaryKind::QuickGelu => "QUICK_GELU",
    }
}

/// The shader's name of a function.
pub(super) fn binary(kind: BinaryKind) -> &'static str {
    match kind {
        BinaryKind::Add => "ADD",
        BinaryKind::Sub => "SUB",
        BinaryKind::Mul => "MUL",
        BinaryKind::Div => "DIV",
        BinaryKind::Pow => "POW",
        BinaryKind::Min => "MIN",
        BinaryKind::Max => "MAX",
    }
}

impl Lowering<'_> {
    /// A function of one tensor.
    pub(super) fn unary(&mut self, node: &Node, kind: &str, a: f32, b: f32) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let shape = self.shape(id);
        let inner = self.inner_or(id, shape.len().saturating_sub(1))?;
        let x = self.along(id, inner)?;
        let y = self.output(node, &order(shape.len(), inner), &[&x])?;
        self.apply(shape, inner, kind, [a, b], &x, &y)
    }

    /// A function of one tensor, from view to view.
    pub(super) fn apply(&mut self, shape: &[usize], inner: usize, kind: &str, [a, b]: [f32; 2], x: &View, y: &View) -> Result<(), RunError> {
        if elements(shape) == 0 {
            return Ok(());
        }
        let kernel = self.form(&shaders::UNARY);
        let (x, y) = (&of_scalar(shape, x), &of_scalar(shape, y));
        let merged = units_of(shape, inner, [x, y]);
        let length = shape.get(inner).copied().unwrap_or(1);
        let mut params = Params::new(kernel);
        params.set("kind", constant(kernel, kind)?);
        params.float("a", a);
        params.float("b", b);
        params.set("units", length.div_ceil(UNIT));
        params.set("length", length);
        params.set("rank", merged.shape.len());
        params.set("x_start", x.start / UNIT);
        params.set("y_start", y.start / UNIT);
        params.list("shape", &merged.shape);
        params.list("x_strides", &merged.strides[0]);
        params.list("y_strides", &merged.strides[1]);
        self.items(kernel, params, vec![("x", x.bound), ("y", y.bound)], elements(&merged.shape));
        Ok(())
    }

    /// A function of two tensors that broadcast to the result's shape.
    pub(super) fn binary(&mut self, node: &Node, kind: &str, a: ValueId, b: ValueId) -> Result<(), RunError> {
        let shape = self.shape(node.output);
        let last = shape.len().saturating_sub(1);
        // As the operand lies that has every element of the result.
        let inner = match (self.shape(a) == shape, self.shape(b) == shape) {
            (true, _) => self.inner_or(a, last)?,
            (false, true) => self.inner_or(b, last)?,
            (false, false) => last,
        };
        let a = self.operand(a, shape, inner)?;
        let b = self.operand(b, shape, inner)?;
        let y = self.output(node, &order(shape.len(), inner), &[&a, &b])?;
        self.combine(shape, inner, kind, &a, &b, &y)
    }

    /// A tensor as an operand of a result of `shape` that lies along `inner`: in units along that axis, or, without an innermost axis, with
    /// one element for all of them.
    fn operand(&mut self, id: ValueId, shape: &[usize], inner: usize) -> Result<View, RunError> {
        let own = self.shape(id);
        if own == shape {
            return if shape.is_empty() { self.scalar(id) } else { self.along(id, inner) };
        }
        let new = shape.len() - own.len();
        // The shape with the axes in front that it lacks.
        let full: Vec<usize> = std::iter::repeat_n(1, new).chain(own.iter().copied()).collect();
        let view = self.view(id)?;
        let wide = View { inner: view.inner.map(|inner| inner + new), strides: view.broadcast(own, &full).strides, ..view };
        let units = self.rearranged(&full, &wide, inner)?;
        let splat = full[inner] != shape[inner];
        Ok(View { inner: (!splat).then_some(inner), ..units.broadcast(&full, shape) })
    }

    /// A tensor without axes as one unit.
    fn scalar(&mut self, id: ValueId) -> Result<View, RunError> {
        let view = self.view(id)?;
        if !view.raw {
            return Ok(view);
        }
        let copy = self.units(&[], 0)?;
        self.copy(&[], &view, &copy, 0)?;
        Ok(copy)
    }

    /// A function of two tensors, from views to a view; operands without an innermost axis have one element for all of it.
    pub(super) fn combine(&mut self, shape: &[usize], inner: usize, kind: &str, a: &View, b: &View, y: &View) -> Result<(), RunError> {
        if elements(shape) == 0 {
            return Ok(());
        }
        let kernel = self.form(&shaders::BINARY);
        let (a, b, y) = (&of_scalar(shape, a), &of_scalar(shape, b), &of_scalar(shape, y));
        let merged = units_of(shape, inner, [a, b, y]);
        let length = shape.get(inner).copied().unwrap_or(1);
        let mut params = Params::new(kernel);
        params.set("kind", constant(kernel, kind)?);
        params.set("units", length.div_ceil(UNIT));
        params.set("length", length);
        params.set("rank", merged.shape.len());
        for (name, splat, view) in [("a_start", "a_splat", a), ("b_start", "b_splat", b)] {
            params.set(name, view.start / UNIT);
            params.flag(splat, view.inner.is_none());
        }
        params.set("y_start", y.start / UNIT);
        params.list("shape", &merged.shape);
        params.list("a_strides", &merged.strides[0]);
        params.list("b_strides", &merged.strides[1]);
        params.list("y_strides", &merged.strides[2]);
        self.items(kernel, params, vec![("a", a.bound), ("b", b.bound), ("y", y.bound)], elements(&merged.shape));
        Ok(())
    }

    /// `a · gelu(b)` of the two halves of the last axis.
    pub(super) fn geglu(&mut self, node: &Node) -> Result<(), RunError> {
        let id = self.input(node, 0)?;
        let (whole, shape) = (self.shape(id), self.shape(node.output));
        let last = shape.len() - 1;
        let view = self.view(id)?;
        let mut start = vec![0; shape.len()];
        let a = self.rearranged(shape, &view.part(whole, &start, shape), last)?;
        start[last] = shape[last];
        let b = self.rearranged(shape, &view.part(whole, &start, shape), last)?;
        let y = self.output(node, &order(shape.len(), last), &[&a, &b])?;
        self.combine(shape, last, "GEGLU", &a, &b, &y)
    }
}

/// A tensor without axes lies in one unit, and that is its innermost axis.
fn of_scalar(shape: &[usize], view: &View) -> View {
    match shape.is_empty() {
        true => View { inner: Some(0), ..view.clone() },
        false => view.clone(),
    }
}
