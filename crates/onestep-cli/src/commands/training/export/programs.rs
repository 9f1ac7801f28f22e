//! The three programs of a text-to-image model: text encoder (token ids to hidden states), generator (noise and hidden states to latents), decoder
//! (latents to image).

use burn::module::Module;
use burn::tensor::Tensor;
use onestep_compile::{CompileError, Compiled, Names, Options, ReadElements, compile};
use onestep_nets::weights::StoredParameter;
use onestep_nets::{AddedConditions, ClipTextModel, Conditioning, Decoder, Generator, OneStepRule, UNet2DConditionModel};

/// A network without weights, and where its weights are.
pub struct StoredNetwork<M> {
    /// The network; its parameters need not be initialised.
    pub network: M,
    /// Its parameters.
    pub parameters: Vec<StoredParameter>,
}

/// The names of parameters with a prefix, and where they are.
fn names<'a>(parts: impl IntoIterator<Item = (&'a str, &'a Vec<StoredParameter>)>) -> Names {
    let named = parts.into_iter().flat_map(|(prefix, parameters)| {
        parameters.iter().cloned().map(move |parameter| {
            let name = format!("{prefix}{}", parameter.name);
            (parameter.id, name, ReadElements::new(move || parameter.read()))
        })
    });
    Names::stored(named)
}

/// The program of a single text encoder: the last hidden states of `tokens` ids.
///
/// # Errors
/// Those of [`compile`].
pub fn text_encoder(encoder: &StoredNetwork<ClipTextModel>, tokens: usize, options: &Options) -> Result<Compiled, CompileError> {
    compile("text_encoder", &encoder.network, &names([("", &encoder.parameters)]), options, |net, ports| {
        let ids = ports.ids("input_ids", [1, tokens]);
        ports.output("last_hidden_state", net.forward(ids).last_hidden_state);
    })
}

/// The program of the two text encoders of Stable Diffusion XL: their hidden states before the last layer, side by side, and the projected state of
/// the second one at the end of the text.
///
/// # Errors
/// Those of [`compile`]; a second encoder without a projection.
pub fn text_encoders(
    first: &StoredNetwork<ClipTextModel>,
    second: &StoredNetwork<ClipTextModel>,
    tokens: usize,
    options: &Options,
) -> Result<Compiled, CompileError> {
    #[derive(Module, Debug)]
    struct Encoders {
        first: ClipTextModel,
        second: ClipTextModel,
    }
    let both = Encoders { first: first.network.clone(), second: second.network.clone() };
    let names = names([("", &first.parameters), ("encoder_2.", &second.parameters)]);
    compile("text_encoder", &both, &names, options, |net, ports| {
        let (ids, ids_2) = (ports.ids("input_ids", [1, tokens]), ports.ids("input_ids_2", [1, tokens]));
        let end_of_text = ports.float("end_of_text", [1, tokens]);
        let (first, second) = (net.first.forward(ids), net.second.forward(ids_2));
        let penultimate = |states: &[Tensor<3>]| states.iter().rev().nth(1).cloned();
        let states: Vec<Tensor<3>> = [&first.hidden_states, &second.hidden_states].into_iter().filter_map(|states| penultimate(states)).collect();
        ports.output("encoder_hidden_states", Tensor::cat(states, 2));
        let features = second.last_hidden_state.dims()[2];
        let pooled = end_of_text.reshape([1, 1, tokens]).matmul(second.last_hidden_state).reshape([1, features]);
        // Without a projection there is no such output, which the check of the bundle refuses by name.
        if let Some(embeds) = net.second.project(pooled) {
            ports.output("text_embeds", embeds);
        }
    })
}

/// The inputs of Stable Diffusion XL's generator in addition to the hidden states.
#[derive(Clone, Copy, Debug)]
pub struct PooledText {
    /// The width of the pooled text.
    pub features: usize,
    /// Original size, crop and target size, as rows and columns; a constant of the program.
    pub time_ids: [f32; 6],
}

