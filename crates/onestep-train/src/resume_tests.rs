//! Which options of each command a resume may change.

use crate::{
    autoencoder::AutoencoderOptions,
    distil::DistilOptions,
    image_classifier::ImageClassifierOptions,
    latent_metric::{calibration::CalibrationOptions, latent_vgg::LatentVggOptions},
    teacher::TeacherOptions,
    training_loop::{AveragingOptions, LoopOptions, RunIdentity, RunOptions},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Every value in the options, as a path of keys, with a changed value.
fn changes(value: &Value, path: &str) -> Vec<(String, Value)> {
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(name, value)| changes(value, &format!("{path}/{}", name.replace('/', "~1")))).collect(),
        Value::Bool(flag) => vec![(path.into(), json!(!flag))],
        Value::Number(number) if number.is_f64() => vec![(path.into(), json!(number.as_f64().unwrap_or_default() + 0.5))],
        Value::Number(number) => vec![(path.into(), json!(number.as_u64().unwrap_or_default() + 1))],
        Value::Array(values) if values.first().is_some_and(Value::is_u64) => {
            let mut changed = values.clone();
            changed[0] = json!(7);
            vec![(path.into(), Value::Array(changed))]
        }
        Value::Array(_) => vec![(path.into(), json!(["other"]))],
        Value::Null if path.ends_with("/timestep") => vec![(path.into(), json!(7))],
        Value::Null => vec![(path.into(), json!(if path.ends_with("/size") { "64" } else { "other" }))],
        // Names of enums among them.
        Value::String(text) => {
            let others = ["e-latent-lpips", "f32", "blit+geom+cutout", "latent", "batch"];
            let changed = ["mse", "bf16", "none", "pixel", "group"];
            let other = others.iter().position(|other| other == text).map_or("other", |index| changed[index]);
            vec![(path.into(), json!(other))]
        }
    }
}

/// The fields that can change without changing the identity.
fn resumable<O: RunOptions + DeserializeOwned + Default>() -> Vec<String> {
    let identity = |options: &O| RunIdentity::new(options, "data");
    let default = serde_json::to_value(O::default()).unwrap();
    let mut resumable = Vec::new();
    for (path, changed) in changes(&default, "") {
        let mut options = default.clone();
        *options.pointer_mut(&path).unwrap() = changed;
        let options: O = serde_json::from_value(options).unwrap_or_else(|error| panic!("{path}: {error}"));
        if identity(&options) == identity(&O::default()) {
            resumable.push(path.trim_start_matches('/').to_owned());
        }
    }
    resumable.retain(|path| !["training/save_every", "averaging/sample_every", "training/keep_last"].contains(&path.as_str()));
    resumable.sort();
    resumable
}

#[test]
fn a_resume_may_change_paths_and_what_influences_no_step() {
    assert_eq!(resumable::<AutoencoderOptions>(), ["data", "out"]);
    assert_eq!(resumable::<TeacherOptions>(), ["autoencoder", "data", "initial", "out", "sample_guidance"]);
    assert_eq!(resumable::<LatentVggOptions>(), ["autoencoder", "data", "out"]);
    assert_eq!(resumable::<CalibrationOptions>(), ["autoencoder", "data", "held_out", "judgements", "metric", "out"]);
    assert_eq!(resumable::<DistilOptions>(), ["gradient_checkpointing", "metric", "out", "pairs", "teacher"]);
    assert_eq!(resumable::<ImageClassifierOptions>(), ["data", "out"]);
    assert_eq!(resumable::<LoopOptions>(), ["keep_last", "save_every"]);
    assert_eq!(resumable::<AveragingOptions>(), ["sample_every"]);
}
