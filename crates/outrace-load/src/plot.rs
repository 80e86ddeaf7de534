//! Line plots as inline SVG. Colours are the page's CSS classes, so that one drawing serves light and dark.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Powers of ten.
    Log,
    /// Quantiles: each further nine takes the same room.
    Nines,
}

#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// The CSS class that gives the colour.
    pub(crate) class: String,
    pub(crate) dashed: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) x_scale: Scale,
    pub(crate) y_scale: Scale,
    pub(crate) series: Vec<Series>,
}

struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Plot {
    /// A figure with its legend; nothing if there is nothing to draw.
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        if points().next().is_none() {
            return String::new();
        }
        let x = Axis::over(self.x_scale, points().map(|p| p.0), false);
        let y = Axis::over(self.y_scale, points().map(|p| p.1), true);
        let place_x = |v: f64| LEFT + x.share(v) * (WIDTH - LEFT - RIGHT);
        let place_y = |v: f64| HEIGHT - BOTTOM - y.share(v) * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(&self.title),
            escape(&self.title)
        );
        for (value, label) in x.ticks() {
            let at = place_x(value);
            line(&mut out, "grid", (at, TOP), (at, HEIGHT - BOTTOM));
            text(&mut out, (at, HEIGHT - BOTTOM + 16.0), "middle", &label);
        }
        for (value, label) in y.ticks() {
            let at = place_y(value);
            line(&mut out, "grid", (LEFT, at), (WIDTH - RIGHT, at));
            text(&mut out, (LEFT - 6.0, at + 4.0), "end", &label);
        }
        text(
            &mut out,
            ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0),
            "middle",
            self.x_label,
        );
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let _ = writeln!(
            out,
            "<text class=\"axis\" text-anchor=\"middle\" transform=\"translate(14 {middle:.1}) rotate(-90)\">{}</text>",
            escape(self.y_label)
        );
        for series in &self.series {
            let path: Vec<String> = series
                .points
                .iter()
                .map(|p| format!("{:.1},{:.1}", place_x(p.0), place_y(p.1)))
                .collect();
            let dash = if series.dashed { " dashed" } else { "" };
            let _ = writeln!(
                out,
                "<polyline class=\"{}{dash}\" points=\"{}\"/>",
                series.class,
                path.join(" ")
            );
            if series.points.len() <= 12 {
                for p in &series.points {
                    let (cx, cy) = (place_x(p.0), place_y(p.1));
                    let _ = writeln!(
                        out,
                        "<circle class=\"{}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\"/>",
                        series.class
                    );
                }
            }
        }
        out.push_str("</svg><p class=\"legend\">");
        for series in &self.series {
            let dash = if series.dashed { "dashed" } else { "" };
            let _ = write!(
                out,
                "<span><svg viewBox=\"0 0 24 8\"><polyline class=\"{} {dash}\" points=\"0,4 24,4\"/></svg>{}</span>",
                series.class,
                escape(&series.name)
            );
        }
        out.push_str("</p></figure>\n");
        out
    }
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64>, from_zero: bool) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite() && (scale != Scale::Log || *v > 0.0)) {
            low = low.min(value);
            high = high.max(value);
        }
        if !low.is_finite() {
            (low, high) = (1.0, 10.0);
        }
        let (from, to) = match scale {
            Scale::Linear => {
                let low = if from_zero { low.min(0.0) } else { low };
                (
                    low,
                    if high > low {
                        high + (high - low) * 0.05
                    } else {
                        low + 1.0
                    },
                )
            }
            Scale::Log => {
                let from = 10_f64.powf(low.log10().floor());
                (from, 10_f64.powf(high.log10().ceil()).max(from * 10.0))
            }
            Scale::Nines => (0.0, high.clamp(0.9, 0.999_999)),
        };
        Axis { scale, from, to }
    }

    /// Where `value` stands between the ends, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let on = |v: f64| match self.scale {
            Scale::Linear => v,
            Scale::Log => v.max(self.from).log10(),
            Scale::Nines => -(1.0 - v.min(self.to)).log10(),
        };
        ((on(value) - on(self.from)) / (on(self.to) - on(self.from))).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = nice_step((self.to - self.from) / 6.0);
                let first = (self.from / step).ceil() as i64;
                let last = (self.to / step).floor() as i64;
                (first..=last)
                    .map(|i| i as f64 * step)
                    .map(|v| (v, short(v)))
                    .collect()
            }
            Scale::Log => {
                let first = self.from.log10().round() as i32;
                let last = self.to.log10().round() as i32;
                (first..=last)
                    .map(|power| 10_f64.powi(power))
                    .map(|v| (v, short(v)))
                    .collect()
            }
            Scale::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999]
                .into_iter()
                .filter(|v| *v <= self.to)
                .map(|v| {
                    (
                        v,
                        if v == 0.0 {
                            "min".to_owned()
                        } else {
                            format!("p{}", trim(v * 100.0, 4))
                        },
                    )
                })
                .collect(),
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= least * 0.999)
        .unwrap_or(power * 10.0)
}

/// `1.5k`, `20M`.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", trim(value / 1e6, 2)),
        v if v >= 1e3 => format!("{}k", trim(value / 1e3, 2)),
        _ => trim(value, 4),
    }
}

fn trim(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, what: &str) {
    let _ = writeln!(
        out,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escape(what)
    );
}

/// Text for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scale() -> impl Strategy<Value = Scale> {
        prop_oneof![Just(Scale::Linear), Just(Scale::Log)]
    }

    proptest! {
        #[test]
        fn every_point_is_drawn_within_the_frame(
            points in prop::collection::vec((0f64..1e9, 0f64..1e9), 1..40), x_scale in scale(), y_scale in scale()
        ) {
            let series = Series { name: "s".into(), class: "engine".into(), dashed: false, points };
            let plot = Plot { title: "t".into(), x_label: "x", y_label: "y", x_scale, y_scale, series: vec![series] };
            let svg = plot.svg();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"));
            let path = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            for pair in path.split(' ') {
                let (x, y) = pair.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                prop_assert!((LEFT - 0.1..=WIDTH - RIGHT + 0.1).contains(&x), "{x}");
                prop_assert!((TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(&y), "{y}");
            }
        }

        #[test]
        fn an_axis_has_a_few_ticks_within_its_ends(low in 0f64..1e6, span in 1e-3f64..1e9) {
            let axis = Axis::over(Scale::Linear, [low, low + span].into_iter(), true);
            let ticks = axis.ticks();
            prop_assert!((2..=10).contains(&ticks.len()), "{ticks:?}");
            prop_assert!(ticks.iter().all(|(v, _)| axis.from <= *v && *v <= axis.to * 1.000_001));
        }
    }

    #[test]
    fn each_further_nine_takes_the_same_room() {
        let axis = Axis::over(Scale::Nines, [0.0, 0.9999].into_iter(), false);
        let room: Vec<f64> = [0.9, 0.99, 0.999, 0.9999].map(|p| axis.share(p)).to_vec();
        for pair in room.windows(2) {
            assert!((pair[1] - pair[0] - 0.25).abs() < 1e-6, "{room:?}");
        }
        let labels: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["min", "p50", "p90", "p99", "p99.9", "p99.99"]);
    }

    #[test]
    fn text_cannot_break_out_of_the_page() {
        assert_eq!(
            escape("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }
}
