//! Measures a bundle's programs and their operations on this CPU:
//! `cargo run --release -p onestep-cpu --example cpu_speed -- BUNDLE`.
//! `RAYON_NUM_THREADS` limits the cores. The weights are placeholders; times do not depend on them.

#![allow(clippy::print_stdout)]

use std::{collections::BTreeMap, error::Error, path::PathBuf, time::Instant};

use onestep_cpu::CpuProgram;
use onestep_program::{DType, Program, TensorRef, WeightView};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "models/emoji".into()));
    for name in ["text-encoder", "generator", "decoder"] {
        let program = Program::from_json(&std::fs::read(folder.join(name).with_extension("json"))?, name)?;
        let largest = program.values.iter().map(|value| value.shape.iter().product::<usize>()).max().unwrap_or(0);
        // 1/64 in 16 bits, twice that pattern in 32.
        let bytes: Vec<u8> = (0..largest * 4).map(|index| if index % 2 == 0 { 0 } else { 0x24 }).collect();
        let shapes: BTreeMap<&str, _> =
            program.values.iter().filter_map(|value| Some((value.weight.as_deref()?, (&value.shape, value.dtype)))).collect();
        let view = |name: &str| {
            let (shape, dtype) = shapes.get(name)?;
            Some(WeightView { shape, dtype: *dtype, bytes: (&bytes[..shape.iter().product::<usize>() * dtype.size()]).into() })
        };
        let ready = CpuProgram::new(program.clone(), &view)?;
        let floats: Vec<f32> = (0..largest).map(|index| (index as f32).sin()).collect();
        let ids = vec![1; largest];
        let inputs: Vec<(&str, TensorRef<'_>)> = program
            .inputs
            .iter()
            .map(|port| {
                let value = program.value(port.value);
                let count = value.shape.iter().product();
                (port.name.as_str(), if value.dtype == DType::I32 { TensorRef::I32(&ids[..count]) } else { TensorRef::F32(&floats[..count]) })
            })
            .collect();
        let mut times = Vec::new();
        let mut by_operation = vec![f64::INFINITY; program.nodes.len()];
        for _ in 0..30 {
            let start = Instant::now();
            let mut marks = Vec::with_capacity(program.nodes.len() + 1);
            ready.run_with_callback(&inputs, &mut |_| {
                marks.push(Instant::now());
                true
            })?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            marks.push(Instant::now());
            for (least, pair) in by_operation.iter_mut().zip(marks.windows(2)) {
                *least = least.min((pair[1] - pair[0]).as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        println!("{name}: best {:.2} ms, median {:.2} ms", times[0], times[times.len() / 2]);
        let mut kinds: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for (node, time) in program.nodes.iter().zip(by_operation) {
            let kind = kinds.entry(node.op.name()).or_default();
            kind.0 += 1;
            kind.1 += time;
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
        for (kind, (count, time)) in kinds.iter().take(10) {
            println!("  {kind:<18} {count:4} operations {time:8.3} ms");
        }
    }
    Ok(())
}
