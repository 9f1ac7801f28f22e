//! `distil`: the one-step student, from the teacher's pairs (Diffusion2GAN, section 3).
//!
//! The student G is the teacher's denoiser with the teacher's weights, evaluated once at t = 999, its noise prediction turned into a latent in
//! f32 (the conversion amplifies by σ/α = 14.6). The text encoder stays the teacher's and frozen. It is led by
//!
//! `L_G = d(G(z,c), x) + λ · mean softplus(−D(c, z, G(z,c)))`
//!
//! - [`regression`]: the distance d, E-LatentLPIPS in the paper;
//! - [`adversarial`]: the game with the discriminator D, and its R1 penalty;
//! - [`mix_and_match`]: what else D is shown as false;
//! - [`gradient_ratio`]: how λ follows the two gradients;
//! - [`precision`]: what the players compute in.
//!
//! First the distance leads alone. D begins some steps before it is listened to, and λ rises linearly to its value.

pub mod adversarial;
pub mod gradient_ratio;
pub mod mix_and_match;
pub mod precision;
pub mod regression;
mod step;

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{Discriminator, DiscriminatorParts};
use serde::{Deserialize, Serialize};

use crate::{
    error::{TrainError, check_options},
    latent_metric::ensemble::EnsembleOptions,
    observer::Observer,
    optimizer::{Optimizer, OptimizerOptions},
    pairs::Pairs,
    pipeline_folder::{MODEL, PipelineFolder, UNET_WEIGHTS, component_files, model_index},
    run_folder::{Entry, RunFolder, model_of},
    sampler::{encode_prompts, noises},
    store::sha256,
    training_loop::{self, LoopOptions},
};
use mix_and_match::MixOptions;
use precision::Precision;
use regression::{Distance, DistanceKind};
use step::Distilling;

/// Options of `distil`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilOptions {
    /// Run or model folder of the teacher.
    pub teacher: PathBuf,
    /// The pair set.
    pub pairs: PathBuf,
    /// The run folder.
    pub out: PathBuf,
    /// Which distance leads the student.
    pub distance: DistanceKind,
    /// The metric of distances that have one.
    pub metric: PathBuf,
    /// Whose latents a published metric measures, where its file's name does not say.
    pub encoder: Option<String>,
    /// The random changes of E-LatentLPIPS.
    pub ensemble: EnsembleOptions,
    /// Parts that a batch is cut into; their gradients are summed, so that less is in memory at once.
    pub accumulate: usize,
    /// Whether activations are computed again in the backward pass where that is cheap, instead of kept.
    pub checkpointing: bool,
    /// What the players compute in.
    pub precision: Precision,
    /// The game.
    pub adversarial: AdversarialOptions,
    /// Steps and update rule.
    pub training: LoopOptions,
}

/// The adversarial game. Constants that the paper does not state are those of this project.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversarialOptions {
    /// Whether there is a discriminator at all.
    pub enabled: bool,
    /// Whether it sees the noise.
    pub noise: bool,
    /// Whether it has inputs and readouts at all scales.
    pub scales: bool,
    /// γ of R1; 0 for none.
    pub r1_gamma: f64,
    /// Steps of the discriminator from one R1 to the next; the penalty is that many times as strong.
    pub r1_every: u64,
    /// What else it is shown as false.
    pub mix: MixOptions,
    /// Share of the run in which the distance leads alone.
    pub warmup_fraction: f64,
    /// Share of the run over which λ rises after that.
    pub ramp_fraction: f64,
    /// Steps by which the discriminator begins before it is listened to, at most.
    pub lead: u64,
    /// λ; 0 to follow the gradients by `ratio`.
    pub lambda: f64,
    /// The adversarial gradient's length at the student's latent, as a multiple of the distance's.
    pub ratio: f64,
    /// The student's step size while the game is on, as a multiple of before.
    pub rate_factor: f64,
    /// The discriminator's update rule; while the game is on, the student's moments decay as its do.
    pub optimizer: OptimizerOptions,
}

