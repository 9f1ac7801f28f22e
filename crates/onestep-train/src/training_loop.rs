//! The training loop of all commands: step, log, sample, save, resume.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Tensor;
use onestep_nets::weights;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    checkpoint::{Checkpoint, Counters},
    error::{TrainError, TrainErrorKind, check_options},
    image_grid::ImageGrid,
    observer::Observer,
    optimizer::{FlatGradients, Optimizer, OptimizerOptions},
    parameters,
    run_folder::{Entry, RunFolder},
    store::sha256,
};

/// Options of the training loop.
#[derive(Clone, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Training")]
pub struct LoopOptions {
    /// Training steps.
    #[arg(long)]
    pub steps: u64,
    /// Samples per step.
    #[arg(long)]
    pub batch: usize,
    /// Seed of all random numbers of the run.
    #[arg(long)]
    pub seed: u64,
    /// Steps between checkpoints.
    #[arg(long)]
    pub save_every: u64,
    /// Number of checkpoints to keep.
    #[arg(long)]
    pub keep_last: usize,
    /// The update rule.
    #[command(flatten)]
    pub optimizer: OptimizerOptions,
}

/// Options of the averaged weights, and of the sample images that they generate.
#[derive(Clone, Debug, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Training")]
pub struct AveragingOptions {
    /// Decay of the exponential moving average (EMA) of the weights, per step.
    #[arg(long)]
    pub ema_decay: f64,
    /// Steps between sample images.
    #[arg(long)]
    pub sample_every: u64,
}

impl Default for AveragingOptions {
    fn default() -> Self {
        Self { ema_decay: 0.999, sample_every: 250 }
    }
}

impl AveragingOptions {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<(), TrainError> {
        check_options([(format!("--ema-decay {}", self.ema_decay), (0.0..1.0).contains(&self.ema_decay), "a number from 0 to below 1")])
    }
}

impl Default for LoopOptions {
    fn default() -> Self {
        Self { steps: 1000, batch: 32, seed: 0, save_every: 250, keep_last: 2, optimizer: OptimizerOptions::default() }
    }
}

impl LoopOptions {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<(), TrainError> {
        let rules = [
            (format!("--steps {}", self.steps), self.steps <= MOST_STEPS, "at most 9999999"),
            (format!("--batch {}", self.batch), (1..=MOST_SAMPLES).contains(&self.batch), "a number from 1 to 65536"),
        ];
        check_options(rules.into_iter().chain(self.optimizer.rules("--learning-rate")))
    }

    /// Refuses a batch that no machine has memory for. `shape` is the shape of one sample.
    ///
    /// # Errors
    /// [`TrainErrorKind::Usage`], with the largest batch.
    pub fn check_batch(&self, shape: [usize; 3]) -> Result<(), TrainError> {
        check_elements("--batch", self.batch, shape)
    }
}

/// Names of checkpoints have seven digits for the step.
const MOST_STEPS: u64 = 9_999_999;
/// Largest batch.
const MOST_SAMPLES: usize = 65_536;
/// Most elements of a batch: 2 GiB of f32.
const MOST_ELEMENTS: u128 = 1 << 29;
/// Most parameters of a network: 4 GiB of f32; training takes about ten times that.
const MOST_PARAMETERS: u128 = 1 << 30;

/// Refuses a `count` of samples of this shape that no machine has memory for. `option` is the option that gave the count.
///
/// # Errors
/// [`TrainErrorKind::Usage`], with the option and the largest count.
pub fn check_elements(option: &str, count: usize, shape: [usize; 3]) -> Result<(), TrainError> {
    let elements: u128 = shape.iter().fold(1, |elements: u128, &length| elements.saturating_mul(length as u128));
    let most = MOST_ELEMENTS / elements.max(1);
    if count as u128 <= most {
        return Ok(());
    }
    Err(TrainError::new(TrainErrorKind::Usage, format!("{option} {count}: expected at most {most} where each is {shape:?} numbers")))
}

