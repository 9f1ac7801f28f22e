//! Values that are computed directly into their part of a concatenation's result.

use onestep_program::{Op, Program, ValueId};

/// The part of a concatenation that a value is.
#[derive(Clone)]
pub(super) struct ConcatSlot {
    /// The concatenation's result.
    pub(super) whole: ValueId,
    /// The first index of the part in it.
    pub(super) start: Vec<usize>,
}

/// The slot of every value that is computed and used once by exactly one concatenation, by value; none for other values.
pub(super) fn concat_slots(program: &Program) -> Vec<Option<ConcatSlot>> {
    let mut computed = vec![false; program.values.len()];
    program.nodes.iter().for_each(|node| computed[node.output.index()] = true);
    let mut slots = vec![None; program.values.len()];
    for node in &program.nodes {
        let Op::Concat { axis } = node.op else { continue };
        let mut offset = 0;
        for &part in &node.inputs {
            let shape = &program.value(part).shape;
            let once = node.inputs.iter().filter(|&&other| other == part).count() == 1;
            if once && computed[part.index()] && slots[part.index()].is_none() {
                let mut start = vec![0; shape.len()];
                start[axis] = offset;
                slots[part.index()] = Some(ConcatSlot { whole: node.output, start });
            }
            offset += shape[axis];
        }
    }
    slots
}
