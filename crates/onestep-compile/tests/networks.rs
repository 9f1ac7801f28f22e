//! The networks of a text-to-image model with random weights, as burn and as programs.

mod common;

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use common::{Eager, noise};
use onestep_compile::{Compiled, Names, Options, Passes, Ports, Storage, bundle_weights, compile};
use onestep_nets::{
    AddedConditions, AutoencoderKlConfig, AutoencoderTinyConfig, ClipTextConfig, Conditioning, Decoder, Generator, Init, NoiseSchedule, OneStepRule,
    SchedulerConfig, UNet2DConditionConfig, guidance_features, weights,
};
use onestep_program::{DType, Op, WeightFile};

/// What a program may differ from burn by, in lengths of the result.
const BOUND: f64 = 1e-5;

fn names<M: Module>(module: &M) -> Names {
    Names::explicit(weights::parameters(module).into_iter().map(|parameter| (parameter.id, parameter.name)))
}

/// Moves every parameter, so that norms are not the ones and zeros they begin with.
fn stir<M: Module>(module: M) -> M {
    struct Stir(u64);
    impl burn::module::ModuleMapper for Stir {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let seed = self.0;
            param.map(|tensor| {
                let (shape, device) = (tensor.shape(), tensor.device());
                let size = if D == 1 { 0.2 } else { 0.02 };
                tensor + Tensor::from_data(TensorData::new(noise(shape.num_elements(), seed), shape), &device) * size
            })
        }
    }
    module.map(&mut Stir(0))
}

fn unet_config() -> UNet2DConditionConfig {
    UNet2DConditionConfig {
        block_out_channels: vec![32, 64, 96, 96],
        norm_num_groups: 8,
        cross_attention_dim: onestep_nets::PerBlock::One(24),
        attention_head_dim: onestep_nets::PerBlock::One(4),
        ..UNet2DConditionConfig::default()
    }
}

fn generator(config: &UNet2DConditionConfig) -> Generator {
    config.validate().unwrap();
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    stir(Generator::new(config.init(&Device::flex()), OneStepRule::noise(&schedule, 999).unwrap()))
}

/// No operation is left of what a fused one stands for.
fn assert_fused(compiled: &Compiled) {
    let found = compiled.histogram();
    for name in ["mat_mul", "softmax", "reduce", "expand", "pad"] {
        assert_eq!(found.count(name), 0, "{name}: {found}");
    }
    assert!(!compiled.program.nodes.iter().any(|node| matches!(node.op, Op::Unary { .. })), "{found}");
}

#[test]
fn generator_like_stable_diffusion() {
    let module = generator(&unet_config());
    let compiled = case!(&module, &names(&module), 0, BOUND, false, |net, io| {
        let z = io.float("noise", [1, 4, 16, 16]);
        let text = io.float("text", [1, 7, 24]);
        io.output("latents", net.forward(z, text));
    });
    assert_fused(&compiled);
    let found = compiled.histogram();
    // 22 residual blocks of two norms and convolutions, 16 transformers of a norm, two projections, three layer norms, two attentions and
    // a gated feed-forward of two matrices. One matrix gives queries, keys and values of an attention to itself; one gives the keys and
    // values of all attentions to the text.
    for (name, count) in [
        ("group_norm", 22 * 2 + 16 + 1),
        ("layer_norm", 16 * 3),
        ("attention", 16 * 2),
        ("geglu", 16),
        ("linear", 16 * (2 + 2 + 2) + 1),
        ("slice", 16 * (3 + 2)),
        ("up_conv2d", 3),
        ("upsample_nearest", 0),
        ("concat", 12),
    ] {
        assert_eq!(found.count(name), count, "{name}: {found}");
    }
    // The formula of the generator scales the noise; the rest of it is part of the last convolution.
    assert_eq!((found.count("binary"), found.count("affine")), (0, 1), "{found}");
    // What a normalisation is multiplied by and the factor of the scores are part of weights.
    assert!(compiled.program.nodes.iter().all(|node| match node.op {
        Op::LayerNorm { affine, .. } => !affine,
        Op::Attention { scale, .. } => scale == 1.0,
        _ => true,
    }));
    // The time embedding of a fixed timestep is part of biases.
    assert!(!compiled.weights.iter().any(|weight| weight.name.contains("time_emb")));
    let kernel = compiled.weight("net.unet.conv_in.weight").unwrap();
    assert_eq!(kernel.shape, [32, 4, 3, 3]);
}

