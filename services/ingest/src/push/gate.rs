//! Who may upload data sets: whoever may push their rows. What they upload counts as theirs: who is
//! paused or in debt waits, rows are paid for, and dead letters may pause. It takes no upload itself.

use super::problem::Refusal;
use super::producers::{Producer, Producers};
use super::settings::Pushed;
use crate::datasets::DatasetConfig;
use crate::datasets::account::Account;
use crate::datasets::http::Authorise;
use crate::pause::Guard;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;

/// Says who may upload and see which set.
pub(super) fn gate(producers: Arc<Producers>) -> Authorise {
    Arc::new(move |headers, set| match find(&producers, headers, set) {
        Ok(producer) => Ok(producer),
        Err(refusal) => Err(Box::new(refusal.into_response())),
    })
}

fn find(
    producers: &Producers,
    headers: &HeaderMap,
    set: Option<&DatasetConfig>,
) -> Result<Arc<Producer>, Refusal> {
    let producer = producers.find(headers)?;
    let Some(set) = set else { return Ok(producer) };
    let scope = |reason| Refusal::new(StatusCode::FORBIDDEN, "scope", reason);
    if producer.tenant != set.tenant() {
        return Err(scope("the producer is of another tenant than the data set".to_owned()));
    }
    match producer.out_of_scope(Pushed::DatasetRow, &set.name) {
        None => Ok(producer),
        Some(why) => Err(scope(why)),
    }
}

impl Account for Producer {
    fn may(&self) -> Result<(), Box<Response>> {
        Producer::may(self, Instant::now()).map_err(|refusal| Box::new(refusal.into_response()))
    }

    fn paused(&self, reason: &str) -> Response {
        Producer::paused(self, reason).into_response()
    }

    fn guard(&self) -> &Guard {
        &self.guard
    }

    fn wrote(&self, rows: u64) {
        self.pushed(usize::try_from(rows).unwrap_or(usize::MAX), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::tests::set;
    use axum::http::{HeaderValue, header::AUTHORIZATION};
    use tocsin_service::config::Document;

    #[test]
    fn who_may_push_the_rows_of_a_set_may_upload_it() {
        let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let with = |more: &str| {
            let text = format!("[[producers]]\nname = \"p\"\ntoken_sha256 = \"{hash}\"\n{more}");
            let document = Document::parse(&text, "t.toml").unwrap();
            let settings = crate::push::section(&document).unwrap();
            gate(Arc::new(Producers::new(&settings, &[]).unwrap()))
        };
        let (set, mut headers) = (set(""), HeaderMap::new());
        let rows = "events = [\"dataset-row\"]\n";
        let status = |gate: &Authorise, headers: &HeaderMap, set: Option<&DatasetConfig>| {
            gate(headers, set).map_or_else(|answer| answer.status().as_u16(), |_| 200)
        };
        assert_eq!(status(&with(rows), &headers, None), 401, "no token");
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer hello"));
        for (more, wanted) in [
            (rows.to_owned(), 200),
            (format!("{rows}subjects = [\"cat\"]\n"), 200),
            (format!("{rows}subjects = [\"dog\"]\n"), 403),
            (format!("{rows}tenant = \"acme\"\n"), 403),
            ("events = [\"reading\"]\n".to_owned(), 403),
        ] {
            assert_eq!(status(&with(&more), &headers, Some(&set)), wanted, "{more}");
        }
    }
}