/// Refuses a network that is too large to train, before its lazily initialised parameters are allocated. `options` are the options that set its
/// size, as given.
///
/// # Errors
/// [`TrainErrorKind::Usage`], with the options and the number of parameters.
pub fn check_parameters<M: Module>(net: &M, options: &str) -> Result<(), TrainError> {
    let count: u128 = weights::parameters(net).iter().map(|parameter| parameter.shape.iter().map(|&length| length as u128).product::<u128>()).sum();
    if count <= MOST_PARAMETERS {
        return Ok(());
    }
    Err(TrainError::new(
        TrainErrorKind::Usage,
        format!("{options}: expected a network of at most {MOST_PARAMETERS} parameters, this one has {count}"),
    ))
}

/// A training with a state that can be saved and loaded.
pub trait Trainee {
    /// Performs step `step`, counted from 0. Returns the metrics to log; the first is shown as progress.
    ///
    /// # Errors
    /// A loss or gradient that is not finite, see [`finite`].
    fn update(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>, TrainError>;
    /// The state from which [`Trainee::load`] resumes: contents by path within a checkpoint.
    fn files(&self) -> Vec<(String, Vec<u8>)>;
    /// Loads the state that [`Trainee::files`] gave.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError>;
    /// Steps between sample images; none if there are no images.
    fn sample_every(&self) -> Option<u64>;
    /// Sample images that show the progress.
    fn sample(&self) -> Option<ImageGrid>;
}

/// Options of a run that can be resumed.
///
/// A resume may change options that influence no step: paths (the data behind them is hashed instead), how often the run saves and samples, and
/// what saves memory only. Each options struct declares these fields here. A new field is fixed until it is declared.
pub trait RunOptions: Serialize {
    /// A copy in which all fields that a resume may change have their default values.
    fn fixed_for_resume(&self) -> Self;
}

impl RunOptions for LoopOptions {
    fn fixed_for_resume(&self) -> Self {
        let Self { save_every, keep_last, .. } = Self::default();
        Self { save_every, keep_last, ..self.clone() }
    }
}

impl RunOptions for AveragingOptions {
    fn fixed_for_resume(&self) -> Self {
        Self { sample_every: Self::default().sample_every, ..self.clone() }
    }
}

/// What a resume must not change, as hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    options: String,
    data: String,
}

impl RunIdentity {
    /// The identity of a run with these options on data of this hash.
    pub fn new(options: &impl RunOptions, data: &str) -> Self {
        let json = serde_json::to_value(options.fixed_for_resume()).unwrap_or_default();
        Self { options: sha256(json.to_string().as_bytes()), data: data.into() }
    }

    /// Refuses to resume a checkpoint of a run with another identity.
    fn check(&self, counters: &Counters, folder: &RunFolder) -> Result<(), TrainError> {
        for (what, saved, given) in [("options", &counters.options, &self.options), ("data", &counters.data, &self.data)] {
            if saved != given {
                let message = format!(
                    "this run was started with other {what}; give the same ones (see config.toml in {}), or start a new run",
                    folder.path().display()
                );
                return Err(TrainError::new(TrainErrorKind::Usage, message));
            }
        }
        Ok(())
    }
}

/// Trains until all steps are done, from the newest checkpoint if the folder was entered with [`Entry::Resume`].
///
/// # Errors
/// Storage, a damaged checkpoint, a checkpoint of another identity, a loss that is not finite, or an interruption (the state is saved).
pub fn run(
    trainee: &mut impl Trainee,
    options: &LoopOptions,
    identity: &RunIdentity,
    folder: &mut RunFolder,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let first = if folder.entry() == Entry::Resume { resume(trainee, options, identity, folder, observer)? } else { 0 };
    folder.rewind_log(first)?;
    observer.begin("training", options.steps, first);
    let started = Instant::now();
    for step in first..options.steps {
        let metrics = trainee.update(step)?;
        let done = step + 1;
        let seconds = started.elapsed().as_secs_f64();
        log(folder, options, done, seconds, &metrics)?;
        let per_second = (done - first) as f64 * options.batch as f64 / seconds.max(1e-9);
        let watched = metrics.first().map_or(String::new(), |(name, value)| format!("{name} {value:.4} · "));
        observer.step(done, &format!("{watched}{per_second:.0} samples/s"));

        let stopped = observer.stopped();
        let is_due = |every: u64| done % every.max(1) == 0 || done == options.steps;
        if trainee.sample_every().is_some_and(is_due)
            && let Some(images) = trainee.sample()
        {
            images.write(&folder.sample(done))?;
        }
        if is_due(options.save_every) || stopped {
            save(trainee, options, identity, folder, done, observer)?;
        }
        if stopped && done < options.steps {
            return Err(TrainError::new(
                TrainErrorKind::Interrupted,
                format!("stopped at step {done} of {}, everything saved; resume with the same command and --resume", options.steps),
            ));
        }
    }
    Ok(())
}

