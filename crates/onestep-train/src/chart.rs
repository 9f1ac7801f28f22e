//! Charts as inline SVG for [HTML pages](crate::html_page): `plotters` lays out axes and lines, the page's style sets colours and dashes.

use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use plotters::coord::{
    Shift,
    ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    types::RangedCoordf64,
};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// (x, y), x rising.
    pub points: Vec<(f64, f64)>,
}

/// A linear axis with given ticks.
struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, pixels)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type RenderError = DrawingAreaErrorKind<std::io::Error>;

/// Size of a line chart in pixels.
const SIZE: (u32, u32) = (360, 220);
/// Size of the plotting area of a steps chart in pixels.
const STEPS_SIZE: (u32, u32) = (300, 150);
/// Pixels left of the plotting area, for the labels of the y axis.
const LEFT: u32 = 66;
/// Pixels below the plotting area, for the labels of the x axis.
const BELOW: u32 = 30;
const MARGIN: u32 = 10;
/// Axes and labels; the page's style replaces it by the text colour.
const INK: RGBColor = RGBColor(0x80, 0x80, 0x80);
/// The students in a steps chart; the page's style replaces it by a colour for light or dark.
const MARK: RGBColor = RGBColor(0xC2, 0x41, 0x0C);
/// Pixels between two labels on the right, one below the other.
const LABEL_HEIGHT: i32 = 13;
/// Width of a letter of a label in pixels, roughly.
const LETTER: u32 = 7;
const LABEL_SIZE: i32 = 16;
/// Values beyond this are left out: the axis could not be divided.
const LARGEST: f64 = 1e30;
/// Colours with enough contrast in light and dark, and dashes for readers who do not see colours.
const STYLES: [(RGBColor, &str); 8] = [
    (RGBColor(0x2F, 0x6F, 0xDF), "none"),
    (RGBColor(0xD9, 0x48, 0x0F), "6 3"),
    (RGBColor(0x2B, 0x8A, 0x3E), "2 3"),
    (RGBColor(0x9C, 0x36, 0xB5), "10 4"),
    (RGBColor(0x86, 0x8E, 0x96), "1 2"),
    (RGBColor(0xC2, 0x25, 0x5C), "8 3 2 3"),
    (RGBColor(0x0B, 0x72, 0x85), "4 4"),
    (RGBColor(0xA6, 0x7C, 0x00), "12 3"),
];

/// The rules of the page's style that the charts need. They select by the colours that `plotters` writes.
pub(crate) fn style() -> String {
    let (ink, mark) = (hex(INK), hex(MARK));
    let mut rules = format!(
        ".chart svg{{max-width:100%;height:auto}}.chart text{{font-family:system-ui,sans-serif}}[stroke=\"{ink}\"]{{stroke:var(--faint)}}\
         [fill=\"{ink}\"]{{fill:var(--faint)}}[fill=\"{mark}\"]{{fill:var(--mark)}}[stroke=\"{mark}\"]{{stroke:var(--mark);stroke-dasharray:4 3}}"
    );
    for (colour, dashes) in STYLES {
        rules += &format!("[stroke=\"{}\"]{{stroke-dasharray:{dashes}}}", hex(colour));
    }
    rules
}

/// A figure of several curves with a legend of their last values. A logarithmic y axis shows the values above 0.
pub fn chart(label: &str, curves: &[Curve], logarithmic: bool) -> Markup {
    let is_shown = |&(x, y): &(f64, f64)| x.abs() < LARGEST && y.abs() < LARGEST && (!logarithmic || y > 0.0);
    let scaled = |(x, y): (f64, f64)| (x, if logarithmic { y.log10() } else { y });
    let shown: Vec<Vec<(f64, f64)>> = curves.iter().map(|curve| curve.points.iter().copied().filter(is_shown).map(scaled).collect()).collect();
    let all = || shown.iter().flatten();
    let (Some(xs), Some(ys)) = (range(all().map(|point| point.0)), range(all().map(|point| point.1))) else {
        return html! { p { (label) ": nothing to show." } };
    };
    let ticks = if logarithmic { decades(&ys) } else { ticks(&ys) };
    let svg = svg(label, SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(MARGIN)
            .margin_right(2 * MARGIN)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(xs, Axis { range: ys, ticks })?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(INK.mix(0.25))
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", LABEL_SIZE, &INK))
            .x_labels(5)
            .x_label_formatter(&|x| x.to_string())
            .y_label_formatter(&|&y| tick_label(if logarithmic { 10f64.powf(y) } else { y }))
            .draw()?;
        for (points, (colour, _)) in shown.into_iter().zip(STYLES.iter().cycle()) {
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        }
        Ok(())
    });
    html! {
        figure {
            (svg)
            figcaption {
                (label) @if logarithmic { " (logarithmic)" }
                ul.legend {
                    @for (curve, (colour, _)) in curves.iter().zip(STYLES.iter().cycle()) {
                        li {
                            svg width="36" height="8" aria-hidden="true" {
                                line x1="0" x2="36" y1="4" y2="4" stroke=(hex(*colour)) stroke-width="3" {}
                            }
                            " " (curve.name) ": " (figure(curve.points.last().map_or(f64::NAN, |point| point.1)))
                        }
                    }
                }
            }
        }
    }
}

