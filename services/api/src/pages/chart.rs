//! A chart as numbers: values over time in the scale's bands, with the alerts marked. The template
//! draws it; nothing here knows markup.

use super::format::format;
use std::fmt::Write as _;
use tocsin_domain::Micros;
use tocsin_domain::aqi::bands;

/// The drawing's inner edges in its own units; the whole is 720 by 280.
const LEFT: f64 = 46.0;
const RIGHT: f64 = 708.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 248.0;

/// One value.
pub(super) struct Point {
    pub at: Micros,
    pub value: f64,
    /// Its air-quality index, if there is one.
    pub index: Option<f64>,
}

/// One alert.
pub(super) struct Mark {
    pub at: Micros,
    pub raised: bool,
    pub title: String,
    pub href: String,
    /// Where it stands; filled in by [`chart`].
    pub x: f64,
}

/// A label at a place on an axis.
pub(super) struct Tick {
    pub at: f64,
    pub text: String,
}

/// A band of the scale as far as it can be seen.
pub(super) struct Zone {
    pub number: usize,
    pub name: &'static str,
    pub y: f64,
    pub height: f64,
}

/// Everything to be drawn.
pub(super) struct Chart {
    /// The line's path.
    pub path: String,
    pub zones: Vec<Zone>,
    pub marks: Vec<Mark>,
    pub rows: Vec<Tick>,
    pub columns: Vec<Tick>,
    /// What the upright axis shows.
    pub unit: String,
    /// What somebody who does not see it is told.
    pub summary: String,
}

/// A chart of points in the order of time; `None` if there are none. The index is drawn where every
/// value has one.
pub(super) fn chart(points: &[Point], mut marks: Vec<Mark>, unit: &str) -> Option<Chart> {
    let (first, last) = (points.first()?.at, points.last()?.at);
    let indexed = points.iter().all(|point| point.index.is_some());
    let height = |point: &Point| point.index.filter(|_| indexed).unwrap_or(point.value);
    let highest = points.iter().map(height).fold(f64::MIN, f64::max);
    let lowest = points.iter().map(height).fold(f64::MAX, f64::min);
    let (floor, step) = (if lowest < 0.0 { lowest } else { 0.0 }, step(highest - lowest.min(0.0)));
    let floor = (floor / step).floor() * step;
    let ceiling = (highest / step).floor() * step + step;
    let x = |at: Micros| {
        let whole = last.0.saturating_sub(first.0).max(1) as f64;
        LEFT + at.0.saturating_sub(first.0) as f64 / whole * (RIGHT - LEFT)
    };
    let y = |value: f64| BOTTOM - (value - floor) / (ceiling - floor) * (BOTTOM - TOP);
    let path = points.iter().enumerate().fold(String::new(), |mut path, (number, point)| {
        let pen = if number == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{pen}{:.1} {:.1}", x(point.at), y(height(point)));
        path
    });
    marks.retain(|mark| (first..=last).contains(&mark.at));
    marks.iter_mut().for_each(|mark| mark.x = x(mark.at));
    let unit = if indexed { "AQI-US" } else { unit };
    let count =
        |number: usize, what| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (values, alerts) = (count(points.len(), "value"), count(marks.len(), "alert"));
    let summary = format!("{values} from {lowest} to {highest} {unit}, {alerts}");
    Some(Chart {
        path,
        zones: if indexed { zones(ceiling, y) } else { Vec::new() },
        marks,
        rows: rows(floor, ceiling, step, y),
        columns: columns(first, last, x),
        unit: unit.to_owned(),
        summary,
    })
}

/// A round number that goes about five times into `range`.
fn step(range: f64) -> f64 {
    let rough = range.max(1e-6) / 5.0;
    let ten = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.map(|step| step * ten).into_iter().find(|step| *step >= rough).unwrap_or(ten)
}

