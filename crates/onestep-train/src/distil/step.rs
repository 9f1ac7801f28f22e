//! One step of the distillation: discriminator step, then generator step.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use onestep_nets::{
    AutoencoderKl, Conditioning, Discriminator, OneStepRule, UNet2DConditionModel,
    weights::{self, Shard},
};

use super::{
    adversarial::{loss_fake, loss_real, norm, r1_penalty, score},
    conditions::{Conditions, noises_of},
    gradient_ratio::GradientRatio,
    mix_and_match::FakeSample,
    options::{AdversarialSchedule, DistilOptions},
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

/// Files of a checkpoint for adversarial training: the discriminator, …
const DISCRIMINATOR: &str = "discriminator/model.safetensors";
/// … its moments, …
const DISCRIMINATOR_OPTIMIZER: &str = "state/discriminator_optimizer.safetensors";
/// … and the gradient norms of the adaptive λ.
const RATIO: &str = "state/gradient_ratio.json";

/// The state of a distillation. `net`, `average` and `discriminator` are None while a step has taken them.
pub(super) struct Distillation<'a> {
    pub options: &'a DistilOptions,
    /// The student's configuration as JSON.
    pub config: String,
    /// How the student's network is read.
    pub rule: OneStepRule,
    /// Frozen, on the autodiff device.
    pub vae: AutoencoderKl,
    pub pairs: &'a Pairs,
    pub conditions: Conditions,
    /// The class label of each pair.
    pub labels: Vec<usize>,
    /// Side of an image in pixels.
    pub image_size: usize,
    pub distance: Distance,
    pub net: Option<UNet2DConditionModel>,
    /// Running average of the student's weights.
    pub average: Option<UNet2DConditionModel>,
    pub optimizer: Optimizer,
    pub discriminator: Option<Discriminator>,
    /// Log keys of the discriminator's readouts.
    pub readout_names: Vec<&'static str>,
    pub discriminator_optimizer: Optimizer,
    pub ratio: GradientRatio,
    /// The autodiff device.
    pub device: Device,
}

/// Metrics of a discriminator step.
#[derive(Default)]
struct DiscriminatorMetrics {
    /// `loss_real + loss_fake`, without R1.
    loss: f64,
    /// The R1 penalty, in the steps that have it.
    r1: Option<f64>,
    gradient_norm: f64,
    /// Mean logit of the real samples.
    real_logits: f64,
    /// Mean logit of the fake samples.
    fake_logits: f64,
    /// Mean logit of the real samples, by readout.
    readout_logits: Vec<f64>,
}

/// Metrics of a generator step.
#[derive(Default)]
struct GeneratorMetrics {
    distance: f64,
    /// The adversarial loss without λ; none while λ is 0.
    adversarial: Option<f64>,
    lambda: f64,
    /// Norm of λ · the adversarial gradient at the latent, relative to that of the distance.
    gradient_ratio: f64,
    gradient_norm: f64,
    learning_rate: f64,
}

