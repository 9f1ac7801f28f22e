//! Measures which kernel variants are fastest on a device, on products and attention of the sizes that models have, in half a second at most.
//!
//! A variant is accepted only if its result agrees with that of the register variant, which runs on every adapter of the tests, so a driver that
//! miscompiles a variant costs speed instead of images. It must also be faster than the default by more than the scatter of the measurements.

use onestep_program::{Activation, DType, Node, Op, Port, Program, TensorRef, Value, ValueId, WeightView};

use super::{executor::Executor, gpu::Gpu};
use crate::{
    error::{ErrorKind, RunError},
    plan::{AttentionVariant, KernelVariants, MatrixVariant, Plan},
    random::SplitMix64,
};

/// Milliseconds after which no further variant is tried.
const BUDGET: f64 = 450.0;

/// The shortest measurement in milliseconds: the clocks of browsers are coarse.
const BATCH: f64 = 5.0;

/// How often every variant is measured.
const ROUNDS: usize = 3;

/// A variant must take less than this fraction of the default's time.
const WORTHWHILE: f64 = 0.95;

/// The largest accepted difference from the result of the register variant, as relative L2 error. Other orders of summation stay far below. Variants
/// that round activations to f16 exceed it and are used only on request, because the single step from noise to latents amplifies their error.
const AGREEMENT: f64 = 1e-4;

/// A variant with a result that agrees, and the times of its batches in milliseconds.
struct Candidate {
    variants: KernelVariants,
    executor: Executor,
    times: Vec<f64>,
}

impl Candidate {
    fn fastest(&self) -> Option<f64> {
        self.times.iter().copied().reduce(f64::min).filter(|&time| time > 0.0)
    }
}

impl Gpu {
    /// The kernel variants that are fastest here; those of [`capabilities`](Self::capabilities) are the default. `clock` returns milliseconds; with
    /// a clock that stands still, nothing is measured.
    ///
    /// # Errors
    /// `DeviceLost`. Any other error of a variant only excludes that variant.
    pub async fn fastest_variants(&self, clock: &dyn Fn() -> f64) -> Result<KernelVariants, RunError> {
        let default = self.capabilities().variants;
        let deadline = clock() + BUDGET;
        let matrices = MatrixVariant::ALL.into_iter().map(|matrix| KernelVariants { matrix, ..default });
        let variants = self.fastest(&products(), default, matrices, clock, deadline).await?;
        let attentions = AttentionVariant::ALL.into_iter().map(|attention| KernelVariants { attention, ..variants });
        self.fastest(&attention(), variants, attentions, clock, deadline).await
    }

