//! The ports that the programs of a text-to-image model must have, with shapes that fit each other and the manifest.

use onestep_program::{BundleError, DType, Op, Outline, Port, Program, error::BundleErrorKind, manifest};

use crate::error::{Error, ErrorKind};

pub(crate) const TEXT_ENCODER: &str = "text_encoder";
pub(crate) const GENERATOR: &str = "generator";
pub(crate) const DECODER: &str = "decoder";

pub(crate) const INPUT_IDS: &str = "input_ids";
pub(crate) const LAST_HIDDEN_STATE: &str = "last_hidden_state";
pub(crate) const NOISE: &str = "noise";
pub(crate) const ENCODER_HIDDEN_STATES: &str = "encoder_hidden_states";
pub(crate) const LATENTS: &str = "latents";
pub(crate) const SAMPLE: &str = "sample";

/// The components in execution order.
pub(crate) const COMPONENTS: [&str; 3] = [TEXT_ENCODER, GENERATOR, DECODER];

/// Checks the ports, and returns the size of the text encoder's vocabulary.
pub(crate) fn check(bundle: &Outline) -> Result<usize, BundleError> {
    let generation = &bundle.manifest().generation;
    let (encoder, generator, decoder) = (bundle.program(TEXT_ENCODER)?, bundle.program(GENERATOR)?, bundle.program(DECODER)?);
    let [channels, rows, columns] = generation.latent;
    let [width, height] = generation.image;
    let (noise, sample) = ([1, channels, rows, columns], [1, 3, height, width]);
    if let Some(zero) = [generation.prompt_tokens, channels, rows, columns, width, height].iter().position(|&length| length == 0) {
        let what = ["prompt_tokens", "latent", "latent", "latent", "image", "image"][zero];
        return Err(BundleError::new(BundleErrorKind::Malformed, manifest::FILE_NAME, format!("generation.{what} has a zero")));
    }

    ports(TEXT_ENCODER, &encoder.inputs, &[INPUT_IDS])?;
    ports(TEXT_ENCODER, &encoder.outputs, &[LAST_HIDDEN_STATE])?;
    ports(GENERATOR, &generator.inputs, &[NOISE, ENCODER_HIDDEN_STATES])?;
    ports(GENERATOR, &generator.outputs, &[LATENTS])?;
    ports(DECODER, &decoder.inputs, &[LATENTS])?;
    ports(DECODER, &decoder.outputs, &[SAMPLE])?;

    fits(encoder, TEXT_ENCODER, INPUT_IDS, DType::I32, &[1, generation.prompt_tokens])?;
    let states = shape(encoder, LAST_HIDDEN_STATE).to_vec();
    if states.len() != 3 || states[..2] != [1, generation.prompt_tokens] {
        return Err(BundleError::new(
            BundleErrorKind::Malformed,
            TEXT_ENCODER,
            format!("{LAST_HIDDEN_STATE} is {states:?}, expected [1, {}, width]", generation.prompt_tokens),
        ));
    }
    fits(generator, GENERATOR, ENCODER_HIDDEN_STATES, DType::F32, &states)?;
    fits(generator, GENERATOR, NOISE, DType::F32, &noise)?;
    fits(generator, GENERATOR, LATENTS, DType::F32, &noise)?;
    fits(decoder, DECODER, LATENTS, DType::F32, &noise)?;
    fits(decoder, DECODER, SAMPLE, DType::F32, &sample)?;
    known_ids(encoder)
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

/// The rows of the smallest embedding table that the token ids index.
fn known_ids(encoder: &Program) -> Result<usize, BundleError> {
    let ids = port(encoder, INPUT_IDS).map(|port| port.value);
    let tables = encoder.nodes.iter().filter(|node| matches!(node.op, Op::Embedding) && node.inputs.get(1).copied() == ids);
    let rows = tables.filter_map(|node| encoder.value(*node.inputs.first()?).shape.first().copied()).min();
    rows.ok_or_else(|| BundleError::new(BundleErrorKind::Malformed, TEXT_ENCODER, "has no embedding of its token ids"))
}

/// The error for a name that is none of [`COMPONENTS`].
pub(crate) fn no_component(component: &str) -> Error {
    Error::new(ErrorKind::InvalidOption, format!("{component:?} is no component of a model; expected {}", COMPONENTS.join(" or ")))
}
