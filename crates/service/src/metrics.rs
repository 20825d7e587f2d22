//! What the process counts, in one place and with closed sets of labels: no subject, address or id
//! ever becomes a label. One registry, shared by reference; encoded for whoever scrapes.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
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
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Floats = Family<Labels<1>, Gauge<f64, AtomicU64>>;
type Seconds<const N: usize> = Family<Labels<N>, Histogram>;

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    records: Counters<1>,
    outcomes: Counters<2>,
    source_rows: Counters<2>,
    source_paused: Gauges<1>,
    dead_letters: Counters<2>,
    late_events: Counters<1>,
    alerts: Counters<2>,
    deliveries: Counters<1>,
    commits: Counters<2>,
    commit_seconds: Seconds<1>,
    delivery_seconds: Histogram,
    watermark: Floats,
    consumer_lag: Gauges<3>,
    partitions: Gauges<1>,
    waiting: Gauges<1>,
    restore_left: Gauges<1>,
    restore_time_left: Floats,
    standby_lag: Gauges<1>,
    restore_seconds: Floats,
    snapshot_age: Floats,
    loop_turned: Floats,
    upstream_calls: Counters<2>,
    upstream_budget: Gauges<1>,
    upstream_breaker: Gauges<1>,
    http: Counters<2>,
    http_seconds: Seconds<1>,
    push_events: Counter,
    push_refused: Counters<1>,
    push_bytes: Counter,
    push_batch: Histogram,
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
            outcomes: Family::default(),
            source_rows: Family::default(),
            source_paused: Family::default(),
            dead_letters: Family::default(),
            late_events: Family::default(),
            alerts: Family::default(),
            deliveries: Family::default(),
            commits: Family::default(),
            commit_seconds: Family::new_with_constructor(histogram),
            delivery_seconds: histogram(),
            watermark: Family::default(),
            consumer_lag: Family::default(),
            partitions: Family::default(),
            waiting: Family::default(),
            restore_left: Family::default(),
            restore_time_left: Family::default(),
            standby_lag: Family::default(),
            restore_seconds: Family::default(),
            snapshot_age: Family::default(),
            loop_turned: Family::default(),
            upstream_calls: Family::default(),
            upstream_budget: Family::default(),
            upstream_breaker: Family::default(),
            http: Family::default(),
            http_seconds: Family::new_with_constructor(histogram),
            push_events: Counter::default(),
            push_refused: Family::default(),
            push_bytes: Counter::default(),
            push_batch: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("records", "Records that a service has processed", self.records.clone());
        let help = "The same records by what became of them: each is one of these";
        to.register("outcomes", help, self.outcomes.clone());
        let help = "What came in of a source, by what became of it: each is one of these";
        to.register("source_rows", help, self.source_rows.clone());
        let help = "Whether a source is paused because too many of its rows cannot be read";
        to.register("source_paused", help, self.source_paused.clone());
        to.register("dead_letters", "Inputs that cannot be processed", self.dead_letters.clone());
        to.register("late_events", "Events after their watermark", self.late_events.clone());
        to.register("alerts", "Alerts from detectors", self.alerts.clone());
        to.register("deliveries", "Facts about deliveries", self.deliveries.clone());
        to.register("commits", "Transactions of a service by outcome", self.commits.clone());
        let commit = self.commit_seconds.clone();
        to.register_with_unit("commit", "Time a commit takes", Unit::Seconds, commit);
        let delivery = self.delivery_seconds.clone();
        let help = "From an alert's detection to its message being sent";
        to.register_with_unit("alert_to_sent", help, Unit::Seconds, delivery);
        let watermark = self.watermark.clone();
        let help = "Newest event time that a service has seen, since 1970";
        to.register_with_unit("watermark", help, Unit::Seconds, watermark);
        self.register_services();
        self.register_upstreams();
        let to = &mut self.registry;
        to.register("http_requests", "Requests answered", self.http.clone());
        let http = self.http_seconds.clone();
        to.register_with_unit("http_request", "Time an answer takes", Unit::Seconds, http);
        let help = "Events that were pushed and accepted";
        to.register("push_events", help, self.push_events.clone());
        let help = "Pushes that were refused, by the reason";
        to.register("push_refused", help, self.push_refused.clone());
        let help = "Size of the bodies that were pushed";
        to.register_with_unit("push", help, Unit::Bytes, self.push_bytes.clone());
        to.register("push_batch_events", "Events of a push", self.push_batch.clone());
    }

    /// What is asked of others.
    fn register_upstreams(&mut self) {
        let to = &mut self.registry;
        let help = "Searches of a source by how they ended, those that were warned, and its logins";
        to.register("upstream_searches", help, self.upstream_calls.clone());
        let help = "Calls that a source may still make today";
        to.register("upstream_budget_left", help, self.upstream_budget.clone());
        let help = "Whether a source is left alone: 0 it answers, 1 it is, 2 it is tried again";
        to.register("upstream_breaker", help, self.upstream_breaker.clone());
    }

    /// How the services are, beside what they do.
    fn register_services(&mut self) {
        let to = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("build", "The running program", build);
        let help = "Records between what a service has committed and the end of its input";
        to.register("consumer_lag", help, self.consumer_lag.clone());
        let help = "Partitions that a service has here";
        to.register("assigned_partitions", help, self.partitions.clone());
        let help = "Partitions of a service that wait for something outside, as a schema";
        to.register("partitions_waiting", help, self.waiting.clone());
        let help = "Records of its changelogs that a service has still to read before it works";
        to.register("restore_records_left", help, self.restore_left.clone());
        let help = "Time that a service will still take to read its state, at the pace so far";
        to.register_with_unit("restore_left", help, Unit::Seconds, self.restore_time_left.clone());
        let help = "Records that a service's copies of other processes' state are behind";
        to.register("standby_lag", help, self.standby_lag.clone());
        let (help, value) = ("Time the last restore took", self.restore_seconds.clone());
        to.register_with_unit("restore", help, Unit::Seconds, value);
        let (help, value) = ("Age of a service's oldest snapshot here", self.snapshot_age.clone());
        to.register_with_unit("snapshot_age", help, Unit::Seconds, value);
        let (help, value) = ("When a loop last turned, since 1970", self.loop_turned.clone());
        to.register_with_unit("loop_last_turn", help, Unit::Seconds, value);
    }

    /// Counts a search of a source of the configuration by how it ended.
    pub fn upstream_search(&self, source: &str, outcome: &str) {
        let labels = two(("source", source), ("outcome", outcome));
        self.upstream_calls.get_or_create(&labels).inc();
    }

    /// Notes how many calls a source may still make today.
    pub fn upstream_budget_left(&self, source: &str, left: u64) {
        self.upstream_budget.get_or_create(&one("source", source)).set(left as i64);
    }

    /// Notes whether a source is left alone: 0 closed, 1 open, 2 half-open.
    pub fn upstream_breaker(&self, source: &str, state: i64) {
        self.upstream_breaker.get_or_create(&one("source", source)).set(state);
    }

    /// Counts `n` records that `service` has processed and committed.
    pub fn records(&self, service: &str, n: u64) {
        self.records.get_or_create(&one("service", service)).inc_by(n);
    }

    /// Counts `n` records of which `outcome` became: `processed`, `filtered`, `duplicate`, `late` or
    /// `dead`.
    pub fn outcome(&self, service: &str, outcome: &str, n: u64) {
        let labels = two(("service", service), ("outcome", outcome));
        self.outcomes.get_or_create(&labels).inc_by(n);
    }

    /// Counts rows that `service` has read of a source and committed, by what became of each:
    /// `outcomes` says how many became `processed`, `filtered` and `dead`, and that is all of them.
    pub fn came_in(&self, service: &str, source: &str, outcomes: [(&str, u64); 3]) {
        self.records(service, outcomes.iter().map(|(_, n)| n).sum());
        for (outcome, n) in outcomes {
            self.outcome(service, outcome, n);
            self.source_rows(source, outcome, n);
        }
    }

    /// Counts `n` rows, events or records of a source of the configuration, whichever way they came
    /// in, of which `outcome` became: `processed`, `filtered` or `dead`.
    pub fn source_rows(&self, source: &str, outcome: &str, n: u64) {
        let labels = two(("source", source), ("outcome", outcome));
        self.source_rows.get_or_create(&labels).inc_by(n);
    }

    /// Notes whether a source is paused.
    pub fn source_paused(&self, source: &str, paused: bool) {
        self.source_paused.get_or_create(&one("source", source)).set(i64::from(paused));
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

    /// Counts a transaction of `service` that was committed, which took `took`.
    pub fn committed(&self, service: &str, took: Duration) {
        self.commits.get_or_create(&two(("service", service), ("outcome", "committed"))).inc();
        self.commit_seconds.get_or_create(&one("service", service)).observe(took.as_secs_f64());
    }

    /// Counts a transaction of `service` that was not, or of which that is not known.
    pub fn aborted(&self, service: &str) {
        self.commits.get_or_create(&two(("service", service), ("outcome", "aborted"))).inc();
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

    /// Notes how many records of a partition `service` has not committed yet; `None` if the
    /// partition is another process's now.
    pub fn consumer_lag(&self, service: &str, topic: &str, partition: u32, lag: Option<u64>) {
        let partition = partition.to_string();
        let labels = [("service", service), ("topic", topic), ("partition", &partition)];
        let labels = Labels(labels.map(|(name, value)| (name, value.to_owned())));
        match lag {
            Some(lag) => _ = self.consumer_lag.get_or_create(&labels).set(lag as i64),
            None => _ = self.consumer_lag.remove(&labels),
        }
    }

    /// Notes how many partitions `service` has here.
    pub fn assigned_partitions(&self, service: &str, partitions: usize) {
        self.partitions.get_or_create(&one("service", service)).set(partitions as i64);
    }

    /// Notes how many of the partitions that `service` has here wait for something outside.
    pub fn partitions_waiting(&self, service: &str, partitions: usize) {
        self.waiting.get_or_create(&one("service", service)).set(partitions as i64);
    }

    /// Notes how much of its state `service` has still to read, and how long that will take if
    /// anybody knows.
    pub fn restore_left(&self, service: &str, records: u64, time: Option<Duration>) {
        let label = one("service", service);
        self.restore_left.get_or_create(&label).set(records as i64);
        match time {
            Some(time) => _ = self.restore_time_left.get_or_create(&label).set(time.as_secs_f64()),
            None => _ = self.restore_time_left.remove(&label),
        }
    }

    /// Notes how many records the copies are behind that `service` keeps of what others have.
    pub fn standby_lag(&self, service: &str, records: u64) {
        self.standby_lag.get_or_create(&one("service", service)).set(records as i64);
    }

    /// Notes how long `service` took to read its state.
    pub fn restored(&self, service: &str, took: Duration) {
        self.restore_seconds.get_or_create(&one("service", service)).set(took.as_secs_f64());
    }

    /// Notes how old the oldest snapshot is that `service` would start from here.
    pub fn snapshot_age(&self, service: &str, age: Duration) {
        self.snapshot_age.get_or_create(&one("service", service)).set(age.as_secs_f64());
    }

    /// Notes that a loop of `service` has turned.
    pub fn loop_turned(&self, service: &str, at: Micros) {
        self.loop_turned.get_or_create(&one("service", service)).set(at.0 as f64 / 1e6);
    }

    /// Counts an answered request; `route` is the pattern (`/alerts/{id}`), never the path.
    pub fn http(&self, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.http.get_or_create(&two(("route", route), ("status", &status))).inc();
        self.http_seconds.get_or_create(&one("route", route)).observe(took.as_secs_f64());
    }

    /// Counts events that were pushed and are in the log.
    pub fn pushed(&self, events: u64) {
        self.push_events.inc_by(events);
    }

    /// Counts a push that was refused; `reason` is a word of a closed set.
    pub fn push_refused(&self, reason: &str) {
        self.push_refused.get_or_create(&one("reason", reason)).inc();
    }

    /// Counts the bytes of a body that was pushed, packed if it was.
    pub fn push_bytes(&self, bytes: u64) {
        self.push_bytes.inc_by(bytes);
    }

    /// Notes how many events a push had.
    pub fn push_batch(&self, events: usize) {
        self.push_batch.observe(events as f64);
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
    fn what_comes_in_is_counted_for_its_service_and_for_its_source() {
        let metrics = Metrics::new();
        metrics.came_in("push", "push:shop", [("processed", 3), ("filtered", 2), ("dead", 1)]);
        let text = metrics.encode();
        for line in [
            "tocsin_records_total{service=\"push\"} 6",
            "tocsin_outcomes_total{service=\"push\",outcome=\"filtered\"} 2",
            "tocsin_source_rows_total{source=\"push:shop\",outcome=\"processed\"} 3",
            "tocsin_source_rows_total{source=\"push:shop\",outcome=\"filtered\"} 2",
            "tocsin_source_rows_total{source=\"push:shop\",outcome=\"dead\"} 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_was_counted_is_written_with_prefix_and_unit() {
        let metrics = Metrics::new();
        metrics.records("detect", 3);
        metrics.records("detect", 4);
        metrics.outcome("detect", "processed", 6);
        metrics.source_rows("epa", "dead", 5);
        metrics.source_paused("epa", true);
        metrics.source_paused("uci", false);
        metrics.dead_letters("orders.rows", "csv", 1);
        metrics.late_events("detect", 2);
        metrics.alert("threshold", "raised");
        metrics.delivery("sent");
        metrics.committed("detect", Duration::from_millis(3));
        metrics.aborted("detect");
        metrics.alert_to_sent(Duration::from_millis(300));
        metrics.watermark("detect", Micros(1_500_000));
        metrics.watermark("project", Micros::MIN);
        metrics.http("/alerts/{id}", 200, Duration::from_millis(1));
        metrics.consumer_lag("detect", "aqi.readings", 3, Some(12));
        metrics.consumer_lag("detect", "aqi.readings", 4, Some(12));
        metrics.consumer_lag("detect", "aqi.readings", 4, None);
        metrics.partitions_waiting("detect", 2);
        metrics.assigned_partitions("detect", 8);
        metrics.restore_left("detect", 5, Some(Duration::from_millis(2_500)));
        metrics.standby_lag("detect", 6);
        metrics.restored("detect", Duration::from_millis(1_500));
        metrics.snapshot_age("detect", Duration::from_secs(60));
        metrics.loop_turned("detect", Micros(2_500_000));
        metrics.pushed(500);
        metrics.push_refused("rate");
        metrics.push_bytes(9);
        metrics.push_batch(500);
        let text = metrics.encode();
        for line in [
            "tocsin_push_events_total 500",
            "tocsin_push_refused_total{reason=\"rate\"} 1",
            "tocsin_push_bytes_total 9",
            "tocsin_push_batch_events_count 1",
            "tocsin_records_total{service=\"detect\"} 7",
            "tocsin_outcomes_total{service=\"detect\",outcome=\"processed\"} 6",
            "tocsin_source_rows_total{source=\"epa\",outcome=\"dead\"} 5",
            "tocsin_source_paused{source=\"epa\"} 1",
            "tocsin_source_paused{source=\"uci\"} 0",
            "tocsin_dead_letters_total{topic=\"orders.rows\",class=\"csv\"} 1",
            "tocsin_late_events_total{service=\"detect\"} 2",
            "tocsin_alerts_total{detector=\"threshold\",state=\"raised\"} 1",
            "tocsin_deliveries_total{state=\"sent\"} 1",
            "tocsin_commits_total{service=\"detect\",outcome=\"committed\"} 1",
            "tocsin_commits_total{service=\"detect\",outcome=\"aborted\"} 1",
            "tocsin_commit_seconds_count{service=\"detect\"} 1",
            "tocsin_alert_to_sent_seconds_count 1",
            "tocsin_watermark_seconds{service=\"detect\"} 1.5",
            "tocsin_consumer_lag{service=\"detect\",topic=\"aqi.readings\",partition=\"3\"} 12",
            "tocsin_assigned_partitions{service=\"detect\"} 8",
            "tocsin_restore_records_left{service=\"detect\"} 5",
            "tocsin_restore_left_seconds{service=\"detect\"} 2.5",
            "tocsin_standby_lag{service=\"detect\"} 6",
            "tocsin_restore_seconds{service=\"detect\"} 1.5",
            "tocsin_snapshot_age_seconds{service=\"detect\"} 60.0",
            "tocsin_loop_last_turn_seconds{service=\"detect\"} 2.5",
            concat!("tocsin_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "tocsin_http_requests_total{route=\"/alerts/{id}\",status=\"200\"} 1",
            "tocsin_http_request_seconds_count{route=\"/alerts/{id}\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("partition=\"4\""), "a partition that has gone has no lag here");
        assert!(!text.contains("service=\"project\""), "no watermark before the first event");
    }
}