impl Distillation<'_> {
    /// Noise z [N,C,H,W], condition c and the teacher's latent x [N,C,H,W] of some pairs.
    fn batch(&self, indices: &[usize], device: &Device) -> (Tensor<4>, Conditioning, Tensor<4>) {
        let z = noises_of(self.pairs, indices.iter().copied(), device);
        (z, self.conditions.of(self.pairs, indices.iter().copied(), device), self.pairs.targets(indices, device))
    }

    /// The micro-batches of a batch, each with its number among all of the run and its fraction of the batch.
    fn micro_batches<'b>(&self, indices: &'b [usize], step: u64) -> impl Iterator<Item = (u64, f64, &'b [usize])> + use<'b> {
        let (count, batch) = (self.options.accumulate as u64, self.options.training.batch as f64);
        let chunks = indices.chunks(indices.len() / self.options.accumulate).enumerate();
        chunks.map(move |(index, chunk)| (step * count + index as u64, chunk.len() as f64 / batch, chunk))
    }

    /// Trains the discriminator to tell real samples (c, z, x) from fake ones. `start` is its first step.
    fn discriminator_step(
        &mut self,
        net: &UNet2DConditionModel,
        indices: &[usize],
        step: u64,
        start: u64,
    ) -> Result<Option<DiscriminatorMetrics>, TrainError> {
        let Some(discriminator) = self.discriminator.take() else { return Ok(None) };
        let (adversarial, training) = (&self.options.adversarial, &self.options.training);
        let student = self.options.precision.cast(&net.valid());
        let mut gradients = FlatGradients::default();
        let mut metrics = DiscriminatorMetrics::default();
        for (number, fraction, indices) in self.micro_batches(indices, step) {
            let (z, c, x) = self.batch(indices, &self.device);

            // The student's latents, without an autodiff graph.
            let inner = self.device.clone().inner();
            let inner_z = noises_of(self.pairs, indices.iter().copied(), &inner);
            let inner_c = self.conditions.of(self.pairs, indices.iter().copied(), &inner);
            let latents = one_step(&student, self.rule, inner_z, inner_c);
            let fakes = adversarial.mix.fake_samples(indices, &self.labels, training.seed, number);
            let (fake_z, fake_c, fake_x) = self.fake_batch(&fakes, latents);

            let cast = self.options.precision.cast(&discriminator);
            let real = cast.forward(x, z, &c.states);
            let fake = cast.forward(fake_x, fake_z, &fake_c.states);
            let loss = (loss_real(&real) + loss_fake(&fake)).mul_scalar(fraction);
            metrics.loss += scalar(&loss);
            metrics.real_logits += scalar(&score(&real)) / real.len() as f64 * fraction;
            metrics.fake_logits += scalar(&score(&fake)) / fake.len() as f64 * fraction;
            metrics.readout_logits.resize(real.len(), 0.0);
            for (mean, logits) in metrics.readout_logits.iter_mut().zip(&real) {
                *mean += scalar(&logits.clone().mean()) * fraction;
            }
            gradients = gradients.plus(FlatGradients::take(&discriminator, &mut loss.backward()));
        }
        // Lazy R1 on one real sample. It is always f32: 16 bits would hardly resolve the difference of the two scores.
        if adversarial.r1_gamma > 0.0 && (step - start).is_multiple_of(adversarial.r1_every) {
            let (z, c, x) = self.batch(&indices[..1], &self.device);
            if let Some(r1) = r1_penalty(|x| score(&discriminator.forward(x, z.clone(), &c.states)), x, adversarial.r1_gamma) {
                finite("the R1 penalty", r1.value, step)?;
                let loss = r1.loss.mul_scalar(adversarial.r1_every as f64);
                gradients = gradients.plus(FlatGradients::take(&discriminator, &mut loss.backward()));
                metrics.r1 = Some(r1.value);
            }
        }
        finite("the discriminator's loss", metrics.loss, step)?;
        let rate = self.discriminator_optimizer.rate(step - start, training.steps - start);
        let (discriminator, gradient_norm) = self.discriminator_optimizer.step(discriminator, gradients, rate);
        metrics.gradient_norm = finite("the discriminator's gradient", gradient_norm, step)?;
        self.discriminator = Some(discriminator);
        Ok(Some(metrics))
    }

    /// z, c and x of fake samples. `latents` [N,C,H,W] are the student's, one for each sample.
    fn fake_batch(&self, fakes: &[FakeSample], latents: Tensor<4>) -> (Tensor<4>, Conditioning, Tensor<4>) {
        let device = &self.device;
        let z = noises_of(self.pairs, fakes.iter().map(|fake| fake.noise), device);
        let c = self.conditions.of(self.pairs, fakes.iter().map(|fake| fake.prompt), device);
        let x: Vec<Tensor<4>> = fakes
            .iter()
            .enumerate()
            .map(|(index, fake)| match fake.latent {
                Some(pair) => self.pairs.targets(&[pair], device),
                None => Tensor::from_inner(latents.clone().narrow(0, index, 1)),
            })
            .collect();
        (z, c, Tensor::cat(x, 0))
    }

    /// Trains the student on `d + λ · loss_real(D)`; λ is multiplied by `ramp`, from 0 to 1.
    ///
    /// Both losses are first differentiated with respect to the latent. That gives their gradient norms, and their graphs are freed before the
    /// backward pass of the student.
    fn generator_step(
        &mut self,
        net: UNet2DConditionModel,
        indices: &[usize],
        step: u64,
        ramp: f64,
    ) -> Result<(UNet2DConditionModel, GeneratorMetrics), TrainError> {
        let (adversarial, training) = (&self.options.adversarial, &self.options.training);
        // Without gradients for its weights: only its input needs one.
        let discriminator = self.discriminator.as_ref().filter(|_| ramp > 0.0);
        let discriminator = discriminator.map(|discriminator| self.options.precision.cast(&discriminator.clone().no_grad()));
        let mut gradients = FlatGradients::default();
        let mut metrics = GeneratorMetrics::default();
        for (number, fraction, indices) in self.micro_batches(indices, step) {
            let (z, c, x) = self.batch(indices, &self.device);
            let latents = one_step(&self.options.precision.cast(&net), self.rule, z.clone(), c.clone());

            let input = latents.clone().detach().require_grad();
            let distance = self.distance.mean(input.clone(), x, number, &self.vae);
            metrics.distance += scalar(&distance) * fraction;
            finite("the distance", metrics.distance, step)?;
            let Some(mut gradient) = input.grad(&distance.backward()) else { return Err(TrainError::input("the distance has no gradient")) };

            if let Some(discriminator) = &discriminator {
                let input = latents.clone().detach().require_grad();
                let loss = loss_real(&discriminator.forward(input.clone(), z, &c.states));
                metrics.adversarial = Some(metrics.adversarial.unwrap_or_default() + scalar(&loss) * fraction);
                if let Some(adversarial_gradient) = input.grad(&loss.backward()) {
                    let norms = [norm(&gradient), norm(&adversarial_gradient)];
                    finite("the adversarial gradient", norms[1], step)?;
                    self.ratio.update(norms[0], norms[1]);
                    let lambda = if adversarial.lambda > 0.0 { adversarial.lambda } else { self.ratio.lambda(adversarial.gradient_ratio) };
                    metrics.lambda = ramp * lambda;
                    metrics.gradient_ratio += metrics.lambda * norms[1] / norms[0].max(f64::MIN_POSITIVE) * fraction;
                    gradient = gradient + adversarial_gradient.mul_scalar(metrics.lambda);
                }
            }
            // The chain rule: the gradient of Σ x̂ ⊙ ∂L/∂x̂ with respect to the student's parameters, ∂L/∂x̂ being constant, is that of L.
            let surrogate = (latents * Tensor::from_inner(gradient)).sum().mul_scalar(fraction);
            gradients = gradients.plus(FlatGradients::take(&net, &mut surrogate.backward()));
        }
        metrics.learning_rate = self.optimizer.rate(step, training.steps) * if ramp > 0.0 { adversarial.learning_rate_factor } else { 1.0 };
        let (net, gradient_norm) = self.optimizer.step(net, gradients, metrics.learning_rate);
        metrics.gradient_norm = finite("the gradient", gradient_norm, step)?;
        Ok((net, metrics))
    }
}