    /// The variants with which a program runs fastest.
    async fn fastest(
        &self,
        program: &Program,
        default: KernelVariants,
        others: impl Iterator<Item = KernelVariants>,
        clock: &dyn Fn() -> f64,
        deadline: f64,
    ) -> Result<KernelVariants, RunError> {
        if clock() > deadline {
            return Ok(default);
        }
        let proven = KernelVariants { matrix: MatrixVariant::Register, attention: AttentionVariant::Register, ..default };
        let expected = match self.first_run(program, proven).await {
            Ok((_, expected)) => expected,
            Err(error) if error.kind() == ErrorKind::DeviceLost => return Err(error),
            Err(_) => return Ok(default),
        };
        let mut candidates = Vec::new();
        // The default comes first: the others are compared with it, and it remains if time runs out.
        for variants in std::iter::once(default).chain(others.filter(|&variants| variants != default)) {
            if !candidates.is_empty() && clock() > deadline {
                break;
            }
            match self.first_run(program, variants).await {
                Ok((executor, result)) if relative_error(&result, &expected) < AGREEMENT => {
                    candidates.push(Candidate { variants, executor, times: Vec::new() });
                }
                Err(error) if error.kind() == ErrorKind::DeviceLost => return Err(error),
                _ => {}
            }
        }
        let Some(first) = candidates.first() else { return Ok(proven) };
        if clock() + BUDGET <= deadline {
            // The clock stands still.
            return Ok(default);
        }
        let once = self.time_runs(&first.executor, 1, clock).await?;
        let count = (BATCH / once.max(BATCH / 50.0)).ceil() as usize;
        'rounds: for _ in 0..ROUNDS {
            for Candidate { executor, times, .. } in &mut candidates {
                if clock() > deadline {
                    break 'rounds;
                }
                times.push(self.time_runs(executor, count, clock).await?);
            }
        }
        let mut best = (candidates[0].variants, candidates[0].fastest());
        let limit = best.1.map(|time| time * WORTHWHILE);
        for candidate in &candidates[1..] {
            if let (Some(time), Some(limit), Some(fastest)) = (candidate.fastest(), limit, best.1)
                && time < limit.min(fastest)
            {
                best = (candidate.variants, Some(time));
            }
        }
        Ok(best.0)
    }

    /// Compiles a program with some variants and runs it once.
    async fn first_run(&self, program: &Program, variants: KernelVariants) -> Result<(Executor, Vec<f32>), RunError> {
        let gpu = self.with_variants(variants);
        let (f16_values, f32_values) = probe_values();
        let weights = |name: &str| {
            let value = program.values.iter().find(|value| value.weight.as_deref() == Some(name))?;
            let length = value.shape.iter().product::<usize>() * 2;
            Some(WeightView { shape: &value.shape, dtype: value.dtype, bytes: bytemuck::cast_slice::<_, u8>(&f16_values).get(..length)?.into() })
        };
        let executor = Executor::new(&gpu, Plan::new(program, gpu.capabilities())?, &weights).await?;
        let length = program.value(program.inputs[0].value).shape.iter().product::<usize>();
        let input = f32_values.get(..length).ok_or_else(|| RunError::internal("a probe needs more numbers than there are"))?;
        let mut outputs = executor.run(&[(INPUT, TensorRef::F32(input))]).await?;
        Ok((executor, outputs.pop().map(|(_, values)| values).unwrap_or_default()))
    }

    /// The time of some runs in a row, in milliseconds.
    async fn time_runs(&self, executor: &Executor, count: usize, clock: &dyn Fn() -> f64) -> Result<f64, RunError> {
        let start = clock();
        for _ in 0..count {
            executor.submit()?;
        }
        self.settle().await?;
        Ok(clock() - start)
    }
}

const INPUT: &str = "x";

/// Random numbers for the probes' weights (f16, magnitude 0.03 to 0.06) and inputs (f32, 16 times as large), the same on every machine.
fn probe_values() -> (Vec<u16>, Vec<f32>) {
    let mut random = SplitMix64(1);
    // The exponent of 2⁻⁵ with a random sign and significand.
    let f16_values: Vec<u16> = (0..1 << 19).map(|_| 0x2800 | (random.bits() >> 48) as u16 & 0x83ff).collect();
    let f32_values = f16_values.iter().map(|&bits| 16.0 * half::f16::from_bits(bits).to_f32()).collect();
    (f16_values, f32_values)
}

/// The relative L2 error of a result; infinite if it is not finite or has another length.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let difference: f64 = found.iter().zip(expected).map(|(&a, &b)| square(a - b)).sum();
    let error = (difference / expected.iter().map(|&value| square(value)).sum::<f64>()).sqrt();
    if found.len() == expected.len() && error.is_finite() { error } else { f64::INFINITY }
}

/// A program under construction, with one input and one output.
struct Probe(Program);

impl Probe {
    fn new(name: &str, input: &[usize]) -> Self {
        let version = onestep_program::program::VERSION;
        let x = Value { shape: input.to_vec(), dtype: DType::F32, weight: None };
        let port = Port { name: INPUT.into(), value: ValueId(0) };
        Self(Program { version, name: name.into(), values: vec![x], inputs: vec![port], outputs: Vec::new(), nodes: Vec::new() })
    }

