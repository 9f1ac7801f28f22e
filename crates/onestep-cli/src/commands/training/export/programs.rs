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

/// What the generator of Stable Diffusion XL takes beside the hidden states.
#[derive(Clone, Copy, Debug)]
pub struct PooledText {
    /// The width of the pooled text.
    pub features: usize,
    /// Original size, crop and target size, as rows and columns; a constant of the program.
    pub time_ids: [f32; 6],
}

/// The program of the generator, `unet` read by `rule`: latents of the shape `latent` from noise and the hidden states of `tokens` ids, `features` wide.
/// `guidance` [1, features] goes to a network with `time_cond_proj_dim`.
///
/// # Errors
/// Those of [`compile`].
pub fn generator(
    unet: &StoredNetwork<UNet2DConditionModel>,
    rule: OneStepRule,
    latent: [usize; 3],
    tokens: usize,
    features: usize,
    pooled: Option<PooledText>,
    guidance: Option<Tensor<2>>,
    options: &Options,
) -> Result<Compiled, CompileError> {
    let [channels, rows, columns] = latent;
    let generator = Generator::new(unet.network.clone(), rule);
    compile("generator", &generator, &names([("unet.", &unet.parameters)]), options, |net, ports| {
        let noise = ports.float("noise", [1, channels, rows, columns]);
        let states = ports.float("encoder_hidden_states", [1, tokens, features]);
        let added = pooled.map(|PooledText { features, time_ids }| AddedConditions {
            text_embeds: ports.float("text_embeds", [1, features]),
            time_ids: Tensor::from_data([time_ids], ports.device()),
        });
        // Of networks that are told the guidance scale: another constant of the program.
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
