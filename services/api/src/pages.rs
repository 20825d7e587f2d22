//! The pages: rendered here, whole without a script, readable on a phone. Whatever comes from
//! outside is escaped by the templates.

mod alerts;
mod chart;
mod dead_letters;
mod format;
mod mails;
mod subjects;
mod unsubscribe;
mod why;

pub(crate) use alerts::{alert, alerts};
pub(crate) use dead_letters::{dead_group, dead_letters};
pub(crate) use mails::{inbox, mail, mail_html};
pub(crate) use subjects::{subject, subjects};
pub(crate) use unsubscribe::{unsubscribe, unsubscribe_now};
pub(crate) use why::why;

use crate::answer::Fault;
use crate::app::App;
use crate::ask::Ask;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use std::fmt::Write as _;
use tocsin_domain::aqi::bands;

/// The inbox is what people come for.
pub(crate) fn home(_: &App, _: &Ask) -> Result<Response, Fault> {
    Ok(Redirect::temporary("/inbox").into_response())
}

/// The one stylesheet, with the colours of the air-quality bands as the scale defines them.
pub(crate) fn style(_: &App, _: &Ask) -> Result<Response, Fault> {
    let mut css = include_str!("../templates/style.css").to_owned();
    for (number, band) in bands().iter().enumerate() {
        let (colour, ink) = (band.colour, band.ink);
        let _ = writeln!(css, ".band-{number} {{ background: {colour}; color: {ink}; }}");
        let _ = writeln!(css, ".fill-{number} {{ fill: {colour}; }}");
    }
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "max-age=300")];
    Ok((headers, css).into_response())
}
