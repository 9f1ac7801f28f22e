//! Every kernel against an f64 reference, on whatever device is given: natively on lavapipe or a GPU, in a page on the browser's own.
//!
//! A case is a small program. It runs with memory poisoned beforehand and guard zones behind every activation, once with the kernels
//! for GPUs, once with those for software adapters and, where they are others, once with the tallest tiles, and then as a user runs it, with
//! memory used again; the last must be equal to the bit.

mod cases;
mod packing;
mod random;
mod reference;
mod sketch;

use onestep_program::{Op, Program};

use crate::{
    error::RunError,
    exec::{Batch, Executor, Gpu, Image},
    plan::{BufferId, Capabilities, Cooperative, Forms, MatrixForm, Plan, PlanOptions, RowForm},
};
use reference::Tensor;
pub use sketch::{Dice, Given, Sketch};

/// How far a result may be from the f64 reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Not at all: elements are moved, not computed.
    Exact,
    /// Sums of that many products in f32: each rounding is at most 2⁻²⁴ of the sum of magnitudes so far, which the reference computes;
    /// eight more for what follows the sum, the activation among it.
    Sum(usize),
    /// Relative to the reference, plus absolute: for what the adapter computes with an accuracy of its own.
    Near {
        /// Times |reference|.
        relative: f64,
        /// Plus this.
        absolute: f64,
    },
    /// A share of the largest magnitude in the output: for chains, where one operation amplifies the rounding of another.
    OfLargest(f64),
}

/// A program with what it is given and how exactly it must be answered.
#[derive(Clone, Debug)]
pub struct Case {
    /// A claim.
    pub name: String,
    /// The program, its weights and inputs.
    pub sketch: Sketch,
    /// How exactly.
    pub tolerance: Tolerance,
    /// The largest attention scores that are stored, in bytes.
    pub stored_scores: u64,
    /// A smaller limit for grids than the device's.
    pub max_workgroups: Option<u32>,
    /// Limits within which the case is computed in bands, once more.
    pub bands: Option<Bands>,
    /// Whether it holds with activations in 16 bits too: not where a rounded input is another input.
    pub narrow: bool,
}

/// Limits smaller than the device's: every one of them is to make more dispatches of a case, and no other result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Bytes of a buffer that a kernel sees.
    pub binding: Option<u64>,
    /// Operations of one dispatch.
    pub work: Option<u64>,
    /// Whether there must be more dispatches; of a random program it is not known.
    pub certain: bool,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// What was wrong, or how exact it was.
    pub detail: String,
    /// The worst error as a share of the tolerance; 0 for exact cases that hold.
    pub worst: f64,
}

/// How far results may be from the reference with activations in 16 bits, as a share of the largest of them.
const NARROW: f64 = 1e-2;

/// The words that memory is filled with before a run: what never is a result, and in f32 what spoils every sum.
const POISONS: [u32; 2] = [0x7fc0_1234, 0x7149_f2ca];

/// Runs every case and as many random programs as there is patience for; reports all of them.
pub async fn run_all(gpu: &Gpu) -> Vec<CaseResult> {
    run_some(gpu, "", 40).await
}