impl Default for AdversarialOptions {
    fn default() -> Self {
        let optimizer = OptimizerOptions {
            learning_rate: 1e-4,
            warmup_steps: 100,
            decay_fraction: 0.0,
            beta_1: 0.0,
            beta_2: 0.99,
            weight_decay: 0.01,
            clip_norm: 10.0,
        };
        Self {
            enabled: true,
            noise: true,
            scales: true,
            r1_gamma: 1.0,
            r1_every: 16,
            mix: MixOptions::default(),
            warmup_fraction: 0.2,
            ramp_fraction: 0.05,
            lead: 1000,
            lambda: 0.0,
            ratio: 0.3,
            rate_factor: 0.25,
            optimizer,
        }
    }
}

impl Default for DistilOptions {
    fn default() -> Self {
        let mut training = LoopOptions { steps: 5000, batch: 32, save_every: 500, sample_every: 500, ..LoopOptions::default() };
        training.optimizer = OptimizerOptions { learning_rate: 3e-4, clip_norm: 10.0, ..OptimizerOptions::default() };
        Self {
            teacher: PathBuf::new(),
            pairs: PathBuf::new(),
            out: PathBuf::new(),
            distance: DistanceKind::ELatentLpips,
            metric: PathBuf::new(),
            encoder: None,
            ensemble: EnsembleOptions::default(),
            accumulate: 1,
            checkpointing: false,
            precision: Precision::F32,
            adversarial: AdversarialOptions::default(),
            training,
        }
    }
}

impl DistilOptions {
    fn check(&self) -> Result<(), TrainError> {
        let (game, mix, batch) = (&self.adversarial, &self.adversarial.mix, self.training.batch);
        let share = |name: &str, value: f64| (format!("{name} {value}"), (0.0..=1.0).contains(&value), "a share from 0 to 1");
        let factor = |name: &str, value: f64| (format!("{name} {value}"), value.is_finite() && value >= 0.0, "a number of at least 0");
        let of_latents = matches!(self.distance, DistanceKind::LatentLpips | DistanceKind::ELatentLpips);
        let own = [
            (
                format!("--accumulate {} with --batch {batch}", self.accumulate),
                self.accumulate > 0 && batch.is_multiple_of(self.accumulate),
                "a number of parts that divides the batch",
            ),
            (format!("r1_every = {}", game.r1_every), game.r1_every > 0, "at least 1"),
            share("--regression-fraction", game.warmup_fraction),
            share("ramp_fraction =", game.ramp_fraction),
            share("other_latent =", mix.other_latent),
            share("other_prompt =", mix.other_prompt),
            share("other_noise =", mix.other_noise),
            share("other_latent + other_prompt + other_noise =", mix.other_latent + mix.other_prompt + mix.other_noise),
            factor("--r1-gamma", game.r1_gamma),
            factor("--lambda", game.lambda),
            factor("--gradient-ratio", game.ratio),
            factor("rate_factor =", game.rate_factor),
            factor("--absolute", self.ensemble.absolute),
            (
                format!("--absolute {}", self.ensemble.absolute),
                of_latents || self.ensemble.absolute == 0.0,
                "--distance latent-lpips or e-latent-lpips with it, the distances beside which it stands",
            ),
        ];
        check_options(own.into_iter().chain(game.optimizer.rules("--discriminator-rate")))
    }

    /// Steps at which the discriminator begins, is listened to, and is listened to in full.
    fn stages(&self) -> [u64; 3] {
        let game = &self.adversarial;
        let of = |share: f64| (share * self.training.steps as f64).round() as u64;
        let listened = of(game.warmup_fraction);
        [listened.saturating_sub(game.lead), listened, listened + of(game.ramp_fraction)]
    }
}