impl Trainee for Distillation<'_> {
    fn update(&mut self, step: u64) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let (Some(net), Some(before)) = (self.net.take(), self.average.take()) else { return Err(TrainError::input("nothing is trained")) };
        let LoopOptions { seed, batch, .. } = self.options.training;
        let all: Vec<usize> = (0..self.pairs.seeds.len()).collect();
        let indices = epoch_indices(&all, seed, step, batch);
        let schedule: AdversarialSchedule = self.options.schedule();

        let start = schedule.discriminator_start;
        let discriminator = if step >= start { self.discriminator_step(&net, &indices, step, start)? } else { None };
        let ramp = if self.discriminator.is_some() { schedule.ramp(step) } else { 0.0 };
        if ramp > 0.0 {
            let OptimizerOptions { beta_1, beta_2, .. } = self.options.adversarial.optimizer;
            self.optimizer.set_decays(beta_1, beta_2);
        }
        let (net, generator) = self.generator_step(net, &indices, step, ramp)?;
        self.average = Some(average(before, &net, self.options.averaging.ema_decay, step));
        self.net = Some(net);

        let mut metrics =
            vec![("distance", generator.distance), ("gradient_norm", generator.gradient_norm), ("learning_rate", generator.learning_rate)];
        if let Some(adversarial) = generator.adversarial {
            metrics.extend([("adversarial", adversarial), ("lambda", generator.lambda), ("gradient_ratio", generator.gradient_ratio)]);
        }
        if let Some(discriminator) = discriminator {
            metrics.extend([("discriminator", discriminator.loss), ("discriminator_gradient_norm", discriminator.gradient_norm)]);
            metrics.extend([("real_logits", discriminator.real_logits), ("fake_logits", discriminator.fake_logits)]);
            metrics.extend(discriminator.r1.map(|value| ("r1", value)));
            metrics.extend(self.readout_names.iter().copied().zip(discriminator.readout_logits));
        }
        Ok(metrics)
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

    fn sample_every(&self) -> Option<u64> {
        Some(self.options.averaging.sample_every)
    }

    /// Two rows of the same pairs: the teacher's images above the student's.
    fn sample(&self) -> Option<ImageGrid> {
        let device = self.device.clone().inner();
        let count = self.pairs.seeds.len().min(16);
        let indices: Vec<usize> = (0..count).map(|i| i * self.pairs.seeds.len() / count).collect();
        let (z, context, x) = self.batch(&indices, &device);
        let vae = self.vae.valid();
        let decode = |latents| vae.decode(vae.from_model_space(latents));
        let mut grid = ImageGrid::new(self.image_size);
        grid.row(&decode(x));
        if let Some(net) = &self.average {
            grid.row(&decode(one_step(net, self.rule, z, context)));
        }
        Some(grid)
    }
}
