//! Measures programs of the shipped model's size on this machine's adapter:
//! `cargo run --release -p onestep-runtime --example gpu_speed -- [f16] [gpu|software|tile128] [NAME]`.
//!
//! `f16` stores activations as f16; `gpu`, `software` and `tile128` choose kernel variants; NAME restricts it to programs with that in their names.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use onestep_program::{Activation, DType, Op, ValueId};
use onestep_runtime::plan::{KernelVariants, MatrixVariant, PlanOptions};
use onestep_runtime::selftest::Sketch;
use onestep_runtime::{Capabilities, Executor, Gpu, GpuOptions, Plan, RunError};

fn main() -> Result<(), RunError> {
    let gpu = pollster::block_on(Gpu::request(&GpuOptions::default()))?;
    println!("{}", gpu.adapter());
    let mut capabilities = gpu.capabilities().clone();
    let (mut f16_activations, mut filter) = (false, String::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "f16" => f16_activations = true,
            "gpu" => capabilities.variants = KernelVariants::GPU,
            "tile128" => capabilities.variants = KernelVariants { matrix: MatrixVariant::Tile128, ..KernelVariants::GPU },
            "software" => capabilities.variants = KernelVariants::SOFTWARE,
            _ => filter = argument,
        }
    }
    let all = [
        text_encoder(),
        generator(),
        decoder(),
        conv(64, 64),
        conv(128, 16),
        linear(256, 128, 512),
        linear(1, 512, 512),
        linear(4096, 64, 64),
        attention(1024, 1024, 40),
        attention(1024, 77, 40),
        attention(1024, 1024, 64),
        attention(256, 256, 80),
        attention(256, 256, 160),
    ];
    for sketch in all.into_iter().filter(|sketch| sketch.program.name.contains(&filter)) {
        measure(&gpu, &capabilities, &sketch, f16_activations)?;
    }
    Ok(())
}

fn measure(gpu: &Gpu, capabilities: &Capabilities, sketch: &Sketch, f16_activations: bool) -> Result<(), RunError> {
    let (start, before) = (Instant::now(), cpu_seconds());
    let options = PlanOptions { f16_activations, ..PlanOptions::default() };
    let plan = Plan::with_options(&sketch.program, capabilities, options)?;
    let planned = start.elapsed();
    let executor = pollster::block_on(Executor::new(gpu, plan, &|name| sketch.view(name)))?;
    let opened = start.elapsed();
    // Software adapters compile when a kernel first runs.
    let start = Instant::now();
    pollster::block_on(executor.run(&sketch.inputs()))?;
    let (first, compiled) = (start.elapsed().as_secs_f64() * 1e3, cpu_seconds() - before);
    let mut times = Vec::new();
    let before = cpu_seconds();
    for _ in 0..20 {
        let start = Instant::now();
        pollster::block_on(executor.run(&sketch.inputs()))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = (cpu_seconds() - before) / times.len() as f64;
    times.sort_by(f64::total_cmp);
    let gflop = executor.plan().flops() as f64 / 1e9;
    println!(
        "{:<22} {:4} dispatches {gflop:7.3} GFLOP  plan {:6.2} ms  open {:7.1} ms  first {first:8.2} ms (CPU so far {:6.0} ms)  best {:8.2} ms  median {:8.2} ms  {:7.2} GFLOP/s  CPU {:8.2} ms",
        sketch.program.name,
        executor.plan().dispatches.len(),
        planned.as_secs_f64() * 1e3,
        opened.as_secs_f64() * 1e3,
        compiled * 1e3,
        times[0],
        times[times.len() / 2],
        gflop / times[0] * 1e3,
        cpu * 1e3,
    );
    Ok(())
}

/// The CPU time of this process over all cores, in seconds: a software adapter's work, however busy the machine is. 0 if the system does not report
/// it.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = text.rsplit(')').next().unwrap_or_default().split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // After the name and the state letter: user and system time are the eleventh and twelfth, in hundredths of a second.
    fields.get(10..12).map_or(0.0, |times| times.iter().sum::<f64>() / 100.0)
}

