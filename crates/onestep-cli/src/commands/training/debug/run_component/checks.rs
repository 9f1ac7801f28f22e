//! Checks of the tensors that a component is run on.

use onestep_program::{Op, Program, ValueId, printable};

use crate::exit::{Exit, Failure};
use crate::tensors::{HostTensor, Tensors};

/// The tensor of that name.
///
/// # Errors
/// There is none; names those that there are.
pub fn need<'t>(inputs: &'t Tensors, name: &str) -> Result<&'t HostTensor, Failure> {
    inputs.get(name).ok_or_else(|| {
        let there: Vec<_> = inputs.keys().map(String::as_str).collect();
        let there = if there.is_empty() { "none at all".into() } else { format!("only {}", there.join(", ")) };
        Failure::new(Exit::Input, printable(&format!("the inputs have no tensor {name:?}, {there}")))
    })
}

/// Refuses token ids that are not whole numbers below `count`, or without a count those that an i32 cannot hold.
///
/// # Errors
/// The first such id and its index.
pub fn whole(name: &str, given: &HostTensor, count: Option<usize>) -> Result<(), Failure> {
    // 2^31 − 128 is the largest f32 below 2^31.
    let (last, told) = match count {
        Some(count) => (count as f32 - 1.0, format!("from 0 to {}", count.saturating_sub(1))),
        None => (i32::MAX as f32 - 128.0, "from 0 to below 2^31".into()),
    };
    match given.data.iter().position(|id| !(0.0..=last).contains(id) || id.fract() != 0.0) {
        Some(at) => Err(Failure::new(Exit::Input, format!("input {name}: expected whole numbers {told}, found {} at element {at}", given.data[at]))),
        None => Ok(()),
    }
}

/// Rows of the smallest embedding table that `program` indexes with these ids; none if it indexes no table with them.
pub fn rows(program: &Program, ids: ValueId) -> Option<usize> {
    let lookups = program.nodes.iter().filter(|node| matches!(node.op, Op::Embedding));
    lookups.filter(|node| node.inputs.get(1) == Some(&ids)).filter_map(|node| program.value(*node.inputs.first()?).shape.first().copied()).min()
}

/// The tensor of that name, if it has `D` axes and none of them is empty.
///
/// # Errors
/// It is missing or of another shape.
pub fn need_rank<'t, const D: usize>(inputs: &'t Tensors, name: &str) -> Result<&'t HostTensor, Failure> {
    let given = need(inputs, name)?;
    expect(name, given.shape.len() == D && !given.shape.contains(&0), &format!("{D} axes, none of them empty"), &given.shape)?;
    Ok(given)
}

/// Refuses the tensor `name` of the shape `found` unless it fits; `expected` is the shape in words.
///
/// # Errors
/// It does not fit.
pub fn expect(name: &str, fits: bool, expected: &str, found: &[usize]) -> Result<(), Failure> {
    if fits { Ok(()) } else { Err(shape_error(name, expected, found)) }
}

/// The refusal of a tensor by its shape.
pub fn shape_error(name: &str, expected: &str, found: &[usize]) -> Failure {
    Failure::new(Exit::Input, format!("input {name}: expected {expected}, found {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_whole_numbers_of_the_table() {
        let ids = |data: Vec<f32>| HostTensor { shape: vec![data.len()], data };
        assert!(whole("ids", &ids(vec![0.0, 82.0]), Some(83)).is_ok() && whole("ids", &ids(vec![2e9]), None).is_ok());
        for (bad, count) in [(-1.0, Some(83)), (83.0, Some(83)), (0.5, Some(83)), (f32::NAN, Some(83)), (2.2e9, None), (f32::INFINITY, None)] {
            let told = whole("ids", &ids(vec![0.0, bad]), count).unwrap_err();
            assert!(told.message().contains("input ids") && told.message().contains(&format!("{bad} at element 1")), "{}", told.message());
        }
    }
}