/// A figure of a value against solver steps, on a logarithmic axis: the teacher at several numbers of steps as a line, and every one-step
/// student as a square with a dashed line across the chart. A value that is not finite is shown at the top.
pub fn steps_chart(title: &str, teacher: &[(usize, f64)], students: &[(String, f64)]) -> Markup {
    let most = teacher.iter().map(|point| point.0).max().unwrap_or(1).max(2);
    let values = || teacher.iter().map(|point| point.1).chain(students.iter().map(|student| student.1));
    let top = values().filter(|value| value.abs() < LARGEST).fold(0.0, f64::max).max(1e-12) * 1.05;
    let height = |value: f64| if value.abs() < LARGEST { value.clamp(0.0, top) } else { top };
    let position = |steps: usize| (steps.max(1) as f64).ln();
    let teacher: Vec<(f64, f64)> = teacher.iter().map(|&(steps, value)| (position(steps), height(value))).collect();
    let mut students: Vec<(&str, f64)> = students.iter().map(|(name, value)| (name.as_str(), height(*value))).collect();
    students.sort_by(|a, b| b.1.total_cmp(&a.1));

    // Room on the right for the longest name, and below for all names in case their values are close.
    let longest = students.iter().map(|student| student.0.chars().count()).max().unwrap_or(0) as u32;
    let right = longest * LETTER + 2 * MARGIN;
    let below = (BELOW + 18).max(students.len() as u32 * LABEL_HEIGHT as u32);
    let size = (LEFT + STEPS_SIZE.0 + right, MARGIN + STEPS_SIZE.1 + below);
    let svg = svg(&format!("{title} against steps"), size, |area| {
        let (xs, ys) = (0.0..position(most), 0.0..top);
        let (x_ticks, y_ticks) = (teacher.iter().map(|point| point.0).collect::<Vec<_>>(), ticks(&ys));
        let mut chart = ChartBuilder::on(area)
            .margin_top(MARGIN)
            .margin_right(right)
            .margin_bottom(below - BELOW - 18)
            .x_label_area_size(BELOW + 18)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(Axis { range: xs.clone(), ticks: x_ticks }, Axis { range: ys, ticks: y_ticks })?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .disable_mesh()
            .label_style(("sans-serif", LABEL_SIZE, &INK))
            .axis_desc_style(("sans-serif", LABEL_SIZE, &INK))
            .x_label_formatter(&|x| format!("{:.0}", x.exp()))
            .y_label_formatter(&|&y| tick_label(y))
            .x_desc("steps of the teacher")
            .draw()?;
        chart.draw_series(LineSeries::new(teacher.iter().copied(), INK.stroke_width(2)))?;
        chart.draw_series(teacher.iter().map(|&point| Circle::new(point, 3, INK.filled())))?;
        let label = ("sans-serif", LABEL_SIZE).into_font().color(&MARK).pos(Pos::new(HPos::Left, VPos::Center));
        // From top to bottom; a name that would cover the one above it moves below it.
        let mut free = i32::MIN;
        for (name, value) in students {
            chart.draw_series([PathElement::new(vec![(xs.start, value), (xs.end, value)], MARK)])?;
            chart.draw_series([EmptyElement::at((xs.start, value)) + Rectangle::new([(-4, -4), (4, 4)], MARK.filled())])?;
            let (x, y) = chart.backend_coord(&(xs.end, value));
            let y = y.max(free);
            free = y + LABEL_HEIGHT;
            area.draw(&Text::new(name, (x + 6, y), label.clone()))?;
        }
        Ok(())
    });
    html! { figure { (svg) figcaption { (title) } } }
}