/// Trains and writes `model/`: the teacher's pipeline with the student in the denoiser's place.
///
/// # Errors
/// Pairs that are damaged or another teacher's, a metric that does not fit, storage, a loss that is not finite, interruption.
pub fn train(options: &DistilOptions, entry: Entry, device: &Device, device_name: &str, observer: &mut dyn Observer) -> Result<(), TrainError> {
    options.check()?;
    let teacher = PipelineFolder::open(&model_of(&options.teacher)?)?;
    teacher.check()?;
    let pairs = Pairs::open_of(&options.pairs, &teacher)?;
    options.training.check_batch(pairs.index.shape)?;
    let on = if options.checkpointing { device.clone().autodiff().gradient_checkpointing() } else { device.clone().autodiff() };
    let distance = Distance::open(options, &teacher, &on)?;
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("model", MODEL))?;
    let conditions = Conditions::new(&teacher, &pairs, device)?;
    let config = teacher.unet_config()?;
    let game = &options.adversarial;
    device.seed(options.training.seed);
    let discriminator = if game.enabled {
        let parts = DiscriminatorParts { noise: game.noise, scales: game.scales };
        Some(Discriminator::new(teacher.unet(&on)?, &config, parts, &on))
    } else {
        None
    };
    let net = teacher.unet(&on)?;
    let mut distilling = Distilling {
        options,
        config: config.to_json(),
        schedule: teacher.schedule()?,
        vae: burn::module::Module::no_grad(teacher.vae(&on)?),
        pairs: &pairs,
        conditions,
        things: pairs.things(),
        size: teacher.sizes()?.image,
        distance,
        average: Some(burn::module::Module::valid(&net)),
        net: Some(net),
        optimizer: Optimizer::new(options.training.optimizer.clone()),
        readouts: discriminator.as_ref().map_or_else(Vec::new, readouts),
        discriminator,
        discriminator_optimizer: Optimizer::new(game.optimizer.clone()),
        ratio: gradient_ratio::GradientRatio::default(),
        device: on,
    };
    let identity = training_loop::identity(options);
    let data = sha256(format!("{} {} {}", pairs.hash(), teacher.hash(), distilling.distance.hash()).as_bytes());
    training_loop::run(&mut distilling, &options.training, &identity, &data, &mut folder, entry, observer)?;

    let student = distilling.average.as_ref().ok_or_else(|| TrainError::input("nothing was trained"))?;
    let mut files = component_files("unet/config.json", distilling.config.clone(), UNET_WEIGHTS, student);
    for component in ["vae", "text_encoder", "scheduler", "tokenizer"] {
        files.extend(teacher.component(component));
    }
    files.push(model_index(&["vae", "unet", "text_encoder", "scheduler", "tokenizer"]));
    PipelineFolder::new(files).write(&options.out.join("model"))?;
    crate::report_page::write(&options.out)
}

/// Names for the log of the discriminator's readouts. They live as long as the program, as the other figures' do.
fn readouts(discriminator: &Discriminator) -> Vec<&'static str> {
    discriminator.readout_names().into_iter().map(|(scale, place)| &*format!("logit_{scale}_{place}").leak()).collect()
}

/// The conditioning of every prompt of a pair set, kept because the text encoder is frozen.
struct Conditions {
    /// One after the other.
    values: Vec<f32>,
    /// Tokens, features of one.
    shape: [usize; 2],
}

impl Conditions {
    fn new(teacher: &PipelineFolder, pairs: &Pairs, device: &Device) -> Result<Self, TrainError> {
        let (text_encoder, tokenizer) = (teacher.text_encoder(device)?, teacher.tokenizer()?);
        let (mut values, mut shape) = (Vec::new(), [0, 0]);
        for prompts in pairs.index.prompts.chunks(64) {
            let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
            let context = encode_prompts(&text_encoder, &tokenizer, &texts, device)?;
            shape = [context.dims()[1], context.dims()[2]];
            values.extend(context.to_data().try_to_vec::<f32>().unwrap_or_default());
        }
        Ok(Self { values, shape })
    }

    /// Of some pairs: [N, tokens, features].
    fn of(&self, pairs: &Pairs, chosen: impl ExactSizeIterator<Item = usize>, device: &Device) -> Tensor<3> {
        let elements = self.shape[0] * self.shape[1];
        let count = chosen.len();
        let values: Vec<f32> = chosen.flat_map(|pair| self.values[pairs.rows[pair] * elements..][..elements].iter().copied()).collect();
        Tensor::from_data(TensorData::new(values, [count, self.shape[0], self.shape[1]]), device)
    }
}

/// The noises of some pairs: [N,C,H,W].
fn noises_of(pairs: &Pairs, chosen: impl Iterator<Item = usize>, device: &Device) -> Tensor<4> {
    let seeds: Vec<u64> = chosen.map(|pair| pairs.seeds[pair]).collect();
    noises(&seeds, pairs.index.shape, device)
}
