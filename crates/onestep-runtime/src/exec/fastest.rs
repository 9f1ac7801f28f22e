//! Which forms of the kernels are fastest on a device: measured beside each other on products and attention of the sizes that models have,
//! in half a second at most.
//!
//! A form is taken only if its result agrees with that of the register form, which every adapter of the tests runs: a driver that
//! miscompiles one form costs speed, not images. It must also be faster than what was believed before by more than times scatter.

use onestep_program::{Activation, DType, Node, Op, Port, Program, TensorRef, Value, ValueId, WeightView};

use super::{Executor, Gpu};
use crate::{
    error::{ErrorKind, RunError},
    plan::{AttentionForm, Forms, MatrixForm, Plan},
};

/// Milliseconds after which no further form is tried.
const BUDGET: f64 = 450.0;

/// Milliseconds that a batch takes at least: browsers' clocks are coarse.
const BATCH: f64 = 5.0;

/// How often every form has its turn.
const ROUNDS: usize = 3;

/// A form must take less than this share of the believed one's time.
const WORTH: f64 = 0.95;

/// How far a form's result may be from the register form's, as relative L2: sums in another order stay far below. Forms that round
/// activations to 16 bits do not, and are left to those who ask for them: the step from noise to latents would multiply what they lose.
const AGREEMENT: f64 = 1e-4;

impl Gpu {
    /// The forms that are fastest here, beginning with those of [`capabilities`](Self::capabilities); `clock` gives milliseconds. With a
    /// clock that stands still nothing is measured.
    ///
    /// # Errors
    /// `DeviceLost`. What else a form fails with speaks against that form alone.
    pub async fn fastest_forms(&self, clock: &dyn Fn() -> f64) -> Result<Forms, RunError> {
        let believed = self.capabilities().forms;
        let until = clock() + BUDGET;
        let matrices = MatrixForm::ALL.into_iter().map(|matrix| Forms { matrix, ..believed });
        let forms = self.fastest(&products(), believed, matrices, clock, until).await?;
        let attentions = AttentionForm::ALL.into_iter().map(|attention| Forms { attention, ..forms });
        self.fastest(&attention(), forms, attentions, clock, until).await
    }

    /// The one of some forms with which a program runs fastest.
    async fn fastest(
        &self,
        program: &Program,
        believed: Forms,
        candidates: impl Iterator<Item = Forms>,
        clock: &dyn Fn() -> f64,
        until: f64,
    ) -> Result<Forms, RunError> {
        if clock() > until {
            return Ok(believed);
        }
        let proven = Forms { matrix: MatrixForm::Register, attention: AttentionForm::Register, ..believed };
        let expected = match self.first_run(program, proven).await {
            Ok((_, expected)) => expected,
            Err(error) if error.kind() == ErrorKind::DeviceLost => return Err(error),
            Err(_) => return Ok(believed),
        };
        let mut runners = Vec::new();
        // What is believed comes first: the others are compared with it, and it is what remains when time is up.
        for forms in std::iter::once(believed).chain(candidates.filter(|&forms| forms != believed)) {
            if !runners.is_empty() && clock() > until {
                break;
            }
            match self.first_run(program, forms).await {
                Ok((executor, result)) if distance(&result, &expected) < AGREEMENT => runners.push((forms, executor, Vec::new())),
                Err(error) if error.kind() == ErrorKind::DeviceLost => return Err(error),
                _ => {}
            }
        }
        let Some((_, first, _)) = runners.first() else { return Ok(proven) };
        if clock() + BUDGET <= until {
            // The clock stands still.
            return Ok(believed);
        }
        let once = self.batch(first, 1, clock).await?;
        let count = (BATCH / once.max(BATCH / 50.0)).ceil() as usize;
        'rounds: for _ in 0..ROUNDS {
            for (_, executor, times) in &mut runners {
                if clock() > until {
                    break 'rounds;
                }
                times.push(self.batch(executor, count, clock).await?);
            }
        }
        let least = |times: &[f64]| times.iter().copied().reduce(f64::min).filter(|&time| time > 0.0);
        let mut best = (runners[0].0, least(&runners[0].2));
        let limit = best.1.map(|time| time * WORTH);
        for (forms, _, times) in &runners[1..] {
            if let (Some(time), Some(limit), Some(fastest)) = (least(times), limit, best.1)
                && time < limit.min(fastest)
            {
                best = (*forms, Some(time));
            }
        }
        Ok(best.0)
    }

    /// A program in some forms, and what it computes.
    async fn first_run(&self, program: &Program, forms: Forms) -> Result<(Executor, Vec<f32>), RunError> {
        let gpu = self.with_forms(forms);
        let (halves, floats) = numbers();
        let weights = |name: &str| {
            let value = program.values.iter().find(|value| value.weight.as_deref() == Some(name))?;
            let length = value.shape.iter().product::<usize>() * 2;
            Some(WeightView { shape: &value.shape, dtype: value.dtype, bytes: bytemuck::cast_slice(&halves).get(..length)? })
        };
        let executor = Executor::new(&gpu, Plan::new(program, gpu.capabilities())?, &weights).await?;
        let length = program.value(program.inputs[0].value).shape.iter().product::<usize>();
        let given = floats.get(..length).ok_or_else(|| RunError::internal("too few numbers for a probe"))?;
        let mut outputs = executor.run(&[(INPUT, TensorRef::F32(given))]).await?;
        Ok((executor, outputs.pop().map(|(_, values)| values).unwrap_or_default()))
    }

    /// Milliseconds of some runs in a row.
    async fn batch(&self, executor: &Executor, count: usize, clock: &dyn Fn() -> f64) -> Result<f64, RunError> {
        let begun = clock();
        for _ in 0..count {
            executor.submit()?;
        }
        self.settle().await?;
        Ok(clock() - begun)
    }
}