#[test]
fn generator_at_sizes_that_do_not_halve_evenly() {
    for (size, paddings) in [([10, 14], 1), ([12, 20], 1), ([9, 9], 1), ([9, 13], 0)] {
        let module = generator(&UNet2DConditionConfig { downsample_padding: paddings, ..unet_config() });
        let compiled = case!(&module, &names(&module), 0, BOUND, false, |net, io| {
            let z = io.float("noise", [1, 4, size[0], size[1]]);
            let text = io.float("text", [1, 7, 24]);
            io.output("latents", net.forward(z, text));
        });
        let found = compiled.histogram();
        // Levels of an even size keep their fused upsampling.
        assert_eq!(found.count("up_conv2d") + found.count("upsample_nearest"), 3, "{found}");
        assert!(found.count("upsample_nearest") > 0, "{found}");
    }
}

#[test]
fn parameters_keep_their_published_names_and_layout() {
    let module = generator(&unet_config());
    // Without the passes that compute new weights from those of the module.
    let new = ["fuse_affine", "pointwise", "layer_norm_affine", "attention_scale", "joint_linear", "phases"];
    let passes = new.iter().fold(Passes::all(), |passes, name| passes.without(name).unwrap());
    let compiled = compile("generator", &module, &names(&module), &Options { passes, ..Options::default() }, |net, ports| {
        let (z, text) = (ports.float("noise", [1, 4, 8, 8]), ports.float("text", [1, 7, 24]));
        ports.output("latents", net.forward(z, text));
    })
    .unwrap();
    let mut found = 0;
    for tensor in weights::state(&module) {
        if let Some(view) = compiled.weight(&format!("generator.{}", tensor.name)) {
            assert_eq!(view.shape, tensor.shape, "{}", tensor.name);
            assert_eq!(view.to_f32(), tensor.data, "{}", tensor.name);
            found += 1;
        }
    }
    let constants = compiled.weights.iter().filter(|weight| weight.name.starts_with("generator.constant.")).count();
    // The first convolution's bias of each residual block took in the time.
    assert_eq!((found + constants, constants), (compiled.weights.len(), 22));
}

#[test]
fn generator_like_the_larger_one() {
    let config = UNet2DConditionConfig {
        block_out_channels: vec![32, 64],
        down_block_types: unet_config().down_block_types[..1].iter().cloned().chain(unet_config().down_block_types[..1].iter().cloned()).collect(),
        up_block_types: unet_config().up_block_types[1..3].to_vec(),
        transformer_layers_per_block: onestep_nets::PerBlock::Each(vec![1, 2]),
        attention_head_dim: onestep_nets::PerBlock::Each(vec![2, 4]),
        use_linear_projection: true,
        addition_embed_type: Some("text_time".into()),
        addition_time_embed_dim: Some(8),
        projection_class_embeddings_input_dim: Some(10 + 6 * 8),
        ..unet_config()
    };
    let module = generator(&config);
    let compiled = case!(&module, &names(&module), 0, BOUND, false, |net, io| {
        let z = io.float("noise", [2, 4, 8, 12]);
        let text = io.float("text", [2, 5, 24]);
        let pooled = io.float("pooled", [2, 10]);
        let size = Tensor::<2>::from_data([[64.0, 96.0, 0.0, 0.0, 64.0, 96.0], [64.0, 96.0, 0.0, 0.0, 64.0, 96.0]], io.device());
        io.output(
            "latents",
            net.forward(z, Conditioning { states: text, added: Some(AddedConditions { text_embeds: pooled, time_ids: size }), guidance: None }),
        );
    });
    let found = compiled.histogram();
    assert_eq!((found.count("mat_mul"), found.count("softmax"), found.count("reduce")), (0, 0, 0), "{found}");
}

