//! The tables, as values. Who asks for them is said beside each: a table answers one question by
//! its partition key. Columns that are exact decimals are text.

use tocsin_store::Order::{Asc, Desc};
use tocsin_store::TableSpec;
use tocsin_store::Type::{Int, Text, Time};

/// The latest value of each measure of one subject.
pub static READINGS_LATEST: TableSpec = TableSpec {
    name: "readings_latest",
    columns: &[
        ("tenant", Text),
        ("subject", Text),
        ("measure", Text),
        ("place", Text),
        ("value", Text),
        ("unit", Text),
        ("averaging", Text),
        ("event_time", Time),
        ("event", Text),
    ],
    partition_key: &["tenant", "subject"],
    clustering_key: &[("measure", Asc)],
};

/// One measure of one subject through one UTC day.
pub static READINGS_BY_DAY: TableSpec = TableSpec {
    name: "readings_by_day",
    columns: &[
        ("tenant", Text),
        ("subject", Text),
        ("measure", Text),
        ("day", Text),
        ("event_time", Time),
        ("value", Text),
        ("unit", Text),
        ("event", Text),
    ],
    partition_key: &["tenant", "subject", "measure", "day"],
    clustering_key: &[("event_time", Asc)],
};

/// Every subject with its latest values.
pub static SUBJECTS: TableSpec = TableSpec {
    name: "subjects",
    columns: &[
        ("tenant", Text),
        ("subject", Text),
        ("measure", Text),
        ("place", Text),
        ("value", Text),
        ("unit", Text),
        ("averaging", Text),
        ("event_time", Time),
    ],
    partition_key: &["tenant"],
    clustering_key: &[("subject", Asc), ("measure", Asc)],
};

/// What is known of one listing.
pub static LISTINGS_LATEST: TableSpec = TableSpec {
    name: "listings_latest",
    columns: &[
        ("tenant", Text),
        ("listing", Text),
        ("title", Text),
        ("price", Text),
        ("currency", Text),
        ("units_sold", Int),
        ("units_available", Int),
        ("url", Text),
        ("seller", Text),
        ("event_time", Time),
    ],
    partition_key: &["tenant", "listing"],
    clustering_key: &[],
};

/// The prices of one listing, newest first.
pub static LISTING_PRICES: TableSpec = TableSpec {
    name: "listing_prices",
    columns: &[
        ("tenant", Text),
        ("listing", Text),
        ("event_time", Time),
        ("event", Text),
        ("price", Text),
        ("currency", Text),
        ("units_sold", Int),
        ("units_available", Int),
    ],
    partition_key: &["tenant", "listing"],
    clustering_key: &[("event_time", Desc), ("event", Asc)],
};

/// The sales of one product by UTC day, newest first.
pub static SALES_BY_PRODUCT: TableSpec = TableSpec {
    name: "sales_by_product",
    columns: SALES,
    partition_key: &["tenant", "product"],
    clustering_key: &[("day", Desc), ("currency", Asc)],
};

/// The sales of one UTC day by product.
pub static SALES_BY_DAY: TableSpec = TableSpec {
    name: "sales_by_day",
    columns: SALES,
    partition_key: &["tenant", "day"],
    clustering_key: &[("product", Asc), ("currency", Asc)],
};

const SALES: &[(&str, tocsin_store::Type)] = &[
    ("tenant", Text),
    ("product", Text),
    ("day", Text),
    ("currency", Text),
    ("revenue", Text),
    ("units", Int),
    ("rows", Int),
];

const ALERT: &[(&str, tocsin_store::Type)] = &[
    ("tenant", Text),
    ("subject", Text),
    ("day", Text),
    ("event_time", Time),
    ("detected_at", Time),
    ("id", Text),
    ("state", Text),
    ("condition_name", Text),
    ("detector", Text),
    ("measure", Text),
    ("place", Text),
    ("value", Text),
    ("unit", Text),
    ("limit_value", Text),
    ("band", Text),
];

