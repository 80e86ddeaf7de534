//! Line plots as inline SVG.
//!
//! Colors are CSS classes of the page, so that one drawing serves light and dark themes.

use super::axis::{Axis, Scale};

use std::fmt::Write as _;

/// The size of the drawing and its margins, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// The CSS class that sets the color.
    pub(super) class: String,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x_label: &'static str,
    pub(super) y_label: &'static str,
    pub(super) x_scale: Scale,
    pub(super) y_scale: Scale,
    pub(super) series: Vec<Series>,
}

impl Plot {
    /// Draws a figure with its legend. Returns an empty string if there are no points.
    pub(super) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        if points().next().is_none() {
            return String::new();
        }
        let x = Axis::over(self.x_scale, points().map(|p| p.0), false);
        let y = Axis::over(self.y_scale, points().map(|p| p.1), true);
        let place_x = |v: f64| LEFT + x.position(v) * (WIDTH - LEFT - RIGHT);
        let place_y = |v: f64| HEIGHT - BOTTOM - y.position(v) * (HEIGHT - TOP - BOTTOM);
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

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, label: &str) {
    let _ = writeln!(
        out,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escape(label)
    );
}

/// Escapes text for HTML.
pub(super) fn escape(text: &str) -> String {
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
    }

    #[test]
    fn text_cannot_break_out_of_the_page() {
        assert_eq!(
            escape("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }
}