/// Runs the cases whose names contain `filter`, and that many random programs.
pub async fn run_some(gpu: &Gpu, filter: &str, random_programs: u64) -> Vec<CaseResult> {
    let mut all = cases::all();
    all.extend((0..random_programs).map(random::case));
    let chosen: Vec<&Case> = all.iter().filter(|case| case.name.contains(filter)).collect();
    let mut outcomes: Vec<Result<f64, Failure>> = chosen.iter().map(|_| Ok(0.0)).collect();
    let expected: Vec<Expected> = chosen.iter().map(|case| Expected::of(case)).collect();
    // Form by form: a software adapter keeps few compiled kernels, and compiles again what it has dropped.
    for form in forms(&gpu.capabilities().cooperative) {
        for ((case, expected), outcome) in chosen.iter().zip(&expected).zip(&mut outcomes) {
            if let Ok(worst) = outcome {
                *outcome = run(gpu, case, expected, form).await.map(|share| share.max(*worst));
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
    let bands = Capabilities { max_storage_binding: 1024, ..gpu.capabilities().clone() };
    for (name, limits) in [("an image is rounded to bytes", gpu.capabilities()), ("an image is rounded to bytes in bands", &bands)] {
        if name.contains(filter) {
            let outcome = image(gpu, limits).await;
            let (passed, detail) = (outcome.is_ok(), outcome.err().map_or_else(String::new, |failure| failure.what));
            results.push(CaseResult { name: name.into(), passed, worst: 0.0, detail });
        }
    }
    results
}

/// Why a case does not hold.
struct Failure {
    what: String,
    worst: f64,
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self { what: format!("{:?}: {error}", error.kind()), worst: f64::INFINITY }
    }
}

/// What the reference says of a case, by output.
struct Expected {
    values: Vec<Option<Tensor>>,
    /// For sums: Σ|a·b|.
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

async fn run(gpu: &Gpu, case: &Case, expected: &Expected, form: Form) -> Result<f64, Failure> {
    if form.rounds() && !case.narrow {
        return Ok(0.0);
    }
    let program = &case.sketch.program;
    let limit = case.max_workgroups.unwrap_or(gpu.capabilities().max_workgroups);
    let capabilities = form.capabilities(&Capabilities { max_workgroups: limit, ..gpu.capabilities().clone() });
    let options = PlanOptions { reuse: false, guard: 256, stored_scores: case.stored_scores, narrow: form.narrow, kept: &["input1"] };
    let plan = Plan::with_options(program, &capabilities, options)?;
    if form.forms.matrix == MatrixForm::Tall {
        let forms = Forms { matrix: MatrixForm::Tile, ..capabilities.forms };
        if plan.hash() == Plan::with_options(program, &Capabilities { forms, ..capabilities.clone() }, options)?.hash() {
            return Ok(0.0);
        }
    }
    let executor = Executor::new(gpu, plan, &|name| case.sketch.view(name)).await?;
    executor.poison(form.poison);
    let outputs = executor.run(&case.sketch.inputs()).await?;
    let worst = compare(case, form.rounds(), expected, &outputs)?;
    guards(&executor, form.poison).await?;
    // As a user runs it, after something else was there.
    let options = PlanOptions { reuse: true, guard: 0, ..options };
    let executor = Executor::new(gpu, Plan::with_options(program, &capabilities, options)?, &|name| case.sketch.view(name)).await?;
    executor.poison(form.poison);
    let again = executor.run(&case.sketch.inputs()).await?;
    let bits =
        |outputs: &[(String, Vec<f32>)]| -> Vec<u32> { outputs.iter().flat_map(|(_, values)| values.iter().map(|value| value.to_bits())).collect() };
    if bits(&outputs) != bits(&again) {
        return Err(Failure { what: "memory that is used again changes the result".into(), worst: f64::INFINITY });
    }
    if let Some(bands) = case.bands {
        let whole = executor.plan().dispatches.len();
        let capabilities = Capabilities {
            // In 16 bits, tensors are half as large.
            max_storage_binding: bands.binding.map_or(capabilities.max_storage_binding, |bytes| if form.narrow { bytes / 2 } else { bytes }),
            max_work: bands.work.unwrap_or(capabilities.max_work),
            ..capabilities
        };
        let options = PlanOptions { reuse: false, guard: 256, ..options };
        let plan = Plan::with_options(program, &capabilities, options)?;
        if bands.certain && plan.dispatches.len() <= whole {
            return Err(Failure { what: format!("{whole} dispatches are not more within {bands:?}"), worst: f64::INFINITY });
        }
        let executor = Executor::new(gpu, plan, &|name| case.sketch.view(name)).await?;
        executor.poison(form.poison);
        if bits(&outputs) != bits(&executor.run(&case.sketch.inputs()).await?) {
            return Err(Failure { what: format!("bands within {bands:?} change the result"), worst: f64::INFINITY });
        }
        guards(&executor, form.poison).await?;
    }
    // Once more with what was kept of the run before.
    if let Some((name, tensor)) = case.sketch.inputs().into_iter().next() {
        executor.write_input(name, tensor)?;
    }
    executor.submit()?;
    for (name, values) in &outputs {
        if executor.read_output(name).await?.iter().map(|value| value.to_bits()).ne(values.iter().map(|value| value.to_bits())) {
            return Err(Failure { what: format!("{name} is another in a second run"), worst: f64::INFINITY });
        }
    }
    Ok(worst)
}

/// How a case is planned.
#[derive(Clone, Copy)]
struct Form {
    /// Which forms of the kernels.
    forms: Forms,
    /// With activations in 16 bits.
    narrow: bool,
    /// What lies in memory beforehand.
    poison: u32,
}

/// Those of GPUs with the tallest tiles.
const TALL: Forms = Forms { matrix: MatrixForm::Tall, ..Forms::GPU };

const FORMS: [Form; 6] = [
    Form { forms: Forms::GPU, narrow: false, poison: POISONS[0] },
    Form { forms: Forms::SOFTWARE, narrow: false, poison: POISONS[1] },
    Form { forms: Forms::GPU, narrow: true, poison: POISONS[1] },
    Form { forms: Forms::SOFTWARE, narrow: true, poison: POISONS[0] },
    Form { forms: TALL, narrow: false, poison: POISONS[1] },
    Form { forms: TALL, narrow: true, poison: POISONS[0] },
];

/// Those, and the form of every kind of matrices that the adapter multiplies as such.
fn forms(cooperative: &[Cooperative]) -> Vec<Form> {
    let with = |&form: &Cooperative| {
        [(false, POISONS[0]), (true, POISONS[1])].map(|(narrow, poison)| Form {
            forms: Forms { matrix: MatrixForm::Cooperative(form), ..Forms::GPU },
            narrow,
            poison,
        })
    };
    FORMS.into_iter().chain(cooperative.iter().flat_map(with)).collect()
}

impl Form {
    /// Whether activations are rounded to 16 bits on their way.
    fn rounds(self) -> bool {
        let halves = [Cooperative::Halves16, Cooperative::Halves8].map(MatrixForm::Cooperative);
        self.narrow || halves.contains(&self.forms.matrix)
    }

    fn capabilities(self, base: &Capabilities) -> Capabilities {
        // A software adapter runs what it would choose for itself.
        let halves = self.forms.rows == RowForm::Together || base.forms.halves;
        Capabilities { forms: Forms { halves, ..self.forms }, ..base.clone() }
    }
}

/// Every kernel that some case runs, by name: what the table of kernels is compared with.
///
/// # Errors
/// Those of planning.
pub fn kernels_of_cases() -> Result<std::collections::BTreeSet<&'static str>, RunError> {
    let mut names = std::collections::BTreeSet::new();
    // An adapter that has everything.
    let cooperative = if cfg!(target_arch = "wasm32") { Vec::new() } else { vec![Cooperative::Halves16, Cooperative::Halves8, Cooperative::Floats8] };
    let base = Capabilities { cooperative, ..Capabilities::default() };
    for case in cases::all() {
        for form in forms(&base.cooperative) {
            let options = PlanOptions { stored_scores: case.stored_scores, narrow: form.narrow, ..PlanOptions::default() };
            let plan = Plan::with_options(&case.sketch.program, &form.capabilities(&base), options)?;
            names.extend(plan.dispatches.iter().map(|dispatch| dispatch.kernel.name));
        }
    }
    Ok(names)
}

/// For sums: Σ|a·b| of every output, from the reference on magnitudes.
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

/// The worst error of the outputs as a share of the tolerance.
fn compare(case: &Case, narrow: bool, expected: &Expected, outputs: &[(String, Vec<f32>)]) -> Result<f64, Failure> {
    let mut worst: f64 = 0.0;
    let wrong = |what: String| Failure { what, worst: f64::INFINITY };
    for (number, (name, output)) in outputs.iter().enumerate() {
        let magnitudes = expected.magnitudes.get(number).and_then(Option::as_ref);
        let expected = expected.values.get(number).and_then(Option::as_ref).ok_or_else(|| wrong(format!("the reference has no {name}")))?;
        if expected.data.len() != output.len() {
            return Err(wrong(format!("{name} has {} elements, expected were {}", output.len(), expected.data.len())));
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
                Tolerance::OfLargest(share) => share * largest + f64::from(f32::MIN_POSITIVE),
            };
            // Every tensor on the way is rounded to eleven bits, and what is computed of it amplifies that.
            let allowed = if narrow { allowed + NARROW * (largest + want.abs()) } else { allowed };
            let share = if error == 0.0 { 0.0 } else { error / allowed };
            if share > 1.0 || share.is_nan() {
                return Err(Failure {
                    what: format!("{name}[{i}] of {:?} is {got}, expected was {want}: off by {error:e}, allowed are {allowed:e}", expected.shape),
                    worst: share,
                });
            }
            worst = worst.max(share);
        }
    }
    Ok(worst)
}

/// Nothing but the activations was written.
async fn guards(executor: &Executor, poison: u32) -> Result<(), Failure> {
    for (number, words) in executor.read_arenas().await?.iter().enumerate() {
        let mut free = vec![true; words.len()];
        for slice in executor.plan().activations.iter().filter(|slice| slice.buffer == BufferId::Arena(number)) {
            let start = slice.offset as usize / 4;
            free[start..start + slice.size as usize / 4].fill(false);
        }
        if let Some(at) = (0..words.len()).find(|&at| free[at] && words[at] != poison) {
            return Err(Failure {
                what: format!("word {at} of arena {number} belongs to no activation and was overwritten with {:#x}", words[at]),
                worst: f64::INFINITY,
            });
        }
    }
    Ok(())
}

/// The image of a decoder that copies its input.
async fn image(gpu: &Gpu, limits: &Capabilities) -> Result<(), Failure> {
    let (height, width) = (23, 29);
    let mut sketch = Sketch::new("image");
    let values: Vec<f32> = (0..3 * height * width).map(|i| -1.3 + i as f32 * 0.0013).collect();
    let x = sketch.input_of(&[1, 3, height, width], values.clone());
    sketch.output(x);
    let executor = Executor::new(gpu, Plan::new(&sketch.program, gpu.capabilities())?, &|name| sketch.view(name)).await?;
    let image = Image::within(gpu, limits, &executor, "output0").await?;
    if image.read_rgba8().await.is_ok() {
        return Err(Failure { what: "an image came back before it was submitted".into(), worst: f64::INFINITY });
    }
    for (name, tensor) in sketch.inputs() {
        executor.write_input(name, tensor)?;
    }
    let mut batch = Batch::new(gpu)?;
    batch.run(&executor)?;
    batch.image(&image)?;
    batch.submit()?;
    let (broken, bytes) = image.read_rgba8().await?;
    if broken != 0 || image.wait().await? != 0 {
        return Err(Failure { what: format!("{broken} pixels are called broken"), worst: f64::INFINITY });
    }
    let count = height * width;
    for (i, pixel) in bytes.chunks(4).enumerate() {
        let expected = [0, 1, 2].map(|channel| ((f64::from(values[channel * count + i]) * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0 + 0.5).floor());
        // A value that lies on the edge between two bytes in f64 may fall to either in f32.
        let off =
            |channel: usize| (f64::from(pixel[channel]) - expected[channel]).abs() > f64::from(u8::from(near_edge(values[channel * count + i])));
        if bytes.len() != 4 * count || pixel[3] != 255 || (0..3).any(off) {
            return Err(Failure { what: format!("pixel {i} is {pixel:?}, expected was {expected:?}"), worst: f64::INFINITY });
        }
    }
    // What is not a number is counted, pixel by pixel.
    let mut spoilt = values;
    for (at, value) in [(0, f32::NAN), (count, f32::INFINITY), (2 * count + 9, f32::NEG_INFINITY), (17, -f32::NAN)] {
        spoilt[at] = value;
    }
    executor.write_input("input0", onestep_program::TensorRef::F32(&spoilt))?;
    let mut batch = Batch::new(gpu)?;
    batch.run(&executor)?;
    batch.image(&image)?;
    batch.submit()?;
    let (found, waited) = (image.read_rgba8().await?, image.wait().await?);
    let black = [0, 9, 17].iter().all(|&i| found.1[4 * i..4 * i + 4] == [0, 0, 0, 255]);
    match (found.0, waited, black) {
        (3, 3, true) => Ok(()),
        _ => Err(Failure { what: format!("of 3 broken pixels {} and {waited} are counted; black: {black}", found.0), worst: f64::INFINITY }),
    }
}

fn near_edge(value: f32) -> bool {
    let scaled = (f64::from(value) * 0.5 + 0.5) * 255.0 + 0.5;
    (scaled - scaled.round()).abs() < 1e-4
}