/// The alerts about one subject, newest first.
pub static ALERTS_BY_SUBJECT: TableSpec = TableSpec {
    name: "alerts_by_subject",
    columns: ALERT,
    partition_key: &["tenant", "subject"],
    clustering_key: &[("event_time", Desc), ("id", Asc)],
};

/// The alerts that were decided on one UTC day, newest first.
pub static ALERTS_BY_DAY: TableSpec = TableSpec {
    name: "alerts_by_day",
    columns: ALERT,
    partition_key: &["tenant", "day"],
    clustering_key: &[("detected_at", Desc), ("id", Asc)],
};

/// One alert, whole: `fact` is its JSON.
pub static ALERTS_BY_ID: TableSpec = TableSpec {
    name: "alerts_by_id",
    columns: &[("id", Text), ("fact", Text)],
    partition_key: &["id"],
    clustering_key: &[],
};

/// The UTC days on which there is something in a table by day, newest first.
pub static DAYS: TableSpec = TableSpec {
    name: "days",
    columns: &[("tenant", Text), ("what", Text), ("day", Text)],
    partition_key: &["tenant", "what"],
    clustering_key: &[("day", Desc)],
};

/// The days of [`DELIVERIES_BY_DAY`] in the table [`DAYS`].
pub const DELIVERY_DAYS: &str = "deliveries";

/// What was asked to be sent: `fact` is the JSON of the delivery as requested. Never changes.
pub static MAILS: TableSpec = TableSpec {
    name: "mails",
    columns: &[
        ("message_id", Text),
        ("id", Text),
        ("tenant", Text),
        ("subscriber", Text),
        ("requested_at", Time),
        ("fact", Text),
    ],
    partition_key: &["message_id"],
    clustering_key: &[],
};

/// How one delivery stands.
pub static DELIVERIES_BY_MESSAGE_ID: TableSpec = TableSpec {
    name: "deliveries_by_message_id",
    columns: &[
        ("message_id", Text),
        ("id", Text),
        ("tenant", Text),
        ("subscriber", Text),
        ("channel", Text),
        ("state", Text),
        ("attempt", Int),
        ("at", Time),
        ("reason", Text),
        ("next_attempt_at", Time),
    ],
    partition_key: &["message_id"],
    clustering_key: &[],
};

/// Everything that happened to one delivery, in order. `phase` orders the facts of one attempt.
pub static DELIVERIES_LOG: TableSpec = TableSpec {
    name: "deliveries_log",
    columns: &[
        ("message_id", Text),
        ("attempt", Int),
        ("phase", Int),
        ("at", Time),
        ("state", Text),
        ("reason", Text),
        ("next_attempt_at", Time),
    ],
    partition_key: &["message_id"],
    clustering_key: &[("attempt", Asc), ("phase", Asc), ("at", Asc)],
};

/// The deliveries to one subscriber, newest first.
pub static DELIVERIES_BY_SUBSCRIBER: TableSpec = TableSpec {
    name: "deliveries_by_subscriber",
    columns: &[
        ("tenant", Text),
        ("subscriber", Text),
        ("requested_at", Time),
        ("message_id", Text),
    ],
    partition_key: &["tenant", "subscriber"],
    clustering_key: &[("requested_at", Desc), ("message_id", Asc)],
};

/// The deliveries that were requested on one UTC day, newest first; the days are in [`DAYS`].
pub static DELIVERIES_BY_DAY: TableSpec = TableSpec {
    name: "deliveries_by_day",
    columns: &[("tenant", Text), ("day", Text), ("requested_at", Time), ("message_id", Text)],
    partition_key: &["tenant", "day"],
    clustering_key: &[("requested_at", Desc), ("message_id", Asc)],
};

/// The dead letters of one UTC day, newest first: `fact` is the letter's JSON.
pub static DEAD_LETTERS_BY_DAY: TableSpec = TableSpec {
    name: "dead_letters_by_day",
    columns: &[
        ("day", Text),
        ("at", Time),
        ("id", Text),
        ("topic", Text),
        ("class", Text),
        ("reason", Text),
        ("service", Text),
        ("fact", Text),
    ],
    partition_key: &["day"],
    clustering_key: &[("at", Desc), ("id", Asc)],
};
