//! Constant folding: computes operations on constants with `onestep-cpu`, the reference implementation.

use std::sync::Arc;

use onestep_cpu::CpuProgram;
use onestep_program::{DType, Node, Op, Port, Program, TensorRef, Value, ValueId, program::VERSION};

use crate::{
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

/// Runs one operation.
fn compute(graph: &Graph, node: &Node, constants: &[Constant]) -> Result<Arc<Vec<f32>>, CompileError> {
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
    let inputs: Vec<(&str, TensorRef<'_>)> =
        names.iter().zip(constants).map(|(name, constant)| (name.as_str(), TensorRef::F32(&constant.data))).collect();
    let outputs = CpuProgram::new(program, &|_| None)?.run(&inputs)?;
    Ok(Arc::new(outputs.into_iter().next().map(|(_, data)| data).unwrap_or_default()))
}
