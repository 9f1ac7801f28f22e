//! Curves over steps as SVG, on pages that need neither network nor script.

use std::path::Path;

use crate::error::TrainError;

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the legend calls it.
    pub name: String,
    /// (x, y), x rising.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 280.0;
/// Told apart in light and dark, and with dashes by those who see no colours.
const STYLES: [(&str, &str); 8] = [
    ("#2f6fdf", ""),
    ("#d9480f", "6 3"),
    ("#2b8a3e", "2 3"),
    ("#9c36b5", "10 4"),
    ("#868e96", "1 2"),
    ("#c2255c", "8 3 2 3"),
    ("#0b7285", "4 4"),
    ("#a67c00", "12 3"),
];

/// A figure of several curves; the y axis is logarithmic if asked, and then shows what is above 0.
pub fn chart(label: &str, curves: &[Curve], logarithmic: bool) -> String {
    let scale = |y: f64| if logarithmic { y.max(f64::MIN_POSITIVE).log10() } else { y };
    let shown = |y: f64| y.is_finite() && (!logarithmic || y > 0.0);
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied()).filter(|point| shown(point.1));
    let bounds = |of: &dyn Fn((f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((left, right), (low, high)) = (bounds(&|point| point.0), bounds(&|point| scale(point.1)));
    if left > right {
        return format!("<p>{}: nothing to show.</p>\n", escaped(label));
    }
    let x = |value: f64| (value - left) / (right - left).max(1e-12) * WIDTH;
    let y = |value: f64| HEIGHT - (scale(value) - low) / (high - low).max(1e-12) * HEIGHT;
    let mut lines = String::new();
    let mut legend = String::new();
    for (curve, (colour, dash)) in curves.iter().zip(STYLES.iter().cycle()) {
        let path: Vec<String> =
            curve.points.iter().filter(|point| shown(point.1)).map(|&point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        lines +=
            &format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>", path.join(" "));
        let last = curve.points.last().map_or(f64::NAN, |point| point.1);
        legend += &format!(
            "<li><svg width=\"36\" height=\"8\" aria-hidden=\"true\"><line x1=\"0\" x2=\"36\" y1=\"4\" y2=\"4\" stroke=\"{colour}\" stroke-width=\"3\" stroke-dasharray=\"{dash}\"/></svg> {}: {}</li>",
            escaped(&curve.name),
            figure(last)
        );
    }
    let value = |scaled: f64| if logarithmic { 10f64.powf(scaled) } else { scaled };
    format!(
        "<figure><svg role=\"img\" aria-label=\"{label}\" viewBox=\"-64 -12 {} {}\"><path d=\"M0 0V{HEIGHT}H{WIDTH}\" fill=\"none\" stroke=\"currentColor\"/>\
         <g fill=\"currentColor\" font-size=\"13\"><text x=\"-6\" y=\"6\" text-anchor=\"end\">{}</text><text x=\"-6\" y=\"{HEIGHT}\" text-anchor=\"end\">{}</text>\
         <text y=\"{}\">{left}</text><text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{right}</text></g>{lines}</svg>\
         <figcaption>{label}{}<ul>{legend}</ul></figcaption></figure>\n",
        WIDTH + 76.0,
        HEIGHT + 36.0,
        figure(value(high)),
        figure(value(low)),
        HEIGHT + 18.0,
        HEIGHT + 18.0,
        if logarithmic { " (logarithmic)" } else { "" },
        label = escaped(label),
    )
}

/// A number in four digits, that is as short whether it is large or small.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if !(1e-3..1e4).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

/// Writes a page with this body.
///
/// # Errors
/// Storage.
pub fn page(path: &Path, title: &str, body: &str) -> Result<(), TrainError> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}img,svg{{max-width:100%;height:auto}}\
         table{{border-collapse:collapse;display:block;overflow:auto}}td,th{{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #8886}}td:first-child,th:first-child{{text-align:left}}\
         pre{{overflow:auto;background:#8881;padding:.5rem}}figure{{margin:1rem 0}}ul{{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.3rem 0}}.plots{{display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}}.plots figure{{margin:0}}</style>\n{body}</html>\n",
        escaped(title)
    );
    Ok(onestep_store::replace_file(path, page.as_bytes())?)
}

/// Text as HTML shows it as it is.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_survive_what_cannot_be_drawn() {
        let curve = |points: &[(f64, f64)]| Curve { name: "a<b".into(), points: points.to_vec() };
        assert!(chart("x", &[], false).contains("nothing"));
        assert!(chart("x", &[curve(&[(1.0, f64::NAN)])], true).contains("nothing"));
        let text = chart("x", &[curve(&[(1.0, 0.0), (2.0, 0.1), (3.0, 0.01)])], true);
        assert!(text.contains("a&lt;b: 0.01000") && !text.contains("NaN"), "{text}");
        assert!(!chart("x", &[curve(&[(1.0, 2.0)])], false).contains("NaN"));
    }

    #[test]
    fn figures_keep_four_digits() {
        let all = [0.0, 5e-6, 0.0284, 1.4223, -715.978, 9999.9, 123456.0].map(figure);
        assert_eq!(all, ["0", "5.00e-6", "0.02840", "1.422", "-716.0", "10000", "1.23e5"]);
    }
}
