//! `report.html`: a run on one page that needs neither network nor script.

use std::fs;
use std::path::Path;

use crate::{error::TrainError, store};

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
/// Size of a curve in SVG units.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 160.0;
/// Points per curve; longer logs are averaged.
const POINTS: usize = 280;

/// Writes the page from what the run folder holds: log, samples, options, environment, report.
///
/// # Errors
/// Storage.
pub fn write(folder: &Path) -> Result<(), TrainError> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut body = format!("<h1>{}</h1>\n<pre>{}</pre>\n", escaped(&name), escaped(&text("command.txt")));
    let lines: Vec<serde_json::Value> = text("log.jsonl").lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for curve in CURVES {
        let points: Vec<(f64, f64)> = lines.iter().filter_map(|line| Some((line["step"].as_f64()?, line[curve].as_f64()?))).collect();
        if points.len() > 1 {
            body.push_str(&svg(curve, &points));
        }
    }
    for sample in samples(folder) {
        let bytes = store::read(&sample)?;
        let label = sample.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        body.push_str(&format!(
            "<figure><img alt=\"Samples of {0}\" src=\"data:image/png;base64,{1}\"><figcaption>{0}</figcaption></figure>\n",
            escaped(&label),
            base64(&bytes)
        ));
    }
    for (title, file) in [("Result", "report.json"), ("Options", "config.toml"), ("Environment", "environment.json")] {
        let text = text(file);
        if !text.is_empty() {
            body.push_str(&format!("<h2>{title}</h2>\n<pre>{}</pre>\n", escaped(&text)));
        }
    }
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}img,svg{{max-width:100%;height:auto}}pre{{overflow:auto;background:#8881;padding:.5rem}}figure{{margin:1rem 0}}</style>\n{body}</html>\n",
        escaped(&name)
    );
    store::write(&folder.join("report.html"), page.as_bytes())
}

/// The first sample picture and the last three.
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

/// A curve over steps, its mean per column, on a linear scale from its smallest to its 99th percentile value.
fn svg(name: &str, points: &[(f64, f64)]) -> String {
    let chunk = points.len().div_ceil(POINTS);
    let means: Vec<(f64, f64)> =
        points.chunks(chunk).map(|part| (part[part.len() - 1].0, part.iter().map(|point| point.1).sum::<f64>() / part.len() as f64)).collect();
    let mut sorted: Vec<f64> = means.iter().map(|point| point.1).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[0], sorted[(sorted.len() - 1) * 99 / 100]);
    let (first, last) = (means[0].0, means[means.len() - 1].0);
    let place = |(step, value): (f64, f64)| {
        let x = (step - first) / (last - first).max(1.0) * WIDTH;
        let y = HEIGHT - ((value - low) / (high - low).max(1e-12)).clamp(0.0, 1.0) * HEIGHT;
        format!("{x:.1},{y:.1}")
    };
    let line: Vec<String> = means.iter().map(|&point| place(point)).collect();
    format!(
        "<figure><svg role=\"img\" aria-label=\"{name} over steps\" viewBox=\"-4 -4 {} {}\"><polyline points=\"{}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.5\"/></svg>\
         <figcaption>{name}: {low:.4} to {high:.4}, last {:.4}; steps {first:.0} to {last:.0}</figcaption></figure>\n",
        WIDTH + 8.0,
        HEIGHT + 8.0,
        line.join(" "),
        means[means.len() - 1].1
    )
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let word = part.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - part.len()));
        for place in 0..4 {
            text.push(if place <= part.len() { char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_curve_survives_constant_and_broken_logs() {
        assert!(svg("loss", &[(1.0, 2.0), (2.0, 2.0)]).contains("polyline"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("log.jsonl"), "{\"step\":1,\"loss\":3}\nnot json\n{\"step\":2,\"loss\":null}\n{\"step\":3,\"loss\":1}\n")
            .unwrap();
        write(folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("loss: 1.0000") && !page.contains("<script"));
    }
}
