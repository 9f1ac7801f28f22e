//! One step of the distillation.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use onestep_nets::{
    AutoencoderKl, Discriminator, NoiseSchedule, UNet2DConditionModel,
    weights::{self, Shard},
};

use super::{
    Conditions, DistilOptions,
    adversarial::{believed, doubted, length, penalty, score},
    gradient_ratio::GradientRatio,
    mix_and_match::FalseRow,
    noises_of,
    regression::Distance,
};
use crate::{
    autoencoder::epoch_indices,
    checkpoint::Checkpoint,
    error::TrainError,
    image_grid::ImageGrid,
    optimizer::{FlatGradients, Optimizer, OptimizerOptions},
    pairs::Pairs,
    pipeline_folder::{UNET_WEIGHTS, component_files},
    sampler::one_step,
    training_loop::{AVERAGE, LoopOptions, OPTIMIZER, Trainee, average, finite, scalar},
};

/// Where the game's state stands in a checkpoint.
const DISCRIMINATOR: &str = "discriminator/model.safetensors";
/// See [`DISCRIMINATOR`].
const DISCRIMINATOR_OPTIMIZER: &str = "state/discriminator_optimizer.safetensors";
/// See [`DISCRIMINATOR`].
const RATIO: &str = "state/gradient_ratio.json";

/// Both players under way. The networks are taken out while they are changed.
pub(super) struct Distilling<'a> {
    pub options: &'a DistilOptions,
    /// Of the student, as JSON.
    pub config: String,
    pub schedule: NoiseSchedule,
    /// Frozen, on the autodiff device.
    pub vae: AutoencoderKl,
    pub pairs: &'a Pairs,
    pub conditions: Conditions,
    /// What each pair's image shows, as a number.
    pub things: Vec<usize>,
    /// Side of an image.
    pub size: usize,
    pub distance: Distance,
    pub net: Option<UNet2DConditionModel>,
    pub average: Option<UNet2DConditionModel>,
    pub optimizer: Optimizer,
    pub discriminator: Option<Discriminator>,
    /// Names of the readouts' mean logits in the log.
    pub readouts: Vec<&'static str>,
    pub discriminator_optimizer: Optimizer,
    pub ratio: GradientRatio,
    /// With autodiff.
    pub device: Device,
}

/// What the discriminator's step leaves for the log.
struct Judged {
    /// Its loss without R1.
    loss: f64,
    /// R1, in the steps that have it.
    r1: Option<f64>,
    norm: f64,
    /// Mean logits of true and false rows.
    logits: [f64; 2],
    /// Mean logits of true rows, readout by readout.
    readouts: Vec<f64>,
}

/// What the student's step leaves for the log.
struct Led {
    distance: f64,
    adversarial: Option<f64>,
    lambda: f64,
    /// Lengths of the adversarial and the distance's gradient at the latent, the first with λ.
    ratio: f64,
    norm: f64,
    rate: f64,
}

