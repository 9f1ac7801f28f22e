//! The whole of `distil`, from options to the model folder.

use burn::tensor::Device;
use onestep_nets::{Discriminator, DiscriminatorParts};

use super::{conditions::Conditions, gradient_ratio::GradientRatio, options::DistilOptions, regression::Distance, step::Distillation};
use crate::{
    error::TrainError,
    observer::Observer,
    optimizer::Optimizer,
    pairs::Pairs,
    pipeline_folder::{MODEL, PipelineFolder, SCHEDULER_CONFIG, UNET_WEIGHTS, component_files, in_memory, write_model},
    prompt_encoder::PromptEncoder,
    run_folder::{Entry, RunFolder, model_of},
    store::sha256,
    training_loop::{self, RunIdentity},
};

/// Trains and writes `model/`: the teacher's pipeline with the student in place of the denoiser.
///
/// # Errors
/// Pairs that are damaged or another teacher's, a metric that does not fit, storage, a loss that is not finite, interruption.
pub fn train(options: &DistilOptions, entry: Entry, device: &Device, device_name: &str, observer: &mut dyn Observer) -> Result<(), TrainError> {
    options.check()?;
    let teacher = PipelineFolder::open_with(&model_of(&options.teacher)?, &options.model)?;
    teacher.check()?;
    let pairs = Pairs::open_of(&options.pairs, &teacher)?;
    let (mut scheduler, rule) = teacher.student_scheduler(options.timestep)?;
    scheduler.teacher_timestep_spacing = pairs.index.options.spacing.or(scheduler.teacher_timestep_spacing);
    options.training.check_batch(pairs.index.shape)?;
    let autodiff = if options.gradient_checkpointing { device.clone().autodiff().gradient_checkpointing() } else { device.clone().autodiff() };
    let distance = Distance::open(options, &teacher, &autodiff)?;
    let mut folder = RunFolder::enter(&options.out, entry, options, device_name, ("model", MODEL))?;
    let conditions = Conditions::new(&PromptEncoder::open(&teacher, pairs.index.options.guidance, device)?, &pairs, device, observer)?;
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
        rule,
        decoder: burn::module::Module::no_grad(teacher.decoder(&autodiff)?),
        pairs: &pairs,
        conditions,
        labels: pairs.labels(),
        image_size: teacher.sizes()?.image,
        distance,
        average: Some(burn::module::Module::valid(&net)),
        net: Some(net),
        optimizer: Optimizer::new(options.training.optimizer.clone()),
        readout_names: discriminator.as_ref().map_or_else(Vec::new, readout_names),
        discriminator,
        discriminator_optimizer: Optimizer::new(adversarial.optimizer.clone()),
        ratio: GradientRatio::default(),
        device: autodiff,
    };
    let data = sha256(format!("{} {} {}", pairs.hash(), teacher.hash()?, distillation.distance.hash()).as_bytes());
    training_loop::run(&mut distillation, &options.training, &RunIdentity::new(options, &data), &mut folder, observer)?;

    let student = distillation.average.as_ref().ok_or_else(|| TrainError::input("nothing was trained"))?;
    let student = component_files("unet/config.json", distillation.config.clone(), UNET_WEIGHTS, student);
    let index = teacher.pipeline().model_index()?;
    let scheduler = (SCHEDULER_CONFIG.to_owned(), scheduler.to_json().into_bytes());
    let mut files: Vec<_> = in_memory(student.into_iter().chain([index, scheduler])).collect();
    for component in teacher.components().into_iter().filter(|component| !["unet", "scheduler"].contains(component)) {
        files.extend(teacher.component(component)?);
    }
    write_model(&options.out.join("model"), &files)?;
    crate::report_page::write(&options.out)
}

/// Log keys of the discriminator's readouts. They are leaked, because log keys are `'static` and these few last as long as the program.
fn readout_names(discriminator: &Discriminator) -> Vec<&'static str> {
    discriminator.readout_names().into_iter().map(|(scale, position)| &*format!("real_logits_{scale}_{position}").leak()).collect()
}
