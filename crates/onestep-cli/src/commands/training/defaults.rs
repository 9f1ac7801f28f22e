//! The defaults of training options in their help. clap does not know them, because an option that is missing on the command line may be in the file of
//! `--config`.

use clap::Command;
use onestep_train::autoencoder::AutoencoderOptions;
use onestep_train::distil::DistilOptions;
use onestep_train::evaluate::EvaluateOptions;
use onestep_train::image_classifier::ImageClassifierOptions;
use onestep_train::latent_metric::calibration::CalibrationOptions;
use onestep_train::latent_metric::latent_vgg::LatentVggOptions;
use onestep_train::latent_metric::overfit::OverfitOptions;
use onestep_train::pairs::PairsOptions;
use onestep_train::teacher::TeacherOptions;
use serde::Serialize;
use toml::{Table, Value};

/// Adds the defaults to the help of every training command of `program`.
pub fn with_defaults(program: Command) -> Command {
    program
        .mut_subcommand("train", |train| {
            train
                .mut_subcommand("autoencoder", described::<AutoencoderOptions>)
                .mut_subcommand("latent-vgg", described::<LatentVggOptions>)
                .mut_subcommand("latent-lpips", described::<CalibrationOptions>)
                .mut_subcommand("teacher", described::<TeacherOptions>)
                .mut_subcommand("image-classifier", described::<ImageClassifierOptions>)
        })
        .mut_subcommand("pairs", described::<PairsOptions>)
        .mut_subcommand("distil", described::<DistilOptions>)
        .mut_subcommand("eval", described::<EvaluateOptions>)
        .mut_subcommand("debug", |debug| debug.mut_subcommand("overfit", described::<OverfitOptions>))
}

fn described<O: Default + Serialize>(command: Command) -> Command {
    let options = Table::try_from(O::default()).unwrap_or_default();
    command.mut_args(|option| {
        let default = option.get_long().and_then(|long| default_of(&options, &long.replace('-', "_")));
        match (default, option.get_help()) {
            (Some(default), Some(help)) => {
                let help = format!("{help} [default: {default}]");
                option.help(help)
            }
            _ => option,
        }
    })
}

/// The default of an option in words; none for a flag, a path or a list that has to be given.
fn default_of(options: &Table, key: &str) -> Option<String> {
    let adversarial = || options.get("adversarial").and_then(Value::as_table);
    let value = match key.strip_prefix("discriminator_").zip(adversarial()) {
        Some((key, adversarial)) => find(adversarial, key)?,
        None => find(options, if key == "augmentations" { "kinds" } else { key })?,
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        // Strings without quotes, as the command line takes them.
        Value::Array(values) => {
            values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect::<Vec<_>>().join(",")
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The value of a key in a table or in the tables inside, those of the training loop first.
fn find<'t>(options: &'t Table, key: &str) -> Option<&'t Value> {
    let inner = options.get("training").into_iter().chain(options.values());
    options.get(key).or_else(|| inner.filter_map(Value::as_table).find_map(|table| find(table, key)))
}
