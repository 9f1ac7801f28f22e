//! A component's program: read, written, priced and, where it is small, run.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use onestep_cpu::CpuProgram;
use onestep_fuzz_support::{mutate_json, within};
use onestep_program::{DType, Program, TensorRef, WeightView};

/// Elements of all tensors, and operations, above which a program is not run.
const MOST_ELEMENTS: u64 = 1 << 16;
/// See [`MOST_ELEMENTS`].
const MOST_FLOPS: u64 = 1 << 22;

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    let program = within(bytes.len(), 64, || {
        let program = Program::from_json(bytes, "program.json").ok()?;
        let written = program.to_json();
        let again = Program::from_json(&written, "program.json");
        assert_eq!(again.as_ref(), Ok(&program), "what is written is what was read");
        assert_eq!(again.map(|program| program.to_json()), Ok(written), "and written again it is the same");
        // Sums and products that must not overflow.
        program.parameters();
        Some(program)
    });
    if let Some(program) = program
        && program.flops() <= MOST_FLOPS
    {
        within(MOST_ELEMENTS as usize, 1024, || run(program));
    }
});

/// Any result will do, and any error; a checked program must not panic.
fn run(program: Program) {
    let count = |shape: &[usize]| shape.iter().map(|&length| length as u64).product::<u64>();
    if program.values.iter().map(|value| count(&value.shape)).sum::<u64>() > MOST_ELEMENTS {
        return;
    }
    let shapes: BTreeMap<String, (Vec<usize>, DType)> =
        program.weights().filter_map(|value| Some((value.weight.clone()?, (value.shape.clone(), value.dtype)))).collect();
    // 1.0 in f16 and close to 0 in f32; ids far outside of every table.
    let stored = [0x00, 0x3c].repeat(2 * MOST_ELEMENTS as usize);
    let weight = |name: &str| {
        let (shape, dtype) = shapes.get(name)?;
        let bytes = stored.get(..count(shape) as usize * dtype.size())?;
        Some(WeightView { shape, dtype: *dtype, bytes: bytes.into() })
    };
    let inputs: Vec<_> = program.inputs.iter().map(|port| (port.name.clone(), program.value(port.value).clone())).collect();
    let Ok(ready) = CpuProgram::new(program, &weight) else { return };
    let (floats, ids) = (vec![0.5; MOST_ELEMENTS as usize], vec![-7; MOST_ELEMENTS as usize]);
    let given: Vec<_> = inputs
        .iter()
        .map(|(name, value)| {
            let count = count(&value.shape) as usize;
            let data = if value.dtype == DType::I32 { TensorRef::I32(&ids[..count]) } else { TensorRef::F32(&floats[..count]) };
            (name.as_str(), data)
        })
        .collect();
    if let Ok(outputs) = ready.run(&given) {
        for (port, (name, data)) in ready.program().outputs.iter().zip(outputs) {
            assert_eq!((&port.name, count(&ready.program().value(port.value).shape)), (&name, data.len() as u64));
        }
    }
}