#[test]
fn generator_that_takes_the_guidance_scale() {
    let module = generator(&UNet2DConditionConfig { time_cond_proj_dim: Some(16), ..unet_config() });
    for constant in [true, false] {
        let compiled = case!(&module, &names(&module), 0, BOUND, false, |net, io| {
            let z = io.float("noise", [1, 4, 8, 8]);
            let states = io.float("text", [1, 5, 24]);
            let guidance = if constant { guidance_features(8.0, 16, &io.device().clone()) } else { io.float("guidance", [1, 16]) };
            io.output("latents", net.forward(z, Conditioning { states, added: None, guidance: Some(guidance) }));
        });
        // A fixed scale is part of biases, like the fixed timestep.
        assert_eq!(compiled.weights.iter().any(|weight| weight.name.contains("time_emb")), !constant);
    }
}

#[test]
fn decoder() {
    let config =
        AutoencoderKlConfig { block_out_channels: vec![16, 32, 32], layers_per_block: 1, norm_num_groups: 8, ..AutoencoderKlConfig::default() };
    config.validate().unwrap();
    let module = stir(Decoder::new(config.init(&Device::flex())));
    let compiled = case!(&module, &names(&module), 0, BOUND, true, |net, io| {
        let latents = io.float("latents", [1, 4, 8, 6]);
        io.output("image", net.forward(latents));
    });
    assert_fused(&compiled);
}

#[test]
fn tiny_autoencoder() {
    let config = AutoencoderTinyConfig { decoder_block_out_channels: vec![16; 4], encoder_block_out_channels: vec![8; 4], ..Default::default() };
    let vae = stir(config.init(&Device::flex()));
    let decoder = Decoder::new(vae.clone());
    let compiled = case!(&decoder, &names(&decoder), 0, BOUND, true, |net, io| {
        let latents = io.float("latents", [1, 4, 3, 5]);
        io.output("image", net.forward(latents));
    });
    let found = compiled.histogram();
    assert_eq!((found.count("up_conv2d"), found.count("upsample_nearest")), (3, 0), "{found}");
    case!(&vae, &names(&vae), 0, BOUND, true, |net, io| {
        let images = io.float("images", [1, 3, 18, 24]);
        io.output("latents", net.encode(images));
    });
}

#[test]
fn encoder_with_uneven_padding() {
    let config =
        AutoencoderKlConfig { block_out_channels: vec![16, 32, 32], layers_per_block: 1, norm_num_groups: 8, ..AutoencoderKlConfig::default() };
    let module = stir(config.init(&Device::flex()));
    let compiled = case!(&module, &names(&module), 0, BOUND, false, |net, io| {
        let image = io.float("image", [1, 3, 16, 20]);
        let found = net.encode(image);
        io.output("mean", found.mean);
        io.output("logvar", found.logvar);
    });
    assert_fused(&compiled);
}

fn text_config() -> ClipTextConfig {
    ClipTextConfig {
        vocab_size: 99,
        hidden_size: 24,
        intermediate_size: 48,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        max_position_embeddings: 11,
        ..ClipTextConfig::default()
    }
}

#[test]
fn text_encoder() {
    let module = stir(text_config().init(&Device::flex()));
    let compiled = case!(&module, &names(&module), 99, BOUND, true, |net, io| {
        let ids = io.ids("ids", [2, 11]);
        io.output("hidden", net.forward(ids).last_hidden_state);
    });
    assert_fused(&compiled);
    let found = compiled.histogram();
    for (name, count) in [("linear", 3 * 4), ("slice", 3 * 3), ("attention", 3), ("layer_norm", 7), ("embedding", 1), ("binary", 1), ("affine", 0)] {
        assert_eq!(found.count(name), count, "{name}: {found}");
    }
    assert!(compiled.program.nodes.iter().all(|node| !matches!(node.op, Op::Attention { causal: false, .. })));
    // The last but one layer is computed without what follows it.
    let shorter = compile("text_encoder", &module, &names(&module), &Options::default(), |net, ports| {
        let ids = ports.ids("ids", [1, 11]);
        let states = net.forward(ids).hidden_states;
        ports.output("hidden", states[states.len() - 2].clone());
    })
    .unwrap();
    assert_eq!(shorter.histogram().count("attention"), 2);
}

