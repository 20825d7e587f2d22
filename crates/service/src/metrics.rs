//! What the process counts, in one place and with closed sets of labels: no subject, address or id
//! ever becomes a label. One registry, shared by reference; encoded for whoever scrapes.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tocsin_domain::Micros;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Up to two labels. The names are part of the program, the values of a closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels<const N: usize>([(&'static str, String); N]);

impl<const N: usize> EncodeLabelSet for Labels<N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|label| {
            prometheus_client::encoding::EncodeLabel::encode(label, encoder.encode_label())
        })
    }
}

type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Seconds<const N: usize> = Family<Labels<N>, Histogram>;

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    records: Counters<1>,
    dead_letters: Counters<2>,
    late_events: Counters<1>,
    alerts: Counters<2>,
    deliveries: Counters<1>,
    commits: Counters<1>,
    commit_seconds: Histogram,
    delivery_seconds: Histogram,
    watermark: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    http: Counters<2>,
    http_seconds: Seconds<1>,
}

/// From 0.5 ms to about 16 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Arc<Metrics> {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("tocsin"),
            records: Family::default(),
            dead_letters: Family::default(),
            late_events: Family::default(),
            alerts: Family::default(),
            deliveries: Family::default(),
            commits: Family::default(),
            commit_seconds: histogram(),
            delivery_seconds: histogram(),
            watermark: Family::default(),
            http: Family::default(),
            http_seconds: Family::new_with_constructor(histogram),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("records", "Records that a service has processed", self.records.clone());
        to.register("dead_letters", "Inputs that cannot be processed", self.dead_letters.clone());
        to.register("late_events", "Events after their watermark", self.late_events.clone());
        to.register("alerts", "Alerts from detectors", self.alerts.clone());
        to.register("deliveries", "Facts about deliveries", self.deliveries.clone());
        to.register("commits", "Transactions by outcome", self.commits.clone());
        let commit = self.commit_seconds.clone();
        to.register_with_unit("commit", "Time a commit takes", Unit::Seconds, commit);
        let delivery = self.delivery_seconds.clone();
        let help = "From an alert's detection to its message being sent";
        to.register_with_unit("alert_to_sent", help, Unit::Seconds, delivery);
        let watermark = self.watermark.clone();
        let help = "Newest event time that a service has seen, since 1970";
        to.register_with_unit("watermark", help, Unit::Seconds, watermark);
        to.register("http_requests", "Requests answered", self.http.clone());
        let http = self.http_seconds.clone();
        to.register_with_unit("http_request", "Time an answer takes", Unit::Seconds, http);
    }

    /// Counts `n` records that `service` has processed and committed.
    pub fn records(&self, service: &str, n: u64) {
        self.records.get_or_create(&one("service", service)).inc_by(n);
    }

    /// Counts `n` dead letters of `class` that were in `topic` or meant for it.
    pub fn dead_letters(&self, topic: &str, class: &str, n: u64) {
        self.dead_letters.get_or_create(&two(("topic", topic), ("class", class))).inc_by(n);
    }

    /// Counts `n` events that came to `service` after their watermark.
    pub fn late_events(&self, service: &str, n: u64) {
        self.late_events.get_or_create(&one("service", service)).inc_by(n);
    }

    /// Counts an alert of a detector; `detector` is its kind, not a condition's name.
    pub fn alert(&self, detector: &str, state: &str) {
        self.alerts.get_or_create(&two(("detector", detector), ("state", state))).inc();
    }

    /// Counts a fact about a delivery.
    pub fn delivery(&self, state: &str) {
        self.deliveries.get_or_create(&one("state", state)).inc();
    }

    /// Counts a commit that took `took`; `outcome` is `committed`, `retriable`, `aborted`,
    /// `unknown` or `fatal`.
    pub fn commit(&self, outcome: &str, took: Duration) {
        self.commits.get_or_create(&one("outcome", outcome)).inc();
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// Notes how long it took from an alert's detection until its message was sent.
    pub fn alert_to_sent(&self, took: Duration) {
        self.delivery_seconds.observe(took.as_secs_f64());
    }

    /// Notes the newest event time that `service` has seen; nothing before the first event.
    pub fn watermark(&self, service: &str, at: Micros) {
        if at != Micros::MIN && at != Micros::MAX {
            self.watermark.get_or_create(&one("service", service)).set(at.0 as f64 / 1e6);
        }
    }

    /// Counts an answered request; `route` is the pattern (`/alerts/{id}`), never the path.
    pub fn http(&self, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.http.get_or_create(&two(("route", route), ("status", &status))).inc();
        self.http_seconds.get_or_create(&one("route", route)).observe(took.as_secs_f64());
    }

    /// Everything in the OpenMetrics text form.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; what a label's encoder might refuse ends the text early.
        if encode(&mut text, &self.registry).is_err() {
            tracing::warn!("the metrics could not be written to their end");
        }
        text
    }
}

fn one(name: &'static str, value: &str) -> Labels<1> {
    Labels([(name, value.to_owned())])
}

fn two(a: (&'static str, &str), b: (&'static str, &str)) -> Labels<2> {
    Labels([(a.0, a.1.to_owned()), (b.0, b.1.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_written_with_prefix_and_unit() {
        let metrics = Metrics::new();
        metrics.records("detect", 3);
        metrics.records("detect", 4);
        metrics.dead_letters("orders.rows", "csv", 1);
        metrics.late_events("detect", 2);
        metrics.alert("threshold", "raised");
        metrics.delivery("sent");
        metrics.commit("committed", Duration::from_millis(3));
        metrics.alert_to_sent(Duration::from_millis(300));
        metrics.watermark("detect", Micros(1_500_000));
        metrics.watermark("project", Micros::MIN);
        metrics.http("/alerts/{id}", 200, Duration::from_millis(1));
        let text = metrics.encode();
        for line in [
            "tocsin_records_total{service=\"detect\"} 7",
            "tocsin_dead_letters_total{topic=\"orders.rows\",class=\"csv\"} 1",
            "tocsin_late_events_total{service=\"detect\"} 2",
            "tocsin_alerts_total{detector=\"threshold\",state=\"raised\"} 1",
            "tocsin_deliveries_total{state=\"sent\"} 1",
            "tocsin_commits_total{outcome=\"committed\"} 1",
            "tocsin_commit_seconds_count 1",
            "tocsin_alert_to_sent_seconds_count 1",
            "tocsin_watermark_seconds{service=\"detect\"} 1.5",
            "tocsin_http_requests_total{route=\"/alerts/{id}\",status=\"200\"} 1",
            "tocsin_http_request_seconds_count{route=\"/alerts/{id}\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("service=\"project\""), "no watermark before the first event");
    }
}
