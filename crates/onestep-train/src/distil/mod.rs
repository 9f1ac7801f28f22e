//! `distil`: trains the one-step student on the teacher's noise–latent pairs (Diffusion2GAN, section 3).
//!
//! The student G is the teacher's denoiser with the teacher's weights, evaluated once at t = 999. Its noise prediction is converted to a latent in
//! f32, because the conversion amplifies it by σ/α = 14.6. The text encoder stays frozen. G minimises
//!
//! `L_G = d(G(z,c), x) + λ · mean softplus(−D(c, z, G(z,c)))`
//!
//! - [`regression`]: the distance d, E-LatentLPIPS in the paper;
//! - [`adversarial`]: the losses of generator and discriminator, and R1;
//! - [`mix_and_match`]: the fake samples besides the student's latents;
//! - [`gradient_ratio`]: the adaptive weight λ;
//! - [`precision`]: the compute dtype.
//!
//! The schedule ([`AdversarialSchedule`]): the student first minimises d alone; D starts some steps before λ does; λ then rises linearly to its value.

pub mod adversarial;
pub mod gradient_ratio;
pub mod mix_and_match;
mod options;
pub mod precision;
pub mod regression;
mod step;

use burn::tensor::{Device, Tensor, TensorData};
use onestep_nets::{Discriminator, DiscriminatorParts};

use crate::{
    error::TrainError,
    observer::Observer,
    optimizer::Optimizer,
    pairs::Pairs,
    pipeline_folder::{MODEL, PipelineFolder, UNET_WEIGHTS, component_files, model_index},
    run_folder::{Entry, RunFolder, model_of},
    sampler::{encode_prompts, noises},
    store::sha256,
    training_loop::{self, RunIdentity},
};
use regression::Distance;
use step::Distillation;

pub use options::{AdversarialOptions, AdversarialSchedule, DistilOptions};

/// Trains and writes `model/`: the teacher's pipeline with the student in place of the denoiser.
///
/// # Errors
/// Pairs that are damaged or another teacher's, a metric that does not fit, storage, a loss that is not finite, interruption.
pub fn train(options: &DistilOptions, entry: Entry, device: &Device, device_name: &str, observer: &mut dyn Observer) -> Result<(), TrainError> {
    options.check()?;
    let teacher = PipelineFolder::open(&model_of(&options.teacher)?)?;
    teacher.check()?;
    let pairs = Pairs::open_of(&options.pairs, &teacher)?;
    options.training.check_batch(pairs.index.shape)?;
    let autodiff = if options.gradient_checkpointing { device.clone().autodiff().gradient_checkpointing() } else { device.clone().autodiff() };
    let distance = Distance::open(options, &teacher, &autodiff)?;
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("model", MODEL))?;
    let conditions = Conditions::new(&teacher, &pairs, device)?;
    let config = teacher.unet_config()?;
    let adversarial = &options.adversarial;
    device.seed(options.training.seed);
    let discriminator = if adversarial.enabled {
        let parts = DiscriminatorParts { noise: adversarial.noise, scales: adversarial.scales };
        Some(Discriminator::new(teacher.unet(&autodiff)?, &config, parts, &autodiff))
    } else {
        None
    };
    let net = teacher.unet(&autodiff)?;
    let mut distillation = Distillation {
        options,
        config: config.to_json(),
        schedule: teacher.schedule()?,
        vae: burn::module::Module::no_grad(teacher.vae(&autodiff)?),
        pairs: &pairs,
        conditions,
        labels: pairs.labels(),
        image_size: teacher.sizes()?.image,
        distance,
        average: Some(burn::module::Module::valid(&net)),
        net: Some(net),
        optimizer: Optimizer::new(options.training.optimizer.clone()),
        head_names: discriminator.as_ref().map_or_else(Vec::new, head_names),
        discriminator,
        discriminator_optimizer: Optimizer::new(adversarial.optimizer.clone()),
        ratio: gradient_ratio::GradientRatio::default(),
        device: autodiff,
    };
    let data = sha256(format!("{} {} {}", pairs.hash(), teacher.hash(), distillation.distance.hash()).as_bytes());
    training_loop::run(&mut distillation, &options.training, &RunIdentity::new(options, &data), &mut folder, observer)?;

    let student = distillation.average.as_ref().ok_or_else(|| TrainError::input("nothing was trained"))?;
    let mut files = component_files("unet/config.json", distillation.config.clone(), UNET_WEIGHTS, student);
    for component in ["vae", "text_encoder", "scheduler", "tokenizer"] {
        files.extend(teacher.component(component));
    }
    files.push(model_index(&["vae", "unet", "text_encoder", "scheduler", "tokenizer"]));
    PipelineFolder::new(files).write(&options.out.join("model"))?;
    crate::report_page::write(&options.out)
}

/// Log keys of the discriminator's heads. They are leaked, because log keys are `'static` and these few last as long as the program.
fn head_names(discriminator: &Discriminator) -> Vec<&'static str> {
    discriminator.places().into_iter().map(|(scale, position)| &*format!("real_logits_{scale}_{position}").leak()).collect()
}

/// The text encoder's output for every prompt of a pair set, computed once because the text encoder is frozen.
struct Conditions {
    /// [prompts, tokens, features], flat.
    values: Vec<f32>,
    /// [tokens, features].
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

    /// The conditions of some pairs: [N, tokens, features].
    fn of(&self, pairs: &Pairs, indices: impl ExactSizeIterator<Item = usize>, device: &Device) -> Tensor<3> {
        let elements = self.shape[0] * self.shape[1];
        let count = indices.len();
        let values: Vec<f32> = indices.flat_map(|pair| self.values[pairs.rows[pair] * elements..][..elements].iter().copied()).collect();
        Tensor::from_data(TensorData::new(values, [count, self.shape[0], self.shape[1]]), device)
    }
}

/// The noises of some pairs: [N,C,H,W].
fn noises_of(pairs: &Pairs, indices: impl Iterator<Item = usize>, device: &Device) -> Tensor<4> {
    let seeds: Vec<u64> = indices.map(|pair| pairs.seeds[pair]).collect();
    noises(&seeds, pairs.index.shape, device)
}
