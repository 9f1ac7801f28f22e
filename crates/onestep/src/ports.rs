//! The ports that the programs of a text-to-image model must have, with shapes that fit each other and the manifest.

use onestep_program::{BundleError, DType, Manifest, Op, Outline, Port, Program, error::BundleErrorKind, manifest};

use crate::error::{Error, ErrorKind};

pub(crate) const TEXT_ENCODER: &str = "text_encoder";
pub(crate) const GENERATOR: &str = "generator";
pub(crate) const DECODER: &str = "decoder";

pub(crate) const INPUT_IDS: &str = "input_ids";
pub(crate) const INPUT_IDS_2: &str = "input_ids_2";
pub(crate) const END_OF_TEXT: &str = "end_of_text";
pub(crate) const LAST_HIDDEN_STATE: &str = "last_hidden_state";
pub(crate) const NOISE: &str = "noise";
pub(crate) const ENCODER_HIDDEN_STATES: &str = "encoder_hidden_states";
pub(crate) const TEXT_EMBEDS: &str = "text_embeds";
pub(crate) const LATENTS: &str = "latents";
pub(crate) const SAMPLE: &str = "sample";

/// The components in execution order.
pub(crate) const COMPONENTS: [&str; 3] = [TEXT_ENCODER, GENERATOR, DECODER];

/// For each output of the text encoder, the input of the generator that takes it. A model with one encoder has the hidden states only.
const TEXT_PORTS: [&[(&str, &str)]; 2] =
    [&[(LAST_HIDDEN_STATE, ENCODER_HIDDEN_STATES)], &[(ENCODER_HIDDEN_STATES, ENCODER_HIDDEN_STATES), (TEXT_EMBEDS, TEXT_EMBEDS)]];

/// The entry of [`TEXT_PORTS`] for a model.
pub(crate) fn text_ports(manifest: &Manifest) -> &'static [(&'static str, &'static str)] {
    TEXT_PORTS[usize::from(manifest.tokenizer_2.is_some())]
}

/// Checks the ports, and returns the size of each text encoder's vocabulary.
pub(crate) fn check(bundle: &Outline) -> Result<Vec<usize>, BundleError> {
    let generation = &bundle.manifest().generation;
    let (encoder, generator, decoder) = (bundle.program(TEXT_ENCODER)?, bundle.program(GENERATOR)?, bundle.program(DECODER)?);
    let [channels, rows, columns] = generation.latent;
    let [width, height] = generation.image;
    let (noise, sample) = ([1, channels, rows, columns], [1, 3, height, width]);
    if let Some(zero) = [generation.prompt_tokens, channels, rows, columns, width, height].iter().position(|&length| length == 0) {
        let what = ["prompt_tokens", "latent", "latent", "latent", "image", "image"][zero];
        return Err(BundleError::new(BundleErrorKind::Malformed, manifest::FILE_NAME, format!("generation.{what} has a zero")));
    }

    let has_two = bundle.manifest().tokenizer_2.is_some();
    let ids: &[&str] = if has_two { &[INPUT_IDS, INPUT_IDS_2] } else { &[INPUT_IDS] };
    let text_ports = text_ports(bundle.manifest());
    let tokens = [1, generation.prompt_tokens];
    ports(TEXT_ENCODER, &encoder.inputs, if has_two { &[INPUT_IDS, INPUT_IDS_2, END_OF_TEXT] } else { ids })?;
    ports(TEXT_ENCODER, &encoder.outputs, &text_ports.iter().map(|(output, _)| *output).collect::<Vec<_>>())?;
    ports(GENERATOR, &generator.inputs, &[NOISE].into_iter().chain(text_ports.iter().map(|(_, input)| *input)).collect::<Vec<_>>())?;
    ports(GENERATOR, &generator.outputs, &[LATENTS])?;
    ports(DECODER, &decoder.inputs, &[LATENTS])?;
    ports(DECODER, &decoder.outputs, &[SAMPLE])?;

    ids.iter().try_for_each(|name| fits(encoder, TEXT_ENCODER, name, DType::I32, &tokens))?;
    if has_two {
        fits(encoder, TEXT_ENCODER, END_OF_TEXT, DType::F32, &tokens)?;
    }
    for (output, input) in text_ports {
        let found = shape(encoder, output).to_vec();
        // Without the width.
        let leading: &[usize] = if *output == TEXT_EMBEDS { &tokens[..1] } else { &tokens };
        if found.split_last().is_none_or(|(_, found)| found != leading) {
            let expected: String = leading.iter().map(|length| format!("{length}, ")).collect();
            return Err(BundleError::new(BundleErrorKind::Malformed, TEXT_ENCODER, format!("{output} is {found:?}, expected [{expected}width]")));
        }
        fits(generator, GENERATOR, input, DType::F32, &found)?;
    }
    fits(generator, GENERATOR, NOISE, DType::F32, &noise)?;
    fits(generator, GENERATOR, LATENTS, DType::F32, &noise)?;
    fits(decoder, DECODER, LATENTS, DType::F32, &noise)?;
    fits(decoder, DECODER, SAMPLE, DType::F32, &sample)?;
    ids.iter().map(|name| known_ids(encoder, name)).collect()
}

fn ports(location: &str, found: &[Port], expected: &[&str]) -> Result<(), BundleError> {
    let mut names: Vec<&str> = found.iter().map(|port| port.name.as_str()).collect();
    let mut wanted = expected.to_vec();
    names.sort_unstable();
    wanted.sort_unstable();
    if names == wanted {
        Ok(())
    } else {
        Err(BundleError::new(BundleErrorKind::Unsupported, location, format!("has the ports {}, expected {}", names.join(", "), wanted.join(", "))))
    }
}

fn port<'a>(program: &'a Program, name: &str) -> Option<&'a Port> {
    program.inputs.iter().chain(&program.outputs).find(|port| port.name == name)
}

fn shape<'a>(program: &'a Program, name: &str) -> &'a [usize] {
    port(program, name).map_or(&[], |port| &program.value(port.value).shape)
}

fn fits(program: &Program, location: &str, name: &str, dtype: DType, expected: &[usize]) -> Result<(), BundleError> {
    let found = shape(program, name);
    let found_dtype = port(program, name).map(|port| program.value(port.value).dtype);
    if found == expected && found_dtype == Some(dtype) {
        return Ok(());
    }
    Err(BundleError::new(BundleErrorKind::Malformed, location, format!("{name} is {found_dtype:?} {found:?}, expected {dtype:?} {expected:?}")))
}

/// The rows of the smallest embedding table that these token ids index.
fn known_ids(encoder: &Program, name: &str) -> Result<usize, BundleError> {
    let ids = port(encoder, name).map(|port| port.value);
    let tables = encoder.nodes.iter().filter(|node| matches!(node.op, Op::Embedding) && node.inputs.get(1).copied() == ids);
    let rows = tables.filter_map(|node| encoder.value(*node.inputs.first()?).shape.first().copied()).min();
    rows.ok_or_else(|| BundleError::new(BundleErrorKind::Malformed, TEXT_ENCODER, format!("has no embedding of {name}")))
}

/// The error for a bundle without a tokenizer.
pub(crate) fn no_tokenizer() -> BundleError {
    BundleError::new(BundleErrorKind::Missing, manifest::FILE_NAME, "names no tokenizer")
}

/// The error for a name that is none of [`COMPONENTS`].
pub(crate) fn no_component(component: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, format!("{component:?} is no component of a model; expected {}", COMPONENTS.join(" or ")))
}