fn conv3(sketch: &mut Sketch, x: ValueId, channels: usize, act: Activation, residual: Option<ValueId>) -> ValueId {
    let shape = sketch.shape(x);
    let (w, bias) = (sketch.weight(&[channels, shape[1], 3, 3], DType::F16), sketch.weight(&[channels], DType::F16));
    let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: true, act, residual: residual.is_some() };
    let mut inputs = vec![x, w, bias];
    inputs.extend(residual);
    sketch.op(op, &inputs, &[shape[0], channels, shape[2], shape[3]])
}

fn group_norm(sketch: &mut Sketch, x: ValueId) -> ValueId {
    let shape = sketch.shape(x);
    let (gamma, beta) = (sketch.weight(&[shape[1]], DType::F16), sketch.weight(&[shape[1]], DType::F16));
    sketch.op(Op::GroupNorm { groups: 32, epsilon: 1e-5, act: Activation::Silu }, &[x, gamma, beta], &shape)
}

fn res_block(sketch: &mut Sketch, x: ValueId) -> ValueId {
    let channels = sketch.shape(x)[1];
    let y = group_norm(sketch, x);
    let y = conv3(sketch, y, channels, Activation::None, None);
    let y = group_norm(sketch, y);
    conv3(sketch, y, channels, Activation::None, Some(x))
}

fn dense(sketch: &mut Sketch, x: ValueId, columns: usize, residual: Option<ValueId>) -> ValueId {
    let mut shape = sketch.shape(x);
    let last = shape.len() - 1;
    let (w, bias) = (sketch.weight(&[columns, shape[last]], DType::F16), sketch.weight(&[columns], DType::F16));
    shape[last] = columns;
    let mut inputs = vec![x, w, bias];
    inputs.extend(residual);
    sketch.op(Op::Linear { bias: true, act: Activation::None, residual: residual.is_some() }, &inputs, &shape)
}

/// One block of attention and feed-forward over `[1, tokens, width]`, keys and values from `context`.
fn block(sketch: &mut Sketch, x: ValueId, context: ValueId, heads: usize, causal: bool) -> ValueId {
    let shape = sketch.shape(x);
    let width = shape[2];
    let split = |sketch: &mut Sketch, x: ValueId| {
        let y = dense(sketch, x, width, None);
        let tokens = sketch.shape(y)[1];
        let y = sketch.op(Op::Reshape, &[y], &[1, tokens, heads, width / heads]);
        sketch.op(Op::Permute { axes: vec![0, 2, 1, 3] }, &[y], &[1, heads, tokens, width / heads])
    };
    let (gamma, beta) = (sketch.weight(&[width], DType::F16), sketch.weight(&[width], DType::F16));
    let y = sketch.op(Op::LayerNorm { epsilon: 1e-5, affine: true }, &[x, gamma, beta], &shape);
    let (q, k, v) = (split(sketch, y), split(sketch, context), split(sketch, context));
    let y = sketch.op(Op::Attention { scale: 0.2, causal }, &[q, k, v], &[1, heads, shape[1], width / heads]);
    let y = sketch.op(Op::Permute { axes: vec![0, 2, 1, 3] }, &[y], &[1, shape[1], heads, width / heads]);
    let y = sketch.op(Op::Reshape, &[y], &shape);
    let y = dense(sketch, y, width, Some(x));
    let z = sketch.op(Op::LayerNorm { epsilon: 1e-5, affine: true }, &[y, gamma, beta], &shape);
    let z = dense(sketch, z, 8 * width, None);
    let z = sketch.op(Op::Geglu, &[z], &[1, shape[1], 4 * width]);
    dense(sketch, z, width, Some(y))
}

fn text_encoder() -> Sketch {
    let mut sketch = Sketch::new("text_encoder");
    let (table, ids) = (sketch.weight(&[2000, 128], DType::F16), sketch.ids(&[1, 16], (0..16).collect()));
    let mut x = sketch.op(Op::Embedding, &[table, ids], &[1, 16, 128]);
    for _ in 0..4 {
        x = block(&mut sketch, x, x, 4, true);
    }
    sketch.output(x);
    sketch
}

