//! Runs cases and compares their outputs with the reference.

use onestep_program::{Op, Program};

use super::{
    case::{BandLimits, Case, CaseResult, Failure, POISONS, Tolerance},
    cases, packing, present, random_programs,
    reference::{self, Tensor},
};
use crate::{
    error::RunError,
    exec::{Executor, Gpu},
    plan::{BufferId, Capabilities, CooperativeMatrix, KernelVariants, MatrixVariant, Plan, PlanOptions, RowVariant},
};

/// The tolerance of results with f16 activations, as a fraction of the largest of them.
const F16_TOLERANCE: f64 = 1e-2;

/// The outputs of a program, by name.
type Outputs = Vec<(String, Vec<f32>)>;

/// Runs every case and 40 random programs.
pub async fn run_all(gpu: &Gpu) -> Vec<CaseResult> {
    run_some(gpu, "", 40).await
}

/// Runs the cases and random programs (the first so many) with `filter` in their names.
pub async fn run_some(gpu: &Gpu, filter: &str, random_programs: u64) -> Vec<CaseResult> {
    let mut all = cases::all();
    all.extend((0..random_programs).map(random_programs::case));
    let chosen: Vec<&Case> = all.iter().filter(|case| case.name.contains(filter)).collect();
    let mut outcomes: Vec<Result<f64, Failure>> = chosen.iter().map(|_| Ok(0.0)).collect();
    let expected: Vec<Expected> = chosen.iter().map(|case| Expected::of(case)).collect();
    // Mode by mode, because a software adapter caches few compiled kernels.
    for mode in modes(&gpu.capabilities().cooperative) {
        for ((case, expected), outcome) in chosen.iter().zip(&expected).zip(&mut outcomes) {
            if let Ok(worst) = outcome {
                *outcome = run(gpu, case, expected, mode).await.map(|error| error.max(*worst));
            }
        }
    }
    let mut results: Vec<CaseResult> = chosen
        .iter()
        .zip(outcomes)
        .map(|(case, outcome)| match outcome {
            Ok(worst) => CaseResult { name: case.name.clone(), passed: true, detail: format!("{worst:.3} of the tolerance"), worst },
            Err(Failure { what, worst }) => CaseResult { name: case.name.clone(), passed: false, detail: what, worst },
        })
        .collect();
    results.extend(packing::cases(gpu, filter).await);
    let small = Capabilities { max_storage_binding: 1024, ..gpu.capabilities().clone() };
    for (name, limits) in [("an image is rounded to bytes", gpu.capabilities()), ("an image is rounded to bytes in bands", &small)] {
        if name.contains(filter) {
            let outcome = present::case(gpu, limits).await;
            let (passed, detail) = (outcome.is_ok(), outcome.err().map_or_else(String::new, |failure| failure.what));
            results.push(CaseResult { name: name.into(), passed, worst: 0.0, detail });
        }
    }
    results
}

/// The reference's outputs of a case.
struct Expected {
    values: Vec<Option<Tensor>>,
    /// For [`Tolerance::Sum`]: Σ|a·b|.
    magnitudes: Vec<Option<Tensor>>,
}

impl Expected {
    fn of(case: &Case) -> Self {
        let outputs =
            |values: Vec<Option<Tensor>>| case.sketch.program.outputs.iter().map(|port| values.get(port.value.index()).cloned().flatten()).collect();
        let values = outputs(reference::run(&case.sketch.program, case.sketch.given(|x| x)));
        Self { values, magnitudes: outputs(magnitudes(case)) }
    }
}

/// Runs a case in a mode: poisoned with guards, then with production options, then in bands. Returns the largest error as a fraction of the
/// tolerance.
async fn run(gpu: &Gpu, case: &Case, expected: &Expected, mode: Mode) -> Result<f64, Failure> {
    if mode.rounds() && !case.f16_activations {
        return Ok(0.0);
    }
    let program = &case.sketch.program;
    let limit = case.max_workgroups.unwrap_or(gpu.capabilities().max_workgroups);
    let capabilities = mode.capabilities(&Capabilities { max_workgroups: limit, ..gpu.capabilities().clone() });
    let options = PlanOptions {
        reuse: false,
        guard: 256,
        stored_scores: case.stored_scores,
        f16_activations: mode.f16_activations,
        persistent_inputs: &["input1"],
    };
    let plan = Plan::with_options(program, &capabilities, options)?;
    if mode.variants.matrix == MatrixVariant::Tile128 {
        let variants = KernelVariants { matrix: MatrixVariant::Tile64, ..capabilities.variants };
        if plan.hash() == Plan::with_options(program, &Capabilities { variants, ..capabilities.clone() }, options)?.hash() {
            return Ok(0.0);
        }
    }
    let (executor, outputs) = run_plan(gpu, case, plan, mode).await?;
    let worst = compare(case, mode.rounds(), expected, &outputs)?;
    check_guards(&executor, mode.poison).await?;
    let options = PlanOptions { reuse: true, guard: 0, ..options };
    let (executor, again) = run_plan(gpu, case, Plan::with_options(program, &capabilities, options)?, mode).await?;
    if bits(&outputs) != bits(&again) {
        return Err(Failure::new("reusing memory changes the result"));
    }
    if let Some(limits) = case.bands {
        let whole = executor.plan().dispatches.len();
        run_in_bands(gpu, case, mode, (&capabilities, PlanOptions { reuse: false, guard: 256, ..options }), limits, (whole, &outputs)).await?;
    }
    check_second_run(case, &executor, &outputs).await?;
    Ok(worst)
}

