//! One line a case: what is asked, the values, what is told.

use super::super::tests::{built, found, reading, readings, refusal, timed};
use crate::detector::{Event, Seen};
use serde_json::{Value, json};
use tocsin_domain::event::Reading;

/// A threshold on `pm25` with these parameters.
fn asked(params: Value) -> Value {
    let mut all = json!({"measure": "pm25"});
    let own = params.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(own);
    all
}

fn told(params: Value, events: &[Event<'_>]) -> String {
    found(&*built("threshold", asked(params)), events)
}

#[test]
fn limits_raise_and_clear() {
    for (params, values, says) in [
        (
            json!({"raise_above": 100}),
            &[100.0, 101.0, 90.0, 89.9, 101.0][..],
            "raised 101 · cleared 89.9 · raised 101",
        ),
        (json!({"raise_above": 35.4}), &[35.4, 35.5, 31.86, 31.85], "raised 35.5 · cleared 31.85"),
        (
            json!({"raise_above": 100, "clear_below": 100}),
            &[101.0, 100.0, 99.0],
            "raised 101 · cleared 99",
        ),
        (json!({"raise_at": 100}), &[99.9, 100.0, 200.0], "raised 100"),
        (json!({"raise_below": 10}), &[10.0, 9.0, 11.0, 11.1], "raised 9 · cleared 11.1"),
        (
            json!({"raise_at_or_below": 10, "clear_above": 20}),
            &[10.0, 20.0, 21.0],
            "raised 10 · cleared 21",
        ),
        (json!({"raise_above": -10}), &[-9.0, -10.5, -12.0], "raised -9 · cleared -12"),
    ] {
        assert_eq!(told(params.clone(), &readings(values)), says, "{params}");
    }
}

#[test]
fn reports_and_first_looks() {
    let values = [120.0, 130.0, 95.0, 120.0, 50.0, 140.0];
    for (params, says) in [
        (json!({}), "raised 120 · cleared 50 · raised 140"),
        (
            json!({"report": "level"}),
            "raised 120 · updated 130 · updated 120 · cleared 50 · raised 140",
        ),
        (json!({"first_look": "silent"}), "raised 140"),
        (json!({"first_look": "silent", "report": "level"}), "raised 140"),
    ] {
        let mut params = params;
        params["raise_above"] = json!(100);
        assert_eq!(told(params.clone(), &readings(&values)), says, "{params}");
    }
    assert_eq!(
        told(json!({"raise_above": 100, "first_look": "silent"}), &readings(&[1.0, 101.0])),
        "raised 101"
    );
}

#[test]
fn baselines_and_changes() {
    for (params, values, says) in [
        (
            json!({"raise_above": 10, "reference": 50}),
            &[60.0, 61.0, 58.0][..],
            "raised 11 · cleared 8",
        ),
        (
            json!({"raise_above": 10, "baseline": "previous"}),
            &[60.0, 71.0, 71.0],
            "raised 11 · cleared 0",
        ),
        (
            json!({"raise_above": 10, "baseline": "previous", "change": "percent"}),
            &[50.0, 55.0, 61.0, 0.0, 9.0],
            "raised 10.909091 · cleared -100",
        ),
        (
            json!({"raise_above": 10, "baseline": "last-notified"}),
            &[60.0, 66.0, 71.0, 75.0, 82.0],
            "raised 11 · cleared 4 · raised 11",
        ),
        (
            json!({"raise_below": -20, "change": "percent", "reference": 50}),
            &[40.0, 39.0, 50.0],
            "raised -22 · cleared 0",
        ),
    ] {
        assert_eq!(told(params.clone(), &readings(values)), says, "{params}");
    }
}

#[test]
fn a_least_time_must_pass_with_nothing_below_in_between() {
    let params = json!({"raise_above": 100, "minimum_time_above": "3m"});
    for (values, says) in [
        (&[(0, 101.0), (2, 102.0)][..], ""),
        (&[(0, 101.0), (3, 102.0)], "raised 102"),
        (&[(0, 101.0), (2, 100.0), (3, 101.0), (5, 101.0)], ""),
        (&[(0, 101.0), (2, 100.0), (3, 101.0), (6, 103.0), (7, 1.0)], "raised 103 · cleared 1"),
    ] {
        assert_eq!(told(params.clone(), &timed(values)), says, "{values:?}");
    }
}

#[test]
fn an_index_is_compared_and_a_worse_band_is_an_update() {
    let params = json!({"index": "us-epa", "raise_above": 100});
    for (values, says) in [
        (&[35.4, 35.5][..], "raised 101"),
        (&[40.0, 41.0, 60.0, 41.0, 60.0, 130.0], "raised 112 · updated 154 · updated 205"),
        (&[40.0, 9.0], "raised 112 · cleared 50"),
    ] {
        assert_eq!(told(params.clone(), &readings(values)), says, "{values:?}");
    }
    let litres = Event::Reading(Reading { unit: "l", ..reading(0, 1.0) }.into());
    assert!(told(params.clone(), &[litres]).contains("found \"l\""));
    let hourly = || Event::Reading(Reading { averaging: "PT1H", ..reading(0, 40.0) }.into());
    assert!(told(params, &[hourly()]).contains("has no table"));
    let overridden = json!({"index": "us-epa", "raise_above": 100, "averaging": "PT24H"});
    assert_eq!(told(overridden, &[hourly()]), "raised 112");
}

#[test]
fn means_are_exact_and_decided_when_their_window_is_over() {
    let hour = |hour: i64, values: &[f64]| -> Vec<(i64, f64)> {
        values.iter().enumerate().map(|(i, v)| (hour * 60 + i as i64, *v)).collect()
    };
    for (params, values, says) in [
        (
            json!({"raise_above": 10, "mean_over": "1h"}),
            [hour(0, &[10.0, 10.1]), hour(1, &[1.0])].concat(),
            "raised 10.05 · cleared 1",
        ),
        (json!({"raise_above": 10, "mean_over": "1h"}), hour(0, &[10.0, 9.9, 10.1]), ""),
        (json!({"raise_above": 0.2, "mean_over": "1h"}), hour(0, &[0.1, 0.2, 0.3]), ""),
        (json!({"raise_above": 10, "mean_over": "1h", "min_values": 2}), hour(0, &[99.0]), ""),
        (
            json!({"raise_above": 10, "mean_over": "1d"}),
            (0..18).flat_map(|h| hour(h, &[11.0])).collect(),
            "raised 11",
        ),
        (
            json!({"raise_above": 10, "mean_over": "1d"}),
            (0..17).flat_map(|h| hour(h, &[11.0])).collect(),
            "",
        ),
        (
            json!({"raise_above": 100, "mean_over": "1d", "index": "us-epa", "min_values": 3}),
            hour(0, &[35.4, 35.5, 35.6]),
            "raised 101",
        ),
        (
            json!({"raise_above": 100, "mean_over": "1d", "index": "us-epa", "min_values": 3}),
            hour(0, &[35.4, 35.5, 35.5]),
            "",
        ),
        (
            json!({"raise_above": 10, "mean_over": "1d", "min_values": 1, "time_zone": "Asia/Shanghai"}),
            [hour(15, &[11.0]), hour(16, &[1.0])].concat(),
            "raised 11 · cleared 1",
        ),
    ] {
        assert_eq!(told(params.clone(), &timed(&values)), says, "{params} {values:?}");
    }
    let other = Event::Reading(Reading { unit: "mg/m3", ..reading(1, 1.0) }.into());
    let mixed = [Event::Reading(reading(0, 1.0).into()), other];
    assert!(
        told(json!({"raise_above": 1, "mean_over": "1h"}), &mixed)
            .contains("a mean needs one unit")
    );
}

#[test]
fn evidence_can_be_checked_by_hand() {
    let detector = built(
        "threshold",
        asked(json!({"index": "us-epa", "raise_above": 100, "minimum_time_above": "1m"})),
    );
    let (mut memory, mut findings) = (Vec::new(), Vec::new());
    for (offset, event) in (7..).zip(readings(&[36.0, 55.5])) {
        detector.observe(Seen { event: &event, offset }, &mut memory, &mut findings).unwrap();
    }
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(
        (finding.value.as_str(), finding.unit.as_str(), finding.limit.as_str()),
        ("151", "AQI-US", "100")
    );
    assert_eq!((finding.band, &finding.offsets[..]), ("Unhealthy", &[7, 8][..]));
    for (name, figure) in [
        ("concentration", "55.5"),
        ("concentration-unit", "ug/m3"),
        ("aqi", "151"),
        ("raise-limit", "100"),
        ("clear-limit", "90"),
        ("beyond-since", "2024-05-01T00:00:00Z"),
    ] {
        assert_eq!(finding.figures[name], figure, "{name}");
    }
    let shown = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(
        shown(&finding.before),
        json!({"raised": false, "beyond-since": "2024-05-01T00:00:00Z", "baseline": null})
    );
    assert_eq!(
        shown(&finding.after),
        json!({"raised": true, "beyond-since": null, "baseline": null})
    );
}

#[test]
fn parameters_that_contradict_each_other_are_refused() {
    for (params, says) in [
        (json!({}), "exactly one of raise_above"),
        (json!({"raise_above": 1, "raise_below": 0}), "exactly one of raise_above"),
        (json!({"raise_above": 1, "clear_above": 0}), "wrong side"),
        (json!({"raise_above": 1, "clear_below": 2}), "beyond the raise limit"),
        (json!({"raise_below": 2, "clear_above": 1}), "beyond the raise limit"),
        (json!({"raise_above": 1, "min_values": 2}), "belong to mean_over"),
        (json!({"raise_above": 1, "mean_over": "1h", "min_values": 0}), "at least 1"),
        (json!({"raise_above": 1, "mean_over": "2h"}), "2h"),
        (json!({"raise_above": 1, "change": "percent"}), "needs a reference"),
        (
            json!({"raise_above": 1, "baseline": "previous", "reference": 1}),
            "leave one of them out",
        ),
        (json!({"raise_abov": 1}), "unknown field `raise_abov`"),
    ] {
        let reason = refusal("threshold", asked(params.clone()));
        assert!(reason.contains(says), "{params}: {reason}");
    }
}