/// The shapes of the generator's inputs, and what is constant in its program.
#[derive(Clone, Debug)]
pub struct GeneratorInputs {
    /// [channels, rows, columns] of noise and latents.
    pub latent: [usize; 3],
    /// Token ids of a prompt.
    pub tokens: usize,
    /// The width of the hidden states.
    pub features: usize,
    /// Of models with two text encoders.
    pub pooled: Option<PooledText>,
    /// Features of the guidance scale, [1, size], for a network with `time_cond_proj_dim`; constant.
    pub guidance: Option<Tensor<2>>,
}

/// The program of the generator, `unet` read by `rule`: latents from noise and hidden states.
///
/// # Errors
/// Those of [`compile`].
pub fn generator(
    unet: &StoredNetwork<UNet2DConditionModel>,
    rule: OneStepRule,
    inputs: GeneratorInputs,
    options: &Options,
) -> Result<Compiled, CompileError> {
    let GeneratorInputs { latent: [channels, rows, columns], tokens, features, pooled, guidance } = inputs;
    let generator = Generator::new(unet.network.clone(), rule);
    compile("generator", &generator, &names([("unet.", &unet.parameters)]), options, |net, ports| {
        let noise = ports.float("noise", [1, channels, rows, columns]);
        let states = ports.float("encoder_hidden_states", [1, tokens, features]);
        let added = pooled.map(|PooledText { features, time_ids }| AddedConditions {
            text_embeds: ports.float("text_embeds", [1, features]),
            time_ids: Tensor::from_data([time_ids], ports.device()),
        });
        let guidance = guidance.map(|features| Tensor::from_data(features.into_data(), ports.device()));
        ports.output("latents", net.forward(noise, Conditioning { added, guidance, ..states.into() }));
    })
}