    fn value(&mut self, shape: &[usize], dtype: DType, weight: Option<String>) -> ValueId {
        self.0.values.push(Value { shape: shape.to_vec(), dtype, weight });
        ValueId(self.0.values.len() as u32 - 1)
    }

    fn weight(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("w{}", self.0.values.len());
        self.value(shape, DType::F16, Some(name))
    }

    fn op(&mut self, op: Op, inputs: &[ValueId], shape: &[usize]) -> ValueId {
        let output = self.value(shape, DType::F32, None);
        self.0.nodes.push(Node { op, inputs: inputs.to_vec(), output });
        output
    }

    fn program(mut self, output: ValueId) -> Program {
        self.0.outputs.push(Port { name: "y".into(), value: output });
        self.0
    }
}

/// A wide convolution, deep ones with few tiles, and a linear layer: 1.9 GFLOP.
fn products() -> Program {
    let mut probe = Probe::new("variant timing of products", &[1, 64, 64, 64]);
    let mut conv = |x: ValueId, [columns, depth]: [usize; 2], stride: usize, side: usize| {
        let w = probe.weight(&[columns, depth, 3, 3]);
        let act = Activation::Silu;
        let op = Op::Conv2d { stride: [stride; 2], padding: [1; 4], dilation: [1; 2], groups: 1, bias: false, act, residual: false };
        probe.op(op, &[x, w], &[1, columns, side, side])
    };
    let x = conv(ValueId(0), [256, 64], 1, 64);
    let x = conv(x, [128, 256], 2, 32);
    let x = conv(x, [64, 128], 2, 16);
    let x = probe.op(Op::Reshape, &[x], &[1, 64, 256]);
    let x = probe.op(Op::Permute { axes: vec![0, 2, 1] }, &[x], &[1, 256, 64]);
    let w = probe.weight(&[1024, 64]);
    let y = probe.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[x, w], &[1, 256, 1024]);
    probe.program(y)
}

/// Eight heads of 40 features over 1,024 tokens: 1.3 GFLOP.
fn attention() -> Program {
    let mut probe = Probe::new("variant timing of attention", &[1, 8, 1024, 40]);
    let x = ValueId(0);
    let y = probe.op(Op::Attention { scale: 0.15, causal: false }, &[x, x, x], &[1, 8, 1024, 40]);
    probe.program(y)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{Capabilities, CooperativeMatrix};

    #[test]
    fn every_variant_gives_another_plan_of_its_probe() {
        let cooperative = vec![CooperativeMatrix::F32x8, CooperativeMatrix::F16x8, CooperativeMatrix::F16x16];
        let hash = |program: &Program, variants| {
            let capabilities = Capabilities { variants, cooperative: cooperative.clone(), ..Capabilities::default() };
            Plan::new(program, &capabilities).unwrap().hash()
        };
        let matrices = MatrixVariant::ALL.map(|matrix| hash(&products(), KernelVariants { matrix, ..KernelVariants::GPU }));
        assert_eq!(BTreeSet::from(matrices).len(), matrices.len());
        let attentions = AttentionVariant::ALL.map(|attention| hash(&super::attention(), KernelVariants { attention, ..KernelVariants::GPU }));
        assert_eq!(BTreeSet::from(attentions).len(), attentions.len());
    }

    #[test]
    fn the_error_of_a_result_is_relative_and_infinite_for_broken_ones() {
        assert_eq!(relative_error(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert!((relative_error(&[1.0, 2.2], &[1.0, 2.0]) - 0.2 / 5.0f64.sqrt()).abs() < 1e-6);
        for broken in [&[1.0, f32::NAN][..], &[1.0], &[1.0, f32::INFINITY]] {
            assert_eq!(relative_error(broken, &[1.0, 2.0]), f64::INFINITY);
        }
    }
}