#[test]
fn a_bundle_in_half_precision() {
    let (text, unet, vae) = (
        stir(text_config().init(&Device::flex())),
        generator(&unet_config()),
        stir(Decoder::new(
            AutoencoderKlConfig { block_out_channels: vec![16, 32], layers_per_block: 1, norm_num_groups: 8, ..AutoencoderKlConfig::default() }
                .init(&Device::flex()),
        )),
    );
    let options = Options { storage: Storage::F16, ..Options::default() };
    let build = || -> [Compiled; 3] {
        let text = compile("text_encoder", &text, &names(&text), &options, |net, ports| {
            let ids = ports.ids("ids", [1, 11]);
            ports.output("text", net.forward(ids).last_hidden_state);
        });
        let unet = compile("generator", &unet, &names(&unet), &options, |net, ports| {
            let (z, text) = (ports.float("noise", [1, 4, 8, 8]), ports.float("text", [1, 11, 24]));
            ports.output("latents", net.forward(z, text));
        });
        let vae = compile("decoder", &vae, &names(&vae), &options, |net, ports: &mut Ports| {
            let latents = ports.float("latents", [1, 4, 8, 8]);
            ports.output("image", net.forward(latents));
        });
        [text.unwrap(), unet.unwrap(), vae.unwrap()]
    };
    let programs = build();
    let bytes = bundle_weights(&[&programs[0], &programs[1], &programs[2]]).unwrap();
    let file = WeightFile::new(bytes.clone(), "weights").unwrap();
    let views: Vec<_> = file.names().map(|name| (name, file.get(name).unwrap())).collect();
    let dtype = |dtype| if dtype == DType::F16 { safetensors::Dtype::F16 } else { safetensors::Dtype::F32 };
    let views =
        views.iter().map(|(name, view)| (name, safetensors::tensor::TensorView::new(dtype(view.dtype), view.shape.to_vec(), &view.bytes).unwrap()));
    assert!(bytes == safetensors::serialize(views, None).unwrap(), "not what the crate safetensors writes");
    for compiled in &programs {
        for value in compiled.program.weights() {
            let name = value.weight.as_ref().unwrap();
            let view = file.get(name).unwrap();
            assert_eq!((view.shape, view.dtype), (&value.shape[..], value.dtype), "{name}");
            let matrix = name.ends_with(".weight") && !name.contains("position") || name.contains(".constant.");
            let narrow = matrix && value.shape.len() > 1;
            assert_eq!(value.dtype == DType::F16, narrow, "{name}");
        }
    }
    let again = build();
    assert_eq!(bundle_weights(&[&programs[0], &programs[1], &programs[2]]).unwrap(), bundle_weights(&[&again[0], &again[1], &again[2]]).unwrap());
    assert!(programs.iter().zip(&again).all(|(a, b)| a.program.to_json() == b.program.to_json()));
    // Rounded weights change the result by what eleven bits of them are worth.
    let mut expected = Eager::new(0);
    let (z, given) = (expected.float("noise", [1, 4, 8, 8]), expected.float("text", [1, 11, 24]));
    let latents = unet.forward(z, given);
    expected.output("latents", latents);
    let found = common::run(&programs[1], &expected.inputs);
    let error = common::relative(&found[0].1, &expected.outputs[0].1);
    assert!(error > 1e-6 && error < 5e-3, "{error:.2e}");
}

/// The full size once, for its time and memory: `cargo test … full_size -- --ignored --nocapture`.
#[test]
#[ignore = "needs 12 GB of memory"]
fn full_size() {
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    let config = UNet2DConditionConfig { cross_attention_dim: onestep_nets::PerBlock::One(768), ..UNet2DConditionConfig::default() };
    let module = Generator::new(config.init(&Device::flex()), OneStepRule::noise(&schedule, 999).unwrap());
    let options = Options { storage: Storage::F16, ..Options::default() };
    // The lazy initialisation of the parameters is not what is measured.
    let module = module.valid();
    let began = std::time::Instant::now();
    let compiled = compile("generator", &module, &names(&module), &options, |net, ports| {
        let (z, text) = (ports.float("noise", [1, 4, 64, 64]), ports.float("text", [1, 77, 768]));
        ports.output("latents", net.forward(z, text));
    })
    .unwrap();
    eprintln!(
        "{:?}: {}, {} parameters, {} GFLOP",
        began.elapsed(),
        compiled.histogram(),
        compiled.program.parameters(),
        compiled.program.flops() / 1_000_000_000
    );
}