const INPUT: &str = "x";

/// Numbers of ±0.03 to ±0.06, the same on every machine: enough for the largest weight and input of the probes.
fn numbers() -> (Vec<u16>, Vec<f32>) {
    let mut state = 1u32;
    let halves: Vec<u16> = (0..1 << 19)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // An exponent of 2⁻⁵, the rest by chance.
            0x2800 | (state >> 16) as u16 & 0x83ff
        })
        .collect();
    let floats = halves.iter().map(|&bits| 16.0 * half::f16::from_bits(bits).to_f32()).collect();
    (halves, floats)
}

/// How far a result is from another, as relative L2; infinite for what is not finite.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let difference: f64 = found.iter().zip(expected).map(|(&a, &b)| square(a - b)).sum();
    let distance = (difference / expected.iter().map(|&value| square(value)).sum::<f64>()).sqrt();
    if found.len() == expected.len() && distance.is_finite() { distance } else { f64::INFINITY }
}

/// A program of one input and one output.
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
    let mut probe = Probe::new("the measuring of products", &[1, 64, 64, 64]);
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

/// Eight heads of 40 among 1,024 tokens: 1.3 GFLOP.
fn attention() -> Program {
    let mut probe = Probe::new("the measuring of attention", &[1, 8, 1024, 40]);
    let x = ValueId(0);
    let y = probe.op(Op::Attention { scale: 0.15, causal: false }, &[x, x, x], &[1, 8, 1024, 40]);
    probe.program(y)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{Capabilities, Cooperative};

    #[test]
    fn every_form_is_another_plan_of_what_measures_it() {
        let cooperative = vec![Cooperative::Floats8, Cooperative::Halves8, Cooperative::Halves16];
        let hash = |program: &Program, forms| {
            let capabilities = Capabilities { forms, cooperative: cooperative.clone(), ..Capabilities::default() };
            Plan::new(program, &capabilities).unwrap().hash()
        };
        let matrices = MatrixForm::ALL.map(|matrix| hash(&products(), Forms { matrix, ..Forms::GPU }));
        assert_eq!(BTreeSet::from(matrices).len(), matrices.len());
        let attentions = AttentionForm::ALL.map(|form| hash(&attention(), Forms { attention: form, ..Forms::GPU }));
        assert_eq!(BTreeSet::from(attentions).len(), attentions.len());
    }

    #[test]
    fn results_are_told_apart_by_their_distance() {
        assert_eq!(distance(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert!((distance(&[1.0, 2.2], &[1.0, 2.0]) - 0.2 / 5.0f64.sqrt()).abs() < 1e-6);
        for broken in [&[1.0, f32::NAN][..], &[1.0], &[1.0, f32::INFINITY]] {
            assert_eq!(distance(broken, &[1.0, 2.0]), f64::INFINITY);
        }
    }
}