fn generator() -> Sketch {
    let mut sketch = Sketch::new("generator");
    let latents = sketch.input(&[1, 4, 16, 16]);
    let text = sketch.input(&[1, 16, 128]);
    let mut x = conv3(&mut sketch, latents, 64, Activation::None, None);
    x = res_block(&mut sketch, x);
    x = res_block(&mut sketch, x);
    let skip = x;
    let (w, bias) = (sketch.weight(&[128, 64, 3, 3], DType::F16), sketch.weight(&[128], DType::F16));
    let down = Op::Conv2d { stride: [2, 2], padding: [1; 4], dilation: [1, 1], groups: 1, bias: true, act: Activation::None, residual: false };
    x = sketch.op(down, &[x, w, bias], &[1, 128, 8, 8]);
    for _ in 0..3 {
        x = res_block(&mut sketch, x);
        let tokens = sketch.op(Op::Reshape, &[x], &[1, 128, 64]);
        let tokens = sketch.op(Op::Permute { axes: vec![0, 2, 1] }, &[tokens], &[1, 64, 128]);
        let tokens = block(&mut sketch, tokens, tokens, 4, false);
        let tokens = block(&mut sketch, tokens, text, 4, false);
        let back = sketch.op(Op::Permute { axes: vec![0, 2, 1] }, &[tokens], &[1, 128, 64]);
        x = sketch.op(Op::Reshape, &[back], &[1, 128, 8, 8]);
    }
    x = sketch.op(Op::UpsampleNearest, &[x], &[1, 128, 16, 16]);
    x = conv3(&mut sketch, x, 64, Activation::None, None);
    x = sketch.op(Op::Concat { axis: 1 }, &[x, skip], &[1, 128, 16, 16]);
    x = res_block(&mut sketch, x);
    x = res_block(&mut sketch, x);
    x = group_norm(&mut sketch, x);
    x = conv3(&mut sketch, x, 4, Activation::None, None);
    sketch.output(x);
    sketch
}

fn decoder() -> Sketch {
    let mut sketch = Sketch::new("decoder");
    let latents = sketch.input(&[1, 4, 16, 16]);
    let mut x = conv3(&mut sketch, latents, 128, Activation::None, None);
    x = res_block(&mut sketch, x);
    for (side, channels) in [(32, 64), (64, 64)] {
        let from = sketch.shape(x)[1];
        x = sketch.op(Op::UpsampleNearest, &[x], &[1, from, side, side]);
        x = conv3(&mut sketch, x, channels, Activation::None, None);
        x = res_block(&mut sketch, x);
    }
    x = group_norm(&mut sketch, x);
    x = conv3(&mut sketch, x, 3, Activation::None, None);
    sketch.output(x);
    sketch
}

fn conv(channels: usize, side: usize) -> Sketch {
    let mut sketch = Sketch::new(&format!("conv3x3 {channels} at {side}"));
    let x = sketch.input(&[1, channels, side, side]);
    let y = conv3(&mut sketch, x, channels, Activation::None, None);
    sketch.output(y);
    sketch
}

fn linear(rows: usize, depth: usize, columns: usize) -> Sketch {
    let mut sketch = Sketch::new(&format!("linear {rows}x{depth}x{columns}"));
    let x = sketch.input(&[1, rows, depth]);
    let y = dense(&mut sketch, x, columns, None);
    sketch.output(y);
    sketch
}

/// Two heads.
fn attention(queries: usize, keys: usize, width: usize) -> Sketch {
    let mut sketch = Sketch::new(&format!("attention {queries}x{keys}x{width}"));
    let (q, k, v) = (sketch.input(&[1, 2, queries, width]), sketch.input(&[1, 2, keys, width]), sketch.input(&[1, 2, keys, width]));
    let y = sketch.op(Op::Attention { scale: 0.2, causal: false }, &[q, k, v], &[1, 2, queries, width]);
    sketch.output(y);
    sketch
}
