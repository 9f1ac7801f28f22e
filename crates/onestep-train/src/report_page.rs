//! `report.html` of a training run, on one self-contained page.

use std::fs;
use std::path::Path;

use maud::html;

use crate::{
    chart::{Curve, chart},
    error::TrainError,
    html_page::{self, png_source},
    store,
};

/// Log keys that become charts, in this order.
const CURVES: [&str; 13] = [
    "loss",
    "absolute",
    "squared",
    "kl",
    "top_1",
    "distance",
    "adversarial",
    "lambda",
    "gradient_ratio",
    "discriminator",
    "r1",
    "gradient_norm",
    "learning_rate",
];
/// Maximum points per curve; longer logs are averaged.
const POINTS: usize = 320;
/// Quantile of a curve at which it is clipped, because one spike would flatten everything else.
const CLIP_QUANTILE: f64 = 0.99;

/// Writes the page from the files of the run folder: log, samples, options, environment, report.
///
/// # Errors
/// Storage.
pub fn write(folder: &Path) -> Result<(), TrainError> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let log: Vec<serde_json::Value> = text("log.jsonl").lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let points = |key: &str| -> Vec<(f64, f64)> { log.iter().filter_map(|line| Some((line["step"].as_f64()?, line[key].as_f64()?))).collect() };
    let curves = CURVES.map(|key| (key, points(key)));
    let mut images = Vec::new();
    for sample in samples(folder) {
        let label = sample.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        images.push((label, png_source(&store::read(&sample)?)));
    }
    let files = [("Result", "report.json"), ("Options", "config.toml"), ("Environment", "environment.json")].map(|(title, file)| (title, text(file)));
    let body = html! {
        h1 { (name) }
        pre { (text("command.txt")) }
        div.plots {
            @for (key, points) in curves.iter().filter(|(_, points)| points.len() > 1) {
                (chart(&format!("{key} over steps"), &[averaged(key, points)], false))
            }
        }
        @for (label, source) in &images {
            figure { img alt={ "Samples of " (label) } src=(source); figcaption { (label) } }
        }
        @for (title, text) in files.iter().filter(|(_, text)| !text.is_empty()) {
            h2 { (title) }
            pre { (text) }
        }
    };
    html_page::write(&folder.join("report.html"), &name, &body)
}

/// The first sample image and the last three.
fn samples(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder.join("samples"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "png"))
        .collect();
    paths.sort();
    if paths.len() > 4 {
        paths.drain(1..paths.len() - 3);
    }
    paths
}

/// Means of consecutive points, at most [`POINTS`] of them, clipped at [`CLIP_QUANTILE`].
fn averaged(name: &str, points: &[(f64, f64)]) -> Curve {
    let chunk = points.len().div_ceil(POINTS);
    let means: Vec<(f64, f64)> =
        points.chunks(chunk).map(|part| (part[part.len() - 1].0, part.iter().map(|point| point.1).sum::<f64>() / part.len() as f64)).collect();
    let mut sorted: Vec<f64> = means.iter().map(|point| point.1).collect();
    sorted.sort_by(f64::total_cmp);
    let highest = sorted[((sorted.len() - 1) as f64 * CLIP_QUANTILE).ceil() as usize];
    Curve { name: name.to_owned(), points: means.into_iter().map(|(step, value)| (step, value.min(highest))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_survives_constant_and_broken_logs() {
        assert_eq!(averaged("loss", &[(1.0, 2.0), (2.0, 2.0)]).points, [(1.0, 2.0), (2.0, 2.0)]);
        let long: Vec<(f64, f64)> = (1..=1000).map(|step| (f64::from(step), if step == 500 { 1e9 } else { 1.0 })).collect();
        let points = averaged("loss", &long).points;
        assert!(points.len() <= POINTS && points.iter().all(|point| point.1 == 1.0), "{points:?}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("log.jsonl"), "{\"step\":1,\"loss\":3}\nnot json\n{\"step\":2,\"loss\":null}\n{\"step\":3,\"loss\":1}\n")
            .unwrap();
        write(folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("loss: 1.000") && !page.contains("<script"));
    }
}
