//! The loop that every training shares: step, log, sample, save.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
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

/// How long and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopOptions {
    /// Updates in all.
    pub steps: u64,
    /// Samples per update.
    pub batch: usize,
    /// Names every random draw of the run.
    pub seed: u64,
    /// Decay of the running average per step.
    pub ema_decay: f64,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Steps between sample images.
    pub sample_every: u64,
    /// Checkpoints that are kept.
    pub keep_last: usize,
    /// The update rule.
    pub optimizer: OptimizerOptions,
}

impl Default for LoopOptions {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 32,
            seed: 0,
            ema_decay: 0.999,
            save_every: 250,
            sample_every: 250,
            keep_last: 2,
            optimizer: OptimizerOptions::default(),
        }
    }
}

impl LoopOptions {
    /// Refuses numbers with which nothing can be trained.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<(), TrainError> {
        let own = [
            (format!("--steps {}", self.steps), self.steps <= MOST_STEPS, "at most 9999999"),
            (format!("--batch {}", self.batch), (1..=MOST_SAMPLES).contains(&self.batch), "a number from 1 to 65536"),
            (format!("--ema-decay {}", self.ema_decay), (0.0..1.0).contains(&self.ema_decay), "a number from 0 to below 1"),
        ];
        check_options(own.into_iter().chain(self.optimizer.rules("--learning-rate")))
    }

    /// Refuses a batch that no machine holds; `shape` is that of one sample.
    ///
    /// # Errors
    /// [`TrainErrorKind::Usage`], with the option and what it would take.
    pub fn check_batch(&self, shape: [usize; 3]) -> Result<(), TrainError> {
        check_elements("--batch", self.batch, shape)
    }
}

/// Names of checkpoints have seven digits.
const MOST_STEPS: u64 = 9_999_999;
/// Samples of an update at most.
const MOST_SAMPLES: usize = 65_536;
/// Elements of a batch at most: 2 GiB of f32.
const MOST_ELEMENTS: u128 = 1 << 29;
/// Parameters of a network at most: 4 GiB of f32, a tenth of what training it takes.
const MOST_PARAMETERS: u128 = 1 << 30;

/// Refuses so many samples of that shape at once that no machine holds them; `option` is where the number came from.
///
/// # Errors
/// [`TrainErrorKind::Usage`], with the option and what it would take.
pub fn check_elements(option: &str, count: usize, shape: [usize; 3]) -> Result<(), TrainError> {
    let of_one: u128 = shape.iter().fold(1, |of_one: u128, &length| of_one.saturating_mul(length as u128));
    let most = MOST_ELEMENTS / of_one.max(1);
    if count as u128 <= most {
        return Ok(());
    }
    Err(TrainError::new(TrainErrorKind::Usage, format!("{option} {count}: expected at most {most} where each is {shape:?} numbers")))
}

/// Refuses a network that no machine trains; nothing of it is allocated for that. `options` is what it was made from, as given.
///
/// # Errors
/// [`TrainErrorKind::Usage`], with the options and what they would take.
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