/// A number with four significant digits.
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

/// As [`figure`], without trailing zeros.
fn tick_label(value: f64) -> String {
    let text = figure(value);
    if text.contains('e') || !text.contains('.') { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

fn svg(label: &str, size: (u32, u32), render: impl FnOnce(&Area<'_>) -> Result<(), RenderError>) -> Markup {
    let mut text = String::new();
    let rendered = {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        render(&area).and_then(|()| area.present())
    };
    match rendered {
        // HTML needs no namespace, and an address would look as if the page fetched something.
        Ok(()) => html! { div.chart role="img" aria-label=(label) { (PreEscaped(text.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1))) } },
        Err(error) => html! { p { (label) ": the chart could not be rendered: " (error) } },
    }
}

/// From the least to the greatest value; widened if they are equal, none if there is no value.
fn range(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return None;
    }
    let size = low.abs().max(high.abs());
    if high - low > 1e-9 * size {
        return Some(low..high);
    }
    let margin = if size > 0.0 { size / 2.0 } else { 1.0 };
    Some(low - margin..high + margin)
}

/// Round values of a linear axis.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    RangedCoordf64::from(range.clone()).key_points(5)
}

/// Powers of ten of a logarithmic axis, or its ends if there are fewer than two.
fn decades(range: &Range<f64>) -> Vec<f64> {
    let powers: Vec<f64> = (range.start.ceil() as i32..=range.end.floor() as i32).map(f64::from).collect();
    if powers.len() < 2 { vec![range.start, range.end] } else { powers }
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_survive_what_cannot_be_shown() {
        let curve = |points: &[(f64, f64)]| Curve { name: "a<b".into(), points: points.to_vec() };
        let text = |curves: &[Curve], logarithmic| chart("x", curves, logarithmic).into_string();
        assert!(text(&[], false).contains("nothing"));
        assert!(text(&[curve(&[(1.0, f64::NAN)])], true).contains("nothing"));
        let found = text(&[curve(&[(1.0, 0.0), (2.0, 0.1), (3.0, 0.01)])], true);
        assert!(found.contains("a&lt;b: 0.01000") && found.contains("<polyline") && !found.contains("NaN"), "{found}");
        for points in [vec![(1.0, 2.0)], vec![(1.0, 0.0), (2.0, 0.0)], vec![(1.0, 1e-300), (2.0, 1e29)], vec![(1.0, -1e29), (2.0, f64::INFINITY)]] {
            for logarithmic in [false, true] {
                let found = text(&[curve(&points)], logarithmic);
                assert!(!found.contains("NaN") && !found.contains("could not"), "{points:?} {found}");
            }
        }
    }

    #[test]
    fn a_steps_chart_joins_the_teacher_and_marks_the_students() {
        let chart = |students: &[(String, f64)]| steps_chart("T", &[(1, 4.0), (50, 0.0)], students).into_string();
        let found = chart(&[("a<b".into(), 1.0), ("c".into(), 1.0)]);
        assert_eq!((found.matches("<circle").count(), found.matches("<rect").count()), (2, 2), "{found}");
        assert!(found.contains("a&lt;b") && found.contains("steps of the teacher"), "{found}");
        // The names of equal values stand below each other.
        let heights: Vec<i32> = found
            .split("<text ")
            .skip(1)
            .filter_map(|text| text.split('>').next())
            .filter(|attributes| attributes.contains(&hex(MARK)))
            .filter_map(|attributes| attributes.split(" y=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert!(heights.len() == 2 && heights[1] >= heights[0] + LABEL_HEIGHT, "{heights:?}");
        let found = steps_chart("T", &[], &[("a".into(), f64::NAN)]).into_string();
        assert!(!found.contains("NaN") && !found.contains("could not"), "{found}");
    }

    #[test]
    fn figures_keep_four_digits() {
        let all = [0.0, 5e-6, 0.0284, 1.4223, -715.978, 9999.9, 123456.0].map(figure);
        assert_eq!(all, ["0", "5.00e-6", "0.02840", "1.422", "-716.0", "10000", "1.23e5"]);
        assert_eq!([0.0, 5e-6, 0.02, 600.0, 9999.9].map(tick_label), ["0", "5.00e-6", "0.02", "600", "10000"]);
    }
}
