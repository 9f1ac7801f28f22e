//! The loop that every training shares: step, log, sample, save.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    checkpoint::{Checkpoint, Counters},
    error::{TrainError, TrainErrorKind},
    observer::Observer,
    optimizer::{Optimizer, OptimizerOptions},
    parameters,
    picture_grid::PictureGrid,
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
    /// Steps between sample pictures.
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

/// What is trained, and on what.
pub trait Task {
    /// The trained modules.
    type Net: Module;
    /// Mean loss of step `step` (shape [1]) and the figures to log with it.
    fn loss(&self, net: &Self::Net, step: u64) -> (Tensor<1>, Vec<(&'static str, Tensor<1>)>);
    /// The files of the networks in diffusers' layout, paths relative to a pipeline folder.
    fn files(&self, net: &Self::Net) -> Vec<(String, Vec<u8>)>;
    /// The networks with the weights of such files.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    fn load(&self, net: Self::Net, file: &dyn Fn(&str) -> Result<Vec<u8>, TrainError>) -> Result<Self::Net, TrainError>;
    /// Pictures that show how far the training is, made by the averaged networks.
    fn sample(&self, net: &Self::Net) -> PictureGrid;
}

/// Where the average's files stand in a checkpoint.
const AVERAGE: &str = "ema/";

/// Trains `net` (on an autodiff device) to the end and returns the averaged networks, outside autodiff.
///
/// # Errors
/// Storage, a damaged checkpoint, a loss that is not finite, or an interruption (the state is saved).
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
    let mut net = net;
    let mut ema = net.clone().valid();
    let mut optimizer = Optimizer::new(options.optimizer.clone());
    let identity = sha256(serde_json::to_string(options).unwrap_or_default().as_bytes());
    let mut step = 0;

    // Resume.
    if entry == Entry::Resume
        && let Some(checkpoint) = Checkpoint::newest(&folder.checkpoints(), &mut |note| observer.note(note))?
    {
        for (what, saved, now) in [("options", &checkpoint.counters.options, identity.as_str()), ("data", &checkpoint.counters.data, data)] {
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
        net = task.load(net, &|name| checkpoint.file(name).map(<[u8]>::to_vec))?;
        ema = task.load(ema, &|name| checkpoint.file(&format!("{AVERAGE}{name}")).map(<[u8]>::to_vec))?;
        optimizer.load(checkpoint.file("state/optimizer.safetensors")?, device)?;
        step = checkpoint.counters.step;
    }
    folder.rewind_log(step)?;
    observer.begin("training", options.steps, step);

    let started = Instant::now();
    let first = step;
    while step < options.steps {
        // One update.
        let (loss, figures) = task.loss(&net, step);
        let mut line = json!({ "step": step + 1, "samples": (step + 1) * options.batch as u64, "loss": scalar(&loss) });
        for (name, value) in &figures {
            line[*name] = json!(scalar(value));
        }
        let value = scalar(&loss);
        if !value.is_finite() {
            return Err(TrainError::new(
                TrainErrorKind::NonFinite,
                format!(
                    "the loss became {value} at step {}; no weight was changed and the last checkpoint is good: resume with a lower learning rate",
                    step + 1
                ),
            ));
        }
        let rate = optimizer.rate(step, options.steps);
        let mut gradients = loss.backward();
        let (updated, norm) = optimizer.step(net, &mut gradients, rate);
        if !norm.is_finite() {
            return Err(TrainError::new(
                TrainErrorKind::NonFinite,
                format!("the gradient became {norm} at step {}; the last checkpoint is good: resume with a lower learning rate", step + 1),
            ));
        }
        net = updated;
        step += 1;
        // A short run must not average in its first weights for ever.
        let decay = options.ema_decay.min((1.0 + step as f64) / (10.0 + step as f64));
        ema = parameters::average(ema, &net, decay);

        // Log, sample, save.
        let seconds = started.elapsed().as_secs_f64();
        let per_second = (step - first) as f64 * options.batch as f64 / seconds.max(1e-9);
        line["learning_rate"] = json!(rate);
        line["gradient_norm"] = json!(norm);
        line["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
        folder.log(&line)?;
        observer.step(step, &format!("loss {value:.4} · |g| {norm:.2} · {per_second:.0} samples/s"));
        let stopping = observer.stopped();
        if step % options.sample_every.max(1) == 0 || step == options.steps {
            task.sample(&ema).write(&folder.sample(step))?;
        }
        if step % options.save_every.max(1) == 0 || step == options.steps || stopping {
            let mut files: std::collections::BTreeMap<_, _> = task.files(&net).into_iter().collect();
            files.extend(task.files(&ema).into_iter().map(|(name, bytes)| (format!("{AVERAGE}{name}"), bytes)));
            files.insert("state/optimizer.safetensors".into(), optimizer.to_bytes());
            let counters = Counters { step, samples: step * options.batch as u64, options: identity.clone(), data: data.into() };
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
    Ok(ema)
}

fn scalar(value: &Tensor<1>) -> f64 {
    f64::from(value.clone().into_scalar::<f32>())
}