fn rows(floor: f64, ceiling: f64, step: f64, y: impl Fn(f64) -> f64) -> Vec<Tick> {
    let count = ((ceiling - floor) / step).round() as usize;
    let value = |number: usize| floor + step * number as f64;
    // Rounding to the step's own digits hides what binary fractions add.
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let tick = |value: f64| Tick { at: y(value), text: format!("{value:.digits$}") };
    (0..=count).map(|number| tick(value(number))).collect()
}

fn columns(first: Micros, last: Micros, x: impl Fn(Micros) -> f64) -> Vec<Tick> {
    const COLUMNS: i64 = 5;
    let whole = last.0.saturating_sub(first.0);
    let form = if whole > COLUMNS * 86_400_000_000 { "%-d %b" } else { "%-d %b %H:%M" };
    let at = |number| Micros(first.0 + whole / COLUMNS * number);
    let tick = |time| Tick { at: x(time), text: format(time, form) };
    // The outermost labels would stick out.
    (0..COLUMNS).map(|number| tick(at(number))).collect()
}

fn zones(ceiling: f64, y: impl Fn(f64) -> f64) -> Vec<Zone> {
    let all = bands().iter().enumerate().filter(|(_, band)| f64::from(band.low) < ceiling);
    let last = bands().len() - 1;
    let zone = |(number, band): (usize, &tocsin_domain::aqi::Band)| {
        // Bands are whole numbers, 0–50 and 51–100: the border is drawn at 50.
        let low = f64::from(band.low.saturating_sub(1));
        let high = if number == last { ceiling } else { f64::from(band.high).min(ceiling) };
        Zone { number, name: band.name, y: y(high), height: y(low) - y(high) }
    };
    all.map(zone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: i64, value: f64, index: Option<f64>) -> Point {
        Point { at: Micros(at), value, index }
    }

    #[test]
    fn a_chart_stays_inside_its_edges() {
        for values in [[1.0, 180.0], [0.0, 0.0], [-5.0, 3.0], [0.001, 0.002], [1e9, 2e9]] {
            for index in [true, false] {
                let points: Vec<Point> =
                    (0..).zip(values).map(|(at, v)| point(at, v, index.then_some(v))).collect();
                let chart = chart(&points, Vec::new(), "u").unwrap();
                let numbers = chart.path.split(['M', 'L', ' ']).filter(|n| !n.is_empty());
                let numbers: Vec<f64> = numbers.map(|n| n.parse().unwrap()).collect();
                let inside = |two: &[f64]| {
                    (LEFT..=RIGHT).contains(&two[0]) && (TOP - 0.1..=BOTTOM + 0.1).contains(&two[1])
                };
                assert!(numbers.chunks(2).all(inside), "{values:?} {}", chart.path);
                assert!((2..=9).contains(&chart.rows.len()), "{values:?}");
            }
        }
    }

    #[test]
    fn bands_are_drawn_for_an_index_and_for_nothing_else() {
        let indexed = [point(0, 9.0, Some(50.0)), point(1, 60.0, Some(150.0))];
        let names = |points: &[Point]| {
            chart(points, Vec::new(), "ug/m3")
                .unwrap()
                .zones
                .iter()
                .map(|z| z.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&indexed)[..2], ["Good", "Moderate"]);
        assert!(names(&[point(0, 9.0, None)]).is_empty());
        assert!(chart(&[], Vec::new(), "").is_none());
    }

    #[test]
    fn marks_outside_of_the_chart_are_left_out() {
        let mark = |at| Mark {
            at: Micros(at),
            raised: true,
            title: String::new(),
            href: String::new(),
            x: 0.0,
        };
        let points = [point(10, 1.0, None), point(20, 2.0, None)];
        let drawn = chart(&points, vec![mark(9), mark(20), mark(21)], "").unwrap();
        assert_eq!(drawn.marks.iter().map(|mark| mark.x).collect::<Vec<_>>(), [RIGHT]);
    }
}
