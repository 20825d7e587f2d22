//! `notify`: alerts to mail. The only service that sends anything.

use crate::facts;
use crate::service::{Host, Service};
use tocsin_notify::deliver::{self, DeliverStep};
use tocsin_notify::matching::{self, MatchStep};
use tocsin_notify::retry::Retry;
use tocsin_notify::send::{self, Sender};

/// Alerts to mail.
pub(super) static SERVICE: Service = Service {
    name: "notify",
    parts: &["match", "deliver", "send"],
    tables: false,
    facts: true,
    idle: |_| None,
    start,
};

fn start(host: &mut Host) -> anyhow::Result<()> {
    let channels = host.channels()?;
    let ids = || host.settings.schema_ids.clone();
    let (matching, retry) = (MatchStep::new(ids()), Retry::default());
    let mail_domain = channels.site.mail_domain().to_owned();
    let deliver = DeliverStep::new(deliver::Options { mail_domain, retry }, ids());
    let sending = send::Options {
        retry,
        ids: ids(),
        slot: host.slot,
        observer: host.observer("send"),
        ..send::Options::default()
    };
    let sender = Sender::new(host.log(), channels, sending);
    host.run(matching::topology(), matching, Box::new(()))?;
    host.run(deliver::topology(), deliver, Box::new(()))?;
    let (vitals, stop) = (host.vitals.clone(), host.stop.clone());
    host.spawn("send", move || {
        let go_on = || {
            vitals.turned("send");
            vitals.restoring("send", 0);
            stop.stopped()
        };
        sender.run(&go_on, &facts::now, &mut |_| {})
    })
}