/// Loads the newest checkpoint, and returns the number of steps that it has done; 0 if there is none.
fn resume(
    trainee: &mut impl Trainee,
    options: &LoopOptions,
    identity: &RunIdentity,
    folder: &RunFolder,
    observer: &mut dyn Observer,
) -> Result<u64, TrainError> {
    let Some(checkpoint) = Checkpoint::newest(&folder.checkpoints(), &mut |note| observer.note(note))? else { return Ok(0) };
    identity.check(&checkpoint.counters, folder)?;
    trainee.load(&checkpoint)?;
    if checkpoint.counters.step == options.steps {
        observer.note(&format!("state hash {}", checkpoint.state_hash()));
    }
    Ok(checkpoint.counters.step)
}

/// Appends the metrics of a step to `log.jsonl`. `seconds` are those of this process.
fn log(folder: &mut RunFolder, options: &LoopOptions, done: u64, seconds: f64, metrics: &[(&str, f64)]) -> Result<(), TrainError> {
    let mut line = json!({ "step": done, "samples": done * options.batch as u64 });
    for (name, value) in metrics {
        line[*name] = json!(value);
    }
    line["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
    folder.log(&line)
}

/// Writes the checkpoint after `done` steps.
fn save(
    trainee: &impl Trainee,
    options: &LoopOptions,
    identity: &RunIdentity,
    folder: &RunFolder,
    done: u64,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let RunIdentity { options: of_options, data } = identity.clone();
    let counters = Counters { step: done, samples: done * options.batch as u64, options: of_options, data };
    let checkpoint = Checkpoint { files: trainee.files().into_iter().collect(), counters };
    checkpoint.write(&folder.checkpoints(), options.keep_last)?;
    if done == options.steps {
        observer.note(&format!("state hash {}", checkpoint.state_hash()));
    }
    Ok(())
}

/// Returns `value` if it is finite. `what` is its name in the error, `step` is counted from 0.
///
/// # Errors
/// NaN or infinity. Call it before the step changes any state, so that no checkpoint contains the value.
pub fn finite(what: &str, value: f64, step: u64) -> Result<f64, TrainError> {
    if value.is_finite() {
        return Ok(value);
    }
    let message =
        format!("{what} became {value} at step {}; nothing of it was saved: start a new run with a lower learning rate, or another seed", step + 1);
    Err(TrainError::new(TrainErrorKind::NonFinite, message))
}

/// Updates the exponential moving average of the weights; `step` is counted from 0.
///
/// The decay rises from 0.18 in the first step to `decay`, so that the average of a short run is not dominated by the initial weights.
pub fn average<M: Module>(average: M, net: &M, decay: f64, step: u64) -> M {
    let step = (step + 1) as f64;
    parameters::average(average, net, decay.min((1.0 + step) / (10.0 + step)))
}

/// The value of a tensor of shape [1].
pub fn scalar(value: &Tensor<1>) -> f64 {
    f64::from(value.clone().into_scalar::<f32>())
}

/// A training of one network with one loss and one optimizer.
pub trait Task {
    /// The trained modules.
    type Net: Module;
    /// The command's options.
    type Options: RunOptions;
    /// All options.
    fn options(&self) -> &Self::Options;
    /// Those of the loop.
    fn training(&self) -> &LoopOptions;
    /// Those of the averaged weights.
    fn averaging(&self) -> &AveragingOptions;
    /// The mean loss of step `step` ([1]), and metrics to log with it.
    fn loss(&self, net: &Self::Net, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>);
    /// The networks' files in the layout of diffusers: contents by path within a pipeline folder.
    fn files(&self, net: &Self::Net) -> Vec<(String, Vec<u8>)>;
    /// `net` with the weights of such files.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    fn load(&self, net: Self::Net, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<Self::Net, TrainError>;
    /// Sample images of the averaged networks.
    fn sample(&self, net: &Self::Net) -> ImageGrid;
}

/// The folder of the averaged weights in a checkpoint.
pub const AVERAGE: &str = "ema/";
/// The optimizer's state in a checkpoint.
pub const OPTIMIZER: &str = "state/optimizer.safetensors";

/// Trains `net`, which is on an autodiff device, and returns the averaged networks without autodiff. `data` is the hash of the data.
///
/// # Errors
/// See [`run`].
pub fn train<T: Task>(task: &T, net: T::Net, data: &str, folder: &mut RunFolder, observer: &mut dyn Observer) -> Result<T::Net, TrainError> {
    let options = task.training();
    let average = net.clone().valid();
    let optimizer = Optimizer::new(options.optimizer.clone());
    let mut trainee = TaskTrainee { task, net: Some(net), average: Some(average), optimizer };
    run(&mut trainee, options, &RunIdentity::new(task.options(), data), folder, observer)?;
    trainee.average.ok_or_else(|| TrainError::input("nothing was trained"))
}

/// The state of a [`Task`]. The networks are None while a step has taken them.
struct TaskTrainee<'a, T: Task> {
    task: &'a T,
    net: Option<T::Net>,
    average: Option<T::Net>,
    optimizer: Optimizer,
}

