//! `api`: the pages and the JSON interface.

use crate::exit::{Exit, Kind};
use crate::redrive;
use crate::service::{Host, Service};
use std::sync::Arc;
use tocsin_api::app::Render;
use tocsin_api::{App, Rendered};
use tocsin_notify::render::{self, Site};
use tocsin_stream::Schemas;

/// Tables and facts to pages.
pub(super) static SERVICE: Service =
    Service { name: "api", parts: &[], tables: true, facts: true, idle: |_| None, start };

fn start(host: &mut Host) -> anyhow::Result<()> {
    let Some(listener) = host.listener.take() else {
        return Err(anyhow::anyhow!("nowhere to serve the pages; name an address with --listen"));
    };
    let email = &host.settings.channels.email;
    let site = Site::new(&email.from, email.base_url.as_deref().unwrap_or(&host.url));
    let site = site.map_err(|text| Exit::error(Kind::Configuration, text))?;
    let vitals = &host.vitals;
    let mut app = App::new(host.log(), host.store()?, vitals.metrics.clone(), render(site));
    (app.health, app.slot, app.demo) = (vitals.health.clone(), host.slot, host.demo);
    app.tenant = host.settings.tenant.clone();
    app.ids = host.settings.schema_ids.clone();
    let schemas = host.schemas.clone().map(|desk| desk as Arc<dyn Schemas>);
    app.redrive = Some(redrive::words(host.log(), &host.settings, schemas)?);
    let router = tocsin_api::router(app).merge(std::mem::take(&mut host.beside));
    host.serve(router, listener)
}

fn render(site: Site) -> Render {
    Arc::new(move |delivery| match render::render(delivery, &site) {
        Ok(mail) => Rendered { subject: mail.subject, text: mail.text, html: mail.html },
        Err(error) => Rendered { subject: error.to_string(), ..Rendered::default() },
    })
}