/// Runs a plan on poisoned memory.
async fn run_plan(gpu: &Gpu, case: &Case, plan: Plan, mode: Mode) -> Result<(Executor, Outputs), Failure> {
    let executor = Executor::new(gpu, plan, &|name| case.sketch.view(name)).await?;
    executor.poison(mode.poison);
    let outputs = executor.run(&case.sketch.inputs()).await?;
    Ok((executor, outputs))
}

fn bits(outputs: &Outputs) -> Vec<u32> {
    outputs.iter().flat_map(|(_, values)| values.iter().map(|value| value.to_bits())).collect()
}

/// Runs a case with limits that force row bands; the outputs must be bit-identical to those of `whole` dispatches.
async fn run_in_bands(
    gpu: &Gpu,
    case: &Case,
    mode: Mode,
    (capabilities, options): (&Capabilities, PlanOptions),
    limits: BandLimits,
    (whole, outputs): (usize, &Outputs),
) -> Result<(), Failure> {
    let capabilities = Capabilities {
        // f16 tensors are half as large.
        max_storage_binding: limits.binding.map_or(capabilities.max_storage_binding, |bytes| if mode.f16_activations { bytes / 2 } else { bytes }),
        max_flops: limits.flops.unwrap_or(capabilities.max_flops),
        ..capabilities.clone()
    };
    let plan = Plan::with_options(&case.sketch.program, &capabilities, options)?;
    if limits.certain && plan.dispatches.len() <= whole {
        return Err(Failure::new(format!("{limits:?} do not give more than {whole} dispatches")));
    }
    let (executor, banded) = run_plan(gpu, case, plan, mode).await?;
    if bits(outputs) != bits(&banded) {
        return Err(Failure::new(format!("bands within {limits:?} change the result")));
    }
    check_guards(&executor, mode.poison).await
}

/// Runs again after writing the first input only, with the persistent results of the previous run.
async fn check_second_run(case: &Case, executor: &Executor, outputs: &Outputs) -> Result<(), Failure> {
    if let Some((name, tensor)) = case.sketch.inputs().into_iter().next() {
        executor.write_input(name, tensor)?;
    }
    executor.submit()?;
    for (name, values) in outputs {
        if executor.read_output(name).await?.iter().map(|value| value.to_bits()).ne(values.iter().map(|value| value.to_bits())) {
            return Err(Failure::new(format!("{name} differs in a second run")));
        }
    }
    Ok(())
}

/// How a case is planned and run.
#[derive(Clone, Copy)]
struct Mode {
    variants: KernelVariants,
    f16_activations: bool,
    /// What memory is filled with before a run.
    poison: u32,
}

/// The GPU variants with 128-row tiles.
const TILE_128: KernelVariants = KernelVariants { matrix: MatrixVariant::Tile128, ..KernelVariants::GPU };

const MODES: [Mode; 6] = [
    Mode { variants: KernelVariants::GPU, f16_activations: false, poison: POISONS[0] },
    Mode { variants: KernelVariants::SOFTWARE, f16_activations: false, poison: POISONS[1] },
    Mode { variants: KernelVariants::GPU, f16_activations: true, poison: POISONS[1] },
    Mode { variants: KernelVariants::SOFTWARE, f16_activations: true, poison: POISONS[0] },
    Mode { variants: TILE_128, f16_activations: false, poison: POISONS[1] },
    Mode { variants: TILE_128, f16_activations: true, poison: POISONS[0] },
];

/// [`MODES`], and two for every kind of cooperative matrices.
fn modes(cooperative: &[CooperativeMatrix]) -> Vec<Mode> {
    let with = |&matrix: &CooperativeMatrix| {
        [(false, POISONS[0]), (true, POISONS[1])].map(|(f16_activations, poison)| Mode {
            variants: KernelVariants { matrix: MatrixVariant::Cooperative(matrix), ..KernelVariants::GPU },
            f16_activations,
            poison,
        })
    };
    MODES.into_iter().chain(cooperative.iter().flat_map(with)).collect()
}

impl Mode {
    /// True if activations are rounded to f16, in memory or in a kernel.
    fn rounds(self) -> bool {
        let f16_matrices = [CooperativeMatrix::F16x16, CooperativeMatrix::F16x8].map(MatrixVariant::Cooperative);
        self.f16_activations || f16_matrices.contains(&self.variants.matrix)
    }

