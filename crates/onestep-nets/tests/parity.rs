//! Our networks against diffusers' and transformers', output by output and gradient by gradient.

mod fixture;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use fixture::Fixture;
use onestep_nets::{
    AddedConditions, AutoencoderKl, AutoencoderKlConfig, ClipTextConfig, ClipTextModel, Decoder, Generator, Init, NoiseSchedule, OneStepRule,
    SchedulerConfig, UNet2DConditionConfig, UNet2DConditionModel, weights,
};

fn unet(fixture: &Fixture, device: &Device) -> UNet2DConditionModel {
    let config = UNet2DConditionConfig::from_json(&fixture.config).unwrap();
    weights::load(config.init(device), &[fixture.shard()]).unwrap()
}

fn unet_output(fixture: &Fixture, unet: &UNet2DConditionModel, device: &Device) -> Tensor<4> {
    let added = unet
        .add_embedding
        .as_ref()
        .map(|_| AddedConditions { text_embeds: fixture.tensor("text_embeds", device), time_ids: fixture.tensor("time_ids", device) });
    unet.forward(fixture.tensor("sample", device), fixture.tensor("timestep", device), fixture.tensor("encoder_hidden_states", device), added)
}

fn check_unet(name: &'static str) {
    let fixture = Fixture::open(name);
    let device = Device::flex();
    fixture.compare("out", unet_output(&fixture, &unet(&fixture, &device), &device));

    let device = device.autodiff();
    let unet = unet(&fixture, &device);
    let loss = (unet_output(&fixture, &unet, &device) * fixture.tensor("probe", &device)).sum();
    fixture.compare_gradients(&unet, &loss.backward());
}

#[test]
fn unet_of_stable_diffusion_1() {
    check_unet("unet-sd15");
}

#[test]
fn unet_of_stable_diffusion_2() {
    check_unet("unet-sd2");
}

#[test]
fn unet_of_sdxl() {
    check_unet("unet-sdxl");
}

#[test]
fn the_generator_is_the_prediction_of_the_clean_latent() {
    let fixture = Fixture::open("unet-sd15");
    let device = Device::flex();
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    let generator = Generator::new(unet(&fixture, &device), OneStepRule::at(&schedule, 999).unwrap());
    let text = fixture.tensor("encoder_hidden_states", &device);
    fixture.compare("generator", generator.forward(fixture.tensor("sample", &device), text));
}

fn autoencoder(fixture: &Fixture, device: &Device) -> AutoencoderKl {
    let config = AutoencoderKlConfig::from_json(&fixture.config).unwrap();
    weights::load(config.init(device), &[fixture.shard()]).unwrap()
}

fn check_autoencoder(name: &'static str) {
    let fixture = Fixture::open(name);
    let device = Device::flex();
    let vae = autoencoder(&fixture, &device);
    let latents = fixture.tensor::<4>("latents", &device);
    let posterior = vae.encode(fixture.tensor("images", &device));
    fixture.compare("mean", posterior.mean.clone());
    fixture.compare("logvar", posterior.logvar.clone());
    fixture.compare("kl", posterior.kl());
    fixture.compare("decoded", vae.decode(latents.clone()));
    fixture.compare("decoded_from_model_space", vae.decode(vae.from_model_space(latents.clone())));
    fixture.compare("decoded_from_model_space", Decoder::new(vae).forward(latents));

    let device = device.autodiff();
    let vae = autoencoder(&fixture, &device);
    let mean = vae.encode(fixture.tensor("images", &device)).mean * fixture.tensor("probe_mean", &device);
    let decoded = vae.decode(fixture.tensor("latents", &device)) * fixture.tensor("probe_decoded", &device);
    fixture.compare_gradients(&vae, &(mean.sum() + decoded.sum()).backward());
}

#[test]
fn autoencoder_with_quant_convolutions() {
    check_autoencoder("vae-quant");
}

#[test]
fn autoencoder_without_quant_convolutions() {
    check_autoencoder("vae-no-quant");
}

#[test]
fn autoencoder_without_attention() {
    check_autoencoder("vae-no-attention");
}

fn clip(fixture: &Fixture, device: &Device) -> ClipTextModel {
    let config = ClipTextConfig::from_json(&fixture.config).unwrap();
    weights::load(config.init(device), &[fixture.shard()]).unwrap()
}

fn check_clip(name: &'static str, layers: usize) {
    let fixture = Fixture::open(name);
    let device = Device::flex();
    let model = clip(&fixture, &device);
    let output = model.forward(fixture.ids(&device));
    assert_eq!(output.hidden_states.len(), layers + 1);
    for (i, hidden) in output.hidden_states.into_iter().enumerate() {
        fixture.compare(&format!("hidden_states.{i}"), hidden);
    }
    fixture.compare("last_hidden_state", output.last_hidden_state.clone());
    let pooled = model.pool(output.last_hidden_state, fixture.ids(&device));
    match model.project(pooled.clone()) {
        Some(embeds) => fixture.compare("text_embeds", embeds),
        None => fixture.compare("pooler_output", pooled),
    }

    let device = device.autodiff();
    let model = clip(&fixture, &device);
    let last = model.forward(fixture.ids(&device)).last_hidden_state;
    let loss = if model.text_projection.is_some() {
        let embeds = model.project(model.pool(last, fixture.ids(&device))).unwrap();
        (embeds * fixture.tensor("probe", &device)).sum()
    } else {
        (last * fixture.tensor("probe", &device)).sum()
    };
    fixture.compare_gradients(&model, &loss.backward());
}

#[test]
fn clip_with_quick_gelu() {
    check_clip("clip-quick-gelu", 3);
}

#[test]
fn clip_with_gelu_and_projection() {
    check_clip("clip-gelu-projection", 2);
}

#[test]
fn a_validation_module_computes_the_same() {
    let fixture = Fixture::open("unet-sd15");
    let device = Device::flex();
    let trained = unet(&fixture, &device.clone().autodiff()).valid();
    fixture.compare("out", unet_output(&fixture, &trained, &device));
}