impl Distilling<'_> {
    /// z, c, x of some pairs.
    fn batch(&self, chosen: &[usize], device: &Device) -> (Tensor<4>, Tensor<3>, Tensor<4>) {
        let z = noises_of(self.pairs, chosen.iter().copied(), device);
        (z, self.conditions.of(self.pairs, chosen.iter().copied(), device), self.pairs.targets(chosen, device))
    }

    /// Teaches the discriminator to tell the teacher's (c, z, x) from what is false.
    fn judge(&mut self, net: &UNet2DConditionModel, chosen: &[usize], step: u64, first: u64) -> Result<Option<Judged>, TrainError> {
        let Some(judge) = self.discriminator.take() else { return Ok(None) };
        let (game, training) = (&self.options.adversarial, &self.options.training);
        let part = chosen.len() / self.options.accumulate;
        let student = self.options.precision.of(&net.valid());
        let mut gradients = FlatGradients::default();
        let mut judged = Judged { loss: 0.0, r1: None, norm: 0.0, logits: [0.0; 2], readouts: Vec::new() };
        for (index, chosen) in chosen.chunks(part).enumerate() {
            let (z, c, x) = self.batch(chosen, &self.device);
            let share = chosen.len() as f64 / training.batch as f64;

            // The student's latents, without its graph.
            let inner = self.device.clone().inner();
            let (plain_z, plain_c) =
                (noises_of(self.pairs, chosen.iter().copied(), &inner), self.conditions.of(self.pairs, chosen.iter().copied(), &inner));
            let drawn = one_step(&student, &self.schedule, plain_z, plain_c);
            let rows = game.mix.rows(chosen, &self.things, training.seed, step * self.options.accumulate as u64 + index as u64);
            let (false_z, false_c, false_x) = self.false_batch(&rows, drawn);

            let computing = self.options.precision.of(&judge);
            let real = computing.forward(x, z, &c);
            let fake = computing.forward(false_x, false_z, &false_c);
            let loss = (believed(&real) + doubted(&fake)).mul_scalar(share);
            judged.loss += scalar(&loss);
            judged.logits[0] += scalar(&score(&real)) / real.len() as f64 * share;
            judged.logits[1] += scalar(&score(&fake)) / fake.len() as f64 * share;
            judged.readouts.resize(real.len(), 0.0);
            for (mean, logits) in judged.readouts.iter_mut().zip(&real) {
                *mean += scalar(&logits.clone().mean()) * share;
            }
            gradients = gradients.plus(FlatGradients::take(&judge, &mut loss.backward()));
        }
        // Lazy R1 on one true sample, in f32: it is a difference of two scores at places that 16 bits would hardly tell apart.
        if game.r1_gamma > 0.0 && (step - first).is_multiple_of(game.r1_every) {
            let (z, c, x) = self.batch(&chosen[..1], &self.device);
            if let Some(r1) = penalty(|x| score(&judge.forward(x, z.clone(), &c)), x, game.r1_gamma) {
                finite("the R1 penalty", r1.value, step)?;
                let loss = r1.loss.mul_scalar(game.r1_every as f64);
                gradients = gradients.plus(FlatGradients::take(&judge, &mut loss.backward()));
                judged.r1 = Some(r1.value);
            }
        }
        finite("the discriminator's loss", judged.loss, step)?;
        let rate = self.discriminator_optimizer.rate(step - first, training.steps - first);
        let (judge, norm) = self.discriminator_optimizer.step(judge, gradients, rate);
        judged.norm = finite("the discriminator's gradient", norm, step)?;
        self.discriminator = Some(judge);
        Ok(Some(judged))
    }

    /// z, c, x of false rows; `drawn` are the student's latents, row by row.
    fn false_batch(&self, rows: &[FalseRow], drawn: Tensor<4>) -> (Tensor<4>, Tensor<3>, Tensor<4>) {
        let device = &self.device;
        let z = noises_of(self.pairs, rows.iter().map(|row| row.noise), device);
        let c = self.conditions.of(self.pairs, rows.iter().map(|row| row.prompt), device);
        let latents: Vec<Tensor<4>> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| match row.latent {
                Some(pair) => self.pairs.targets(&[pair], device),
                None => Tensor::from_inner(drawn.clone().narrow(0, index, 1)),
            })
            .collect();
        (z, c, Tensor::cat(latents, 0))
    }

    /// Leads the student toward the teacher's latents, and past the discriminator as far as λ says.
    ///
    /// Both losses are differentiated with respect to the latent first: that shows how their gradients compare, and their graphs are gone
    /// before the student's own is walked.
    fn lead(&mut self, net: UNet2DConditionModel, chosen: &[usize], step: u64, weight: f64) -> Result<(UNet2DConditionModel, Led), TrainError> {
        let (game, training) = (&self.options.adversarial, &self.options.training);
        let part = chosen.len() / self.options.accumulate;
        // Only its input asks for a gradient here.
        let judge = self.discriminator.as_ref().filter(|_| weight > 0.0).map(|judge| self.options.precision.of(&judge.clone().no_grad()));
        let mut gradients = FlatGradients::default();
        let mut led = Led { distance: 0.0, adversarial: None, lambda: 0.0, ratio: 0.0, norm: 0.0, rate: 0.0 };
        for (index, chosen) in chosen.chunks(part).enumerate() {
            let (z, c, x) = self.batch(chosen, &self.device);
            let share = chosen.len() as f64 / training.batch as f64;
            let drawn = one_step(&self.options.precision.of(&net), &self.schedule, z.clone(), c.clone());

            let latent = drawn.clone().detach().require_grad();
            let distance = self.distance.mean(latent.clone(), x, step * self.options.accumulate as u64 + index as u64, &self.vae);
            led.distance += scalar(&distance) * share;
            finite("the distance", led.distance, step)?;
            let Some(mut gradient) = latent.grad(&distance.backward()) else { return Err(TrainError::input("the distance has no gradient")) };

            if let Some(judge) = &judge {
                let latent = drawn.clone().detach().require_grad();
                let loss = believed(&judge.forward(latent.clone(), z, &c));
                led.adversarial = Some(led.adversarial.unwrap_or_default() + scalar(&loss) * share);
                if let Some(adversarial) = latent.grad(&loss.backward()) {
                    let lengths = [length(&gradient), length(&adversarial)];
                    finite("the adversarial gradient", lengths[1], step)?;
                    self.ratio.see(lengths[0], lengths[1]);
                    led.lambda = weight * if game.lambda > 0.0 { game.lambda } else { self.ratio.lambda(game.ratio) };
                    led.ratio += led.lambda * lengths[1] / lengths[0].max(f64::MIN_POSITIVE) * share;
                    gradient = gradient + adversarial.mul_scalar(led.lambda);
                }
            }
            // The chain rule's last link: the derivative of this sum is the student's.
            let through = (drawn * Tensor::from_inner(gradient)).sum().mul_scalar(share);
            gradients = gradients.plus(FlatGradients::take(&net, &mut through.backward()));
        }
        led.rate = self.optimizer.rate(step, training.steps) * if weight > 0.0 { game.rate_factor } else { 1.0 };
        let (net, norm) = self.optimizer.step(net, gradients, led.rate);
        led.norm = finite("the gradient", norm, step)?;
        Ok((net, led))
    }
}