/// The program of the decoder: an image from latents of the shape `latent`.
///
/// # Errors
/// Those of [`compile`].
pub fn decoder(decoder: &StoredNetwork<Decoder>, latent: [usize; 3], options: &Options) -> Result<Compiled, CompileError> {
    let [channels, rows, columns] = latent;
    compile("decoder", &decoder.network, &names([("", &decoder.parameters)]), options, |net, ports| {
        let latents = ports.float("latents", [1, channels, rows, columns]);
        ports.output("sample", net.forward(latents));
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use burn::tensor::{Device, Int, TensorData};
    use onestep::{Backend, program::TensorRef, run_program};
    use onestep_compile::{BundleWeights, Storage};
    use onestep_nets::{AutoencoderKlConfig, AutoencoderTinyConfig, ClipTextConfig, Init, UNet2DConditionConfig, weights};
    use onestep_pipeline::weights::WeightMap;
    use onestep_program::WeightFile;
    use serde_json::{Value, json};

    use super::*;

    const TOKENS: usize = 6;
    const IDS: [i32; TOKENS] = [9, 3, 4, 10, 0, 0];
    const LATENT: [usize; 3] = [4, 9, 5];

    /// A network, and the same weights in a file with a network that was never initialised.
    fn both<M: Module>(folder: &Path, network: M, empty: M) -> (M, StoredNetwork<M>) {
        let path = folder.join("model.safetensors");
        std::fs::write(&path, weights::save(&network, &BTreeMap::new())).expect("a file");
        // Replaced below by the next network; the map keeps the opened file.
        let map = WeightMap::open(std::slice::from_ref(&path)).expect("weights");
        std::fs::remove_file(path).expect("a file");
        let parameters = weights::stored(&empty, &map, |_| false).expect("all parameters");
        (network, StoredNetwork { network: empty, parameters })
    }

    fn text(folder: &Path, class: &str, width: usize) -> (ClipTextModel, StoredNetwork<ClipTextModel>) {
        let config = json!({
            "architectures": [class], "vocab_size": 12, "hidden_size": width, "intermediate_size": 16, "num_hidden_layers": 3,
            "num_attention_heads": 2, "max_position_embeddings": TOKENS, "eos_token_id": 10, "projection_dim": 10, "hidden_act": "gelu",
        });
        let config = ClipTextConfig::from_json(&config.to_string()).expect("a configuration");
        both(folder, config.init(&Device::flex()), config.init(&Device::flex()))
    }

    fn unet(folder: &Path, more: &Value) -> (UNet2DConditionModel, StoredNetwork<UNet2DConditionModel>) {
        let mut config = json!({
            "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 4, "block_out_channels": [8, 16],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "cross_attention_dim": 8, "attention_head_dim": [2, 4], "sample_size": 9,
        });
        more.as_object().expect("an object").iter().for_each(|(key, value)| config[key] = value.clone());
        let config = UNet2DConditionConfig::from_json(&config.to_string()).expect("a configuration");
        both(folder, config.init(&Device::flex()), config.init(&Device::flex()))
    }

    fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    fn run(compiled: &Compiled, inputs: &[(&str, TensorRef<'_>)]) -> Vec<(String, Vec<f32>)> {
        let weights = |name: &str| compiled.weight(name);
        pollster::block_on(run_program(compiled.program.clone(), &weights, Backend::Cpu, inputs)).expect("it runs")
    }

    #[track_caller]
    fn assert_close(found: &[f32], expected: &[f32], bound: f64) {
        assert_eq!(found.len(), expected.len());
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
        let error = (square(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / square(&mut expected.iter().copied())).sqrt();
        assert!(error <= bound, "{error:.2e}");
    }

    const RULE: OneStepRule = OneStepRule { timestep: 399.0, input: 0.7, sample: 1.5, output: -1.2, guidance: None };

    #[test]
    fn two_text_encoders_and_a_generator_of_xl_compute_what_burn_computes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, stored_first) = text(folder.path(), "CLIPTextModel", 8);
        let (second, stored_second) = text(folder.path(), "CLIPTextModelWithProjection", 12);
        let options = Options::default();
        let compiled = text_encoders(&stored_first, &stored_second, TOKENS, &options).expect("it compiles");
        let ids = Tensor::<2, Int>::from_data(TensorData::new(IDS.to_vec(), [1, TOKENS]), &Device::flex());
        let (states, states_2) = (first.forward(ids.clone()).hidden_states, second.forward(ids.clone()));
        let pooled = second.project(second.pool(states_2.last_hidden_state.clone(), ids)).expect("a projection");
        let expected = Tensor::cat(vec![states[2].clone(), states_2.hidden_states[2].clone()], 2);
        let inputs = [
            ("input_ids", TensorRef::I32(&IDS)),
            ("input_ids_2", TensorRef::I32(&IDS)),
            ("end_of_text", TensorRef::F32(&[0.0, 0.0, 0.0, 1.0, 0.0, 0.0])),
        ];
        let found = run(&compiled, &inputs);
        assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("encoder_hidden_states", "text_embeds"));
        assert_close(&found[0].1, &values(expected.clone()), 1e-5);
        assert_close(&found[1].1, &values(pooled.clone()), 1e-5);

        let more = json!({
            "cross_attention_dim": 20, "use_linear_projection": true, "transformer_layers_per_block": [1, 2], "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 10 + 6 * 4,
        });
        let (network, stored) = unet(folder.path(), &more);
        let time_ids = [72.0, 40.0, 0.0, 0.0, 72.0, 40.0];
        let inputs =
            GeneratorInputs { latent: LATENT, tokens: TOKENS, features: 20, pooled: Some(PooledText { features: 10, time_ids }), guidance: None };
        let compiled = generator(&stored, RULE, inputs, &options).expect("it compiles");
        let noise = numbers(4 * 9 * 5);
        let added = Some(AddedConditions { text_embeds: pooled, time_ids: tensor(&time_ids, [1, 6]) });
        let direct = Generator::new(network, RULE).forward(tensor(&noise, [1, 4, 9, 5]), Conditioning { added, ..expected.into() });
        let inputs =
            [("noise", TensorRef::F32(&noise)), ("encoder_hidden_states", TensorRef::F32(&found[0].1)), ("text_embeds", TensorRef::F32(&found[1].1))];
        assert_close(&run(&compiled, &inputs)[0].1, &values(direct), 1e-4);
    }

    /// Numbers between -1 and 1.
    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect()
    }

    #[test]
    fn a_network_that_is_told_the_guidance_scale_has_it_as_a_constant() {
        let folder = tempfile::tempdir().expect("a folder");
        let (network, stored) = unet(folder.path(), &json!({ "time_cond_proj_dim": 8 }));
        let features = onestep_nets::guidance_features(8.5, 8, &Device::flex());
        let inputs = GeneratorInputs { latent: LATENT, tokens: TOKENS, features: 8, pooled: None, guidance: Some(features.clone()) };
        let compiled = generator(&stored, RULE, inputs, &Options::default()).expect("it compiles");
        let (noise, states) = (numbers(4 * 9 * 5), numbers(TOKENS * 8));
        let conditions = Conditioning { guidance: Some(features), ..tensor(&states, [1, TOKENS, 8]).into() };
        let direct = Generator::new(network, RULE).forward(tensor(&noise, [1, 4, 9, 5]), conditions);
        let inputs = [("noise", TensorRef::F32(&noise)), ("encoder_hidden_states", TensorRef::F32(&states))];
        assert_close(&run(&compiled, &inputs)[0].1, &values(direct), 1e-4);
    }

    #[test]
    fn both_autoencoders_decode_as_burn_does_and_f16_halves_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let latents = numbers(4 * 9 * 5);
        let tiny = json!({
            "encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8], "num_encoder_blocks": [1, 1], "num_decoder_blocks": [1, 1],
        });
        let kl = json!({
            "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4, "block_out_channels": [8, 8],
            "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        });
        let device = Device::flex();
        let tiny = AutoencoderTinyConfig::from_json(&tiny.to_string()).expect("a configuration");
        let kl = AutoencoderKlConfig::from_json(&kl.to_string()).expect("a configuration");
        let decoders = [
            both(folder.path(), Decoder::new(tiny.init(&device)), Decoder::new(tiny.init(&device))),
            both(folder.path(), Decoder::new(kl.init(&device)), Decoder::new(kl.init(&device))),
        ];
        for (network, stored) in decoders {
            let compiled = decoder(&stored, LATENT, &Options::default()).expect("it compiles");
            let found = run(&compiled, &[("latents", TensorRef::F32(&latents))]);
            assert_close(&found[0].1, &values(network.forward(tensor(&latents, [1, 4, 9, 5]))), 1e-4);
            // Split into files, each tensor is in one of them.
            let half = decoder(&stored, LATENT, &Options { storage: Storage::F16, ..Options::default() }).expect("it compiles");
            let weights = BundleWeights::new(&[&half], 1_000).expect("no contradiction");
            let mut names = Vec::new();
            for number in 0..weights.len() {
                let mut bytes = Vec::new();
                weights.write(number, |part| -> Result<(), CompileError> { Ok(bytes.extend_from_slice(part)) }).expect("in memory");
                let file = WeightFile::new(bytes, "weights").expect("a weight file");
                names.extend(file.names().map(str::to_owned));
            }
            names.sort();
            let mut expected: Vec<String> = half.program.weights().filter_map(|value| value.weight.clone()).collect();
            expected.sort();
            expected.dedup();
            assert!(weights.len() > 2);
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn weights_that_are_not_finite_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = Device::flex();
        let config = AutoencoderTinyConfig::from_json("{}").expect("a configuration");
        let state = weights::state(&Decoder::new(config.init(&device)));
        let mut tensors: Vec<_> = state.into_iter().map(|tensor| (tensor.name, tensor.shape, tensor.data)).collect();
        tensors[0].2[1] = f32::NAN;
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, onestep_store::tensor_bytes(&tensors)).expect("a file");
        let network = Decoder::new(config.init(&device));
        let parameters = weights::stored(&network, &WeightMap::open(&[path]).expect("weights"), |_| false).expect("all parameters");
        let refused = decoder(&StoredNetwork { network, parameters }, [4, 8, 8], &Options::default()).unwrap_err().to_string();
        assert!(refused.contains(&tensors[0].0) && refused.contains("not finite"), "{refused}");
    }
}