/// Something that is trained in steps, and can be put away and taken up again.
pub trait Trainee {
    /// Update number `step`, counted from 0. Returns the figures to log, first the one to watch.
    ///
    /// # Errors
    /// A loss or gradient that is not finite: see [`finite`].
    fn update(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>, TrainError>;
    /// What a later process needs to go on, by path within a checkpoint.
    fn files(&self) -> Vec<(String, Vec<u8>)>;
    /// Takes up what [`Trainee::files`] gave.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError>;
    /// Images that show how far the training is, where there is something to look at.
    fn sample(&self) -> Option<ImageGrid>;
}

/// Options that leave every step as it is: where things lie (what lies there is hashed with the data), how often is saved and shown, what is kept
/// in memory.
const UNDECIDING: [&str; 14] = [
    "data",
    "autoencoder",
    "teacher",
    "initial",
    "pairs",
    "metric",
    "judgements",
    "held_out",
    "out",
    "save_every",
    "sample_every",
    "sample_guidance",
    "keep_last",
    "checkpointing",
];

/// Names the options that decide what a run becomes: a hash of all but those that leave every step as it is.
pub fn identity(options: &impl Serialize) -> String {
    fn forget(value: &mut serde_json::Value) {
        if let serde_json::Value::Object(fields) = value {
            fields.retain(|name, _| !UNDECIDING.contains(&name.as_str()));
            fields.values_mut().for_each(forget);
        }
    }
    let mut value = serde_json::to_value(options).unwrap_or_default();
    forget(&mut value);
    sha256(value.to_string().as_bytes())
}

/// Trains to the end. `identity` names the options that decide the result (see [`identity`]) and `data` what it is trained on: a run is not
/// resumed with others.
///
/// # Errors
/// Storage, a damaged checkpoint, a loss that is not finite, or an interruption (the state is saved).
pub fn run(
    trainee: &mut impl Trainee,
    options: &LoopOptions,
    identity: &str,
    data: &str,
    folder: &mut RunFolder,
    entry: Entry,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let mut step = 0;

    // Resume.
    if entry == Entry::Resume
        && let Some(checkpoint) = Checkpoint::newest(&folder.checkpoints(), &mut |note| observer.note(note))?
    {
        for (what, saved, now) in [("options", &checkpoint.counters.options, identity), ("data", &checkpoint.counters.data, data)] {
            if saved != now {
                return Err(TrainError::new(
                    TrainErrorKind::Usage,
                    format!(
                        "this run was started with other {what}; give the same ones (see config.toml in {}), or start a new run",
                        folder.path().display()
                    ),
                ));
            }
        }
        trainee.load(&checkpoint)?;
        step = checkpoint.counters.step;
        if step == options.steps {
            observer.note(&format!("state hash {}", checkpoint.state_hash()));
        }
    }
    folder.rewind_log(step)?;
    observer.begin("training", options.steps, step);

    let started = Instant::now();
    let first = step;
    while step < options.steps {
        let figures = trainee.update(step)?;
        step += 1;

        // Log, sample, save.
        let seconds = started.elapsed().as_secs_f64();
        let per_second = (step - first) as f64 * options.batch as f64 / seconds.max(1e-9);
        let mut line = json!({ "step": step, "samples": step * options.batch as u64 });
        for (name, value) in &figures {
            line[*name] = json!(value);
        }
        line["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
        folder.log(&line)?;
        let watched = figures.first().map_or(String::new(), |(name, value)| format!("{name} {value:.4} · "));
        observer.step(step, &format!("{watched}{per_second:.0} samples/s"));
        let stopping = observer.stopped();
        if (step % options.sample_every.max(1) == 0 || step == options.steps)
            && let Some(images) = trainee.sample()
        {
            images.write(&folder.sample(step))?;
        }
        if step % options.save_every.max(1) == 0 || step == options.steps || stopping {
            let files = trainee.files().into_iter().collect();
            let counters = Counters { step, samples: step * options.batch as u64, options: identity.into(), data: data.into() };
            let checkpoint = Checkpoint { files, counters };
            checkpoint.write(&folder.checkpoints(), options.keep_last)?;
            if step == options.steps {
                observer.note(&format!("state hash {}", checkpoint.state_hash()));
            }
        }
        if stopping && step < options.steps {
            return Err(TrainError::new(
                TrainErrorKind::Interrupted,
                format!("stopped at step {step} of {}, everything saved; go on with the same command and --resume", options.steps),
            ));
        }
    }
    Ok(())
}

/// `value`, or the sentence that ends a run: what went wrong is not written, so the checkpoints before it are good.
///
/// # Errors
/// What is not finite.
pub fn finite(what: &str, value: f64, step: u64) -> Result<f64, TrainError> {
    if value.is_finite() {
        return Ok(value);
    }
    let message =
        format!("{what} became {value} at step {}; nothing of it was saved: start a new run with a lower learning rate, or another seed", step + 1);
    Err(TrainError::new(TrainErrorKind::NonFinite, message))
}

/// The mean of the weights over steps, with which images are drawn.
///
/// A short run must not average in its first weights for ever, so the decay rises from nearly nothing.
pub fn average<M: Module>(average: M, net: &M, decay: f64, step: u64) -> M {
    let step = (step + 1) as f64;
    parameters::average(average, net, decay.min((1.0 + step) / (10.0 + step)))
}

/// The value of a tensor of one element.
pub fn scalar(value: &Tensor<1>) -> f64 {
    f64::from(value.clone().into_scalar::<f32>())
}

/// One network that one loss trains.
pub trait Task {
    /// The trained modules.
    type Net: Module;
    /// Names the options that decide the result: [`identity`] of all that the task was given.
    fn identity(&self) -> String;
    /// Mean loss of step `step` (shape [1]) and the figures to log with it.
    fn loss(&self, net: &Self::Net, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>);
    /// The files of the networks in diffusers' layout, paths relative to a pipeline folder.
    fn files(&self, net: &Self::Net) -> Vec<(String, Vec<u8>)>;
    /// The networks with the weights of such files.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    fn load(&self, net: Self::Net, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<Self::Net, TrainError>;
    /// Images that show how far the training is, made by the averaged networks.
    fn sample(&self, net: &Self::Net) -> ImageGrid;
}

/// Where the average's files stand in a checkpoint.
pub const AVERAGE: &str = "ema/";
/// Where the optimizer's state stands in a checkpoint.
pub const OPTIMIZER: &str = "state/optimizer.safetensors";

/// Trains `net` (on an autodiff device) to the end and returns the averaged networks, outside autodiff.
///
/// # Errors
/// See [`run`].
#[allow(clippy::too_many_arguments)]
pub fn train<T: Task>(
    task: &T,
    net: T::Net,
    options: &LoopOptions,
    data: &str,
    folder: &mut RunFolder,
    entry: Entry,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<T::Net, TrainError> {
    let identity = task.identity();
    let average = net.clone().valid();
    let optimizer = Optimizer::new(options.optimizer.clone());
    let mut trainee = Single { task, net: Some(net), average: Some(average), optimizer, options, device };
    run(&mut trainee, options, &identity, data, folder, entry, observer)?;
    trainee.average.ok_or_else(|| TrainError::input("nothing was trained"))
}

/// A [`Task`] under way. The networks are taken out while they are changed.
struct Single<'a, T: Task> {
    task: &'a T,
    net: Option<T::Net>,
    average: Option<T::Net>,
    optimizer: Optimizer,
    options: &'a LoopOptions,
    device: &'a Device,
}

impl<T: Task> Trainee for Single<'_, T> {
    fn update(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let (Some(net), Some(before)) = (self.net.take(), self.average.take()) else { return Err(TrainError::input("nothing is trained")) };
        let (loss, figures) = self.task.loss(&net, step);
        let mut log = vec![("loss", finite("the loss", scalar(&loss), step)?)];
        log.extend(figures.iter().map(|(name, value)| (*name, scalar(value))));
        let rate = self.optimizer.rate(step, self.options.steps);
        let gradients = FlatGradients::take(&net, &mut loss.backward());
        let (net, norm) = self.optimizer.step(net, gradients, rate);
        log.extend([("gradient_norm", finite("the gradient", norm, step)?), ("learning_rate", rate)]);
        self.average = Some(average(before, &net, self.options.ema_decay, step));
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
        self.optimizer.load(checkpoint.file(OPTIMIZER)?, self.device)
    }

    fn sample(&self) -> Option<ImageGrid> {
        self.average.as_ref().map(|net| self.task.sample(net))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_of_what_decides_the_result() {
        #[derive(Clone, Serialize)]
        struct Options {
            out: &'static str,
            smoothing: f64,
            training: LoopOptions,
        }
        let own = Options { out: "a", smoothing: 0.1, training: LoopOptions::default() };
        let same = Options { out: "b", training: LoopOptions { save_every: 3, keep_last: 9, ..LoopOptions::default() }, ..own.clone() };
        assert_eq!(identity(&own), identity(&same));
        let smoother = Options { smoothing: 0.2, ..own.clone() };
        let mut faster = own.clone();
        faster.training.optimizer.learning_rate = 1.0;
        assert!(identity(&own) != identity(&smoother) && identity(&own) != identity(&faster));
    }
}