impl Trainee for Distilling<'_> {
    fn update(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let (Some(net), Some(before)) = (self.net.take(), self.average.take()) else { return Err(TrainError::input("nothing is trained")) };
        let LoopOptions { seed, batch, .. } = self.options.training;
        let all: Vec<usize> = (0..self.pairs.seeds.len()).collect();
        let chosen = epoch_indices(&all, seed, step, batch);
        let [begins, listened, in_full] = self.options.stages();

        let judged = if step >= begins { self.judge(&net, &chosen, step, begins)? } else { None };
        let weight = match (self.discriminator.is_some(), step.checked_sub(listened)) {
            (true, Some(since)) => ((since + 1) as f64 / (in_full - listened).max(1) as f64).min(1.0),
            _ => 0.0,
        };
        if weight > 0.0 {
            let OptimizerOptions { beta_1, beta_2, .. } = self.options.adversarial.optimizer;
            self.optimizer.set_decays(beta_1, beta_2);
        }
        let (net, led) = self.lead(net, &chosen, step, weight)?;
        self.average = Some(average(before, &net, self.options.training.ema_decay, step));
        self.net = Some(net);

        let mut figures = vec![("distance", led.distance), ("gradient_norm", led.norm), ("learning_rate", led.rate)];
        if let Some(adversarial) = led.adversarial {
            figures.extend([("adversarial", adversarial), ("lambda", led.lambda), ("gradient_ratio", led.ratio)]);
        }
        if let Some(judged) = judged {
            figures.extend([("discriminator", judged.loss), ("discriminator_gradient_norm", judged.norm)]);
            figures.extend([("logit_true", judged.logits[0]), ("logit_false", judged.logits[1])]);
            figures.extend(judged.r1.map(|value| ("r1", value)));
            figures.extend(self.readouts.iter().copied().zip(judged.readouts));
        }
        Ok(figures)
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let (Some(net), Some(average)) = (&self.net, &self.average) else { return Vec::new() };
        let student = |net| component_files("unet/config.json", self.config.clone(), UNET_WEIGHTS, net);
        let mut files = student(net);
        files.extend(student(average).into_iter().map(|(name, bytes)| (format!("{AVERAGE}{name}"), bytes)));
        files.push((OPTIMIZER.into(), self.optimizer.to_bytes()));
        if let Some(discriminator) = &self.discriminator {
            files.push((DISCRIMINATOR.into(), weights::save(discriminator, &std::collections::BTreeMap::new())));
            files.push((DISCRIMINATOR_OPTIMIZER.into(), self.discriminator_optimizer.to_bytes()));
            files.push((RATIO.into(), serde_json::to_vec(&self.ratio).unwrap_or_default()));
        }
        files
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let misfit = |error: onestep_nets::weights::LoadError| TrainError::input(format!("the checkpoint does not fit: {error}"));
        let inner = self.device.clone().inner();
        let net = |net: Option<UNet2DConditionModel>, name: &str| {
            let file = checkpoint.file(name)?;
            net.map(|net| weights::load(net, &[Shard::new(name, file)]).map_err(misfit)).transpose()
        };
        self.net = net(self.net.take(), UNET_WEIGHTS)?;
        self.average = net(self.average.take(), &format!("{AVERAGE}{UNET_WEIGHTS}"))?;
        self.optimizer.load(checkpoint.file(OPTIMIZER)?, &inner)?;
        if let Some(discriminator) = self.discriminator.take() {
            self.discriminator = Some(weights::load(discriminator, &[Shard::new(DISCRIMINATOR, checkpoint.file(DISCRIMINATOR)?)]).map_err(misfit)?);
            self.discriminator_optimizer.load(checkpoint.file(DISCRIMINATOR_OPTIMIZER)?, &inner)?;
            self.ratio = serde_json::from_slice(checkpoint.file(RATIO)?)
                .map_err(|error| TrainError::input(format!("the checkpoint's {RATIO} cannot be read: {error}")))?;
        }
        Ok(())
    }

    /// The teacher's images above the student's.
    fn sample(&self) -> Option<ImageGrid> {
        let device = self.device.clone().inner();
        let count = self.pairs.seeds.len().min(16);
        let chosen: Vec<usize> = (0..count).map(|i| i * self.pairs.seeds.len() / count).collect();
        let (z, context, x) = self.batch(&chosen, &device);
        let vae = self.vae.valid();
        let decode = |latents| vae.decode(vae.from_model_space(latents));
        let mut grid = ImageGrid::new(self.size);
        grid.row(&decode(x));
        if let Some(net) = &self.average {
            grid.row(&decode(one_step(net, &self.schedule, z, context)));
        }
        Some(grid)
    }
}