impl<T: Task> Trainee for TaskTrainee<'_, T> {
    fn update(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let (Some(net), Some(before)) = (self.net.take(), self.average.take()) else { return Err(TrainError::input("nothing is trained")) };
        let options = self.task.training();
        let (loss, metrics) = self.task.loss(&net, step);
        let mut log = vec![("loss", finite("the loss", scalar(&loss), step)?)];
        log.extend(metrics.iter().map(|(name, value)| (*name, scalar(value))));
        let rate = self.optimizer.rate(step, options.steps);
        let gradients = FlatGradients::take(&net, &mut loss.backward());
        let (net, norm) = self.optimizer.step(net, gradients, rate);
        log.extend([("gradient_norm", finite("the gradient", norm, step)?), ("learning_rate", rate)]);
        self.average = Some(average(before, &net, self.task.averaging().ema_decay, step));
        self.net = Some(net);
        Ok(log)
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let (Some(net), Some(average)) = (&self.net, &self.average) else { return Vec::new() };
        let mut files = self.task.files(net);
        files.extend(self.task.files(average).into_iter().map(|(name, bytes)| (format!("{AVERAGE}{name}"), bytes)));
        files.push((OPTIMIZER.into(), self.optimizer.to_bytes()));
        files
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let file = |name: &str| checkpoint.file(name).map(<[u8]>::to_vec);
        self.net = self.net.take().map(|net| self.task.load(net, &file)).transpose()?;
        let averaged = |name: &str| file(&format!("{AVERAGE}{name}"));
        self.average = self.average.take().map(|net| self.task.load(net, &averaged)).transpose()?;
        let device = self.average.as_ref().and_then(|net| net.devices().into_iter().next()).unwrap_or_default();
        self.optimizer.load(checkpoint.file(OPTIMIZER)?, &device)
    }

    fn sample_every(&self) -> Option<u64> {
        Some(self.task.averaging().sample_every)
    }

    fn sample(&self) -> Option<ImageGrid> {
        self.average.as_ref().map(|net| self.task.sample(net))
    }
}
