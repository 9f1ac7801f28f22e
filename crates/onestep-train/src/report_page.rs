//! `report.html`: a run on one page that needs neither network nor script.

use std::fs;
use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    chart::{Curve, chart, escaped, page},
    error::TrainError,
    store,
};

/// Figures that are drawn, in this order, where the log has them.
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
/// Points per curve; longer logs are averaged.
const POINTS: usize = 320;
/// Share of a curve's points that its height is made for; the few above it are cut off, since one spike would press all else flat.
const SHOWN: f64 = 0.99;

/// Writes the page from what the run folder holds: log, samples, options, environment, report.
///
/// # Errors
/// Storage.
pub fn write(folder: &Path) -> Result<(), TrainError> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut body = format!("<h1>{}</h1>\n<pre>{}</pre>\n", escaped(&name), escaped(&text("command.txt")));
    let lines: Vec<serde_json::Value> = text("log.jsonl").lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    body.push_str("<div class=\"plots\">\n");
    for curve in CURVES {
        let points: Vec<(f64, f64)> = lines.iter().filter_map(|line| Some((line["step"].as_f64()?, line[curve].as_f64()?))).collect();
        if points.len() > 1 {
            body.push_str(&chart(&format!("{curve} over steps"), &[averaged(curve, &points)], false));
        }
    }
    body.push_str("</div>\n");
    for sample in samples(folder) {
        let bytes = store::read(&sample)?;
        let label = sample.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        body.push_str(&format!(
            "<figure><img alt=\"Samples of {0}\" src=\"data:image/png;base64,{1}\"><figcaption>{0}</figcaption></figure>\n",
            escaped(&label),
            BASE64_STANDARD.encode(&bytes)
        ));
    }
    for (title, file) in [("Result", "report.json"), ("Options", "config.toml"), ("Environment", "environment.json")] {
        let text = text(file);
        if !text.is_empty() {
            body.push_str(&format!("<h2>{title}</h2>\n<pre>{}</pre>\n", escaped(&text)));
        }
    }
    page(&folder.join("report.html"), &name, &body)
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

/// Means of neighbouring points, as many as can be told apart.
fn averaged(name: &str, points: &[(f64, f64)]) -> Curve {
    let chunk = points.len().div_ceil(POINTS);
    let means: Vec<(f64, f64)> =
        points.chunks(chunk).map(|part| (part[part.len() - 1].0, part.iter().map(|point| point.1).sum::<f64>() / part.len() as f64)).collect();
    let mut sorted: Vec<f64> = means.iter().map(|point| point.1).collect();
    sorted.sort_by(f64::total_cmp);
    let highest = sorted[((sorted.len() - 1) as f64 * SHOWN).ceil() as usize];
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