    fn capabilities(self, base: &Capabilities) -> Capabilities {
        // With software variants, f16 weights as the adapter would choose.
        let f16_weights = self.variants.rows == RowVariant::Workgroup || base.variants.f16_weights;
        Capabilities { variants: KernelVariants { f16_weights, ..self.variants }, ..base.clone() }
    }
}

/// The names of all kernels that some case runs, to be compared with the table of kernels.
///
/// # Errors
/// As [`Plan::new`].
pub fn kernels_of_cases() -> Result<std::collections::BTreeSet<&'static str>, RunError> {
    let mut names = std::collections::BTreeSet::new();
    // An adapter with every native feature.
    let all = vec![CooperativeMatrix::F16x16, CooperativeMatrix::F16x8, CooperativeMatrix::F32x8];
    let cooperative = if cfg!(target_arch = "wasm32") { Vec::new() } else { all };
    let base = Capabilities { cooperative, ..Capabilities::default() };
    for case in cases::all() {
        for mode in modes(&base.cooperative) {
            let options = PlanOptions { stored_scores: case.stored_scores, f16_activations: mode.f16_activations, ..PlanOptions::default() };
            let plan = Plan::with_options(&case.sketch.program, &mode.capabilities(&base), options)?;
            names.extend(plan.dispatches.iter().map(|dispatch| dispatch.kernel.name));
        }
    }
    Ok(names)
}

/// Σ|a·b| of every output of a case with [`Tolerance::Sum`], from the reference on magnitudes.
fn magnitudes(case: &Case) -> Vec<Option<Tensor>> {
    if !matches!(case.tolerance, Tolerance::Sum(_)) {
        return Vec::new();
    }
    let mut program: Program = case.sketch.program.clone();
    for node in &mut program.nodes {
        match &mut node.op {
            Op::Conv2d { act, .. } | Op::UpConv2d { act, .. } | Op::Linear { act, .. } => *act = onestep_program::Activation::None,
            _ => {}
        }
    }
    reference::run(&program, case.sketch.given(f64::abs))
}

/// The largest error of the outputs as a fraction of the tolerance; a failure if it exceeds 1.
fn compare(case: &Case, rounds: bool, expected: &Expected, outputs: &Outputs) -> Result<f64, Failure> {
    let mut worst: f64 = 0.0;
    for (number, (name, output)) in outputs.iter().enumerate() {
        let magnitudes = expected.magnitudes.get(number).and_then(Option::as_ref);
        let expected = expected.values.get(number).and_then(Option::as_ref);
        let expected = expected.ok_or_else(|| Failure::new(format!("the reference has no output {name}")))?;
        if expected.data.len() != output.len() {
            return Err(Failure::new(format!("{name} has {} elements, expected were {}", output.len(), expected.data.len())));
        }
        let largest = expected.data.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        for (i, (&want, &got)) in expected.data.iter().zip(output).enumerate() {
            let error = (f64::from(got) - want).abs();
            let allowed = match case.tolerance {
                Tolerance::Exact => 0.0,
                Tolerance::Sum(terms) => {
                    let magnitude = magnitudes.map_or(0.0, |tensor| tensor.data[i]);
                    (terms as f64 + 8.0) * f64::from(f32::EPSILON) / 2.0 * magnitude + f64::from(f32::MIN_POSITIVE)
                }
                Tolerance::Near { relative, absolute } => relative * want.abs() + absolute,
                Tolerance::OfLargest(fraction) => fraction * largest + f64::from(f32::MIN_POSITIVE),
            };
            // Intermediate tensors are rounded to eleven bits, and later operations amplify that.
            let allowed = if rounds { allowed + F16_TOLERANCE * (largest + want.abs()) } else { allowed };
            let fraction = if error == 0.0 { 0.0 } else { error / allowed };
            if fraction > 1.0 || fraction.is_nan() {
                return Err(Failure {
                    what: format!("{name}[{i}] of {:?} is {got}, expected was {want}: off by {error:e}, allowed are {allowed:e}", expected.shape),
                    worst: fraction,
                });
            }
            worst = worst.max(fraction);
        }
    }
    Ok(worst)
}

/// A failure if a word of an arena outside the activations is no longer the poison.
async fn check_guards(executor: &Executor, poison: u32) -> Result<(), Failure> {
    for (number, words) in executor.read_arenas().await?.iter().enumerate() {
        let mut free = vec![true; words.len()];
        for slice in executor.plan().activations.iter().filter(|slice| slice.buffer == BufferId::Arena(number)) {
            let start = slice.offset as usize / 4;
            free[start..start + slice.size as usize / 4].fill(false);
        }
        if let Some(word) = (0..words.len()).find(|&word| free[word] && words[word] != poison) {
            return Err(Failure::new(format!("word {word} of arena {number} belongs to no activation and was overwritten with {:#x}", words[word])));
        }
    }
    Ok(())
}
