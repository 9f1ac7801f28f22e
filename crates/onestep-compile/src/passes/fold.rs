//! Constant folding: computes operations on constants with `onestep-cpu`, the reference implementation.

use onestep_cpu::CpuProgram;
use onestep_program::{DType, Node, Op, Port, Program, TensorRef, Value, ValueId, program::VERSION};

use crate::{
    elements::{Elements, HELD},
    error::CompileError,
    graph::{Constant, Graph},
};

pub(super) fn run(graph: &mut Graph) -> Result<(), CompileError> {
    for index in 0..graph.nodes.len() {
        let node = graph.nodes[index].clone();
        let Some(constants) = node.inputs.iter().map(|&id| graph.constant(id).cloned()).collect::<Option<Vec<Constant>>>() else { continue };
        let folded = match (&node.op, &constants[..]) {
            // Only the shape changes.
            (Op::Reshape, [constant]) => constant.clone(),
            (Op::Permute { .. }, [constant]) => {
                Constant { parameter: constant.parameter.clone(), untouched: false, data: compute(graph, &node, &constants)? }
            }
            _ => Constant { parameter: None, untouched: false, data: compute(graph, &node, &constants)? },
        };
        graph.values[node.output.index()].constant = Some(folded);
    }
    let values = &graph.values;
    graph.nodes.retain(|node| values[node.output.index()].constant.is_none());
    Ok(())
}

/// The result of one operation.
fn compute(graph: &Graph, node: &Node, constants: &[Constant]) -> Result<Elements, CompileError> {
    let mut values: Vec<Value> = node.inputs.iter().map(|&id| Value { shape: graph.shape(id).to_vec(), dtype: DType::F32, weight: None }).collect();
    values.push(Value { shape: graph.shape(node.output).to_vec(), dtype: DType::F32, weight: None });
    let output = ValueId(node.inputs.len() as u32);
    let names: Vec<String> = (0..node.inputs.len()).map(|index| index.to_string()).collect();
    let program = Program {
        version: VERSION,
        name: "constant".into(),
        values,
        inputs: names.iter().enumerate().map(|(index, name)| Port { name: name.clone(), value: ValueId(index as u32) }).collect(),
        outputs: vec![Port { name: "value".into(), value: output }],
        nodes: vec![Node { op: node.op.clone(), inputs: (0..output.0).map(ValueId).collect(), output }],
    };
    let elements: Vec<Elements> = constants.iter().map(|constant| constant.data.clone()).collect();
    let compute = move || -> Result<Vec<f32>, CompileError> {
        let read: Vec<_> = elements.iter().map(Elements::read).collect();
        let inputs: Vec<(&str, TensorRef<'_>)> = names.iter().zip(&read).map(|(name, data)| (name.as_str(), TensorRef::F32(data))).collect();
        let outputs = CpuProgram::new(program.clone(), &|_| None)?.run(&inputs)?;
        Ok(outputs.into_iter().next().map(|(_, data)| data).unwrap_or_default())
    };
    // Once even if the result is not held, so that an operation that cannot run is refused here.
    let data = compute()?;
    if data.len() <= HELD {
        return Ok(data.into());
    }
    let (length, errors) = (data.len(), graph.errors.clone());
    Ok(Elements::computed(length, move || errors.or_zeros(length, compute())))
}
