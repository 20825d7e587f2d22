//! Who may upload data sets: whoever may push their rows. It takes no upload itself.

use super::problem::Refusal;
use super::producers::Producers;
use super::settings::{PushSettings, Pushed};
use crate::datasets::DatasetConfig;
use crate::datasets::http::Authorise;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use std::sync::Arc;
use std::time::Instant;

/// Says who may upload and see which set, by the tokens of `settings`. An upload is judged as a whole,
/// so that it neither pauses a producer nor waits for one.
///
/// # Errors
/// What is wrong with the settings.
pub fn gate(settings: &PushSettings) -> Result<Authorise, String> {
    let producers = Producers::new(settings, &[])?;
    Ok(Arc::new(move |headers, set| {
        may(&producers, headers, set).map_err(|refusal| Box::new(refusal.into_response()))
    }))
}

fn may(
    producers: &Producers,
    headers: &HeaderMap,
    set: Option<&DatasetConfig>,
) -> Result<(), Refusal> {
    let producer = producers.find(headers)?;
    producer.may(Instant::now())?;
    let Some(set) = set else { return Ok(()) };
    let scope = |reason| Refusal::new(StatusCode::FORBIDDEN, "scope", reason);
    if producer.tenant != set.tenant() {
        return Err(scope("the producer is of another tenant than the data set".to_owned()));
    }
    producer.out_of_scope(Pushed::DatasetRow, &set.name).map_or(Ok(()), |why| Err(scope(why)))
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
            gate(&crate::push::section(&document).unwrap()).unwrap()
        };
        let (set, mut headers) = (set(""), HeaderMap::new());
        let rows = "events = [\"dataset-row\"]\n";
        let status = |gate: &Authorise, headers: &HeaderMap, set: Option<&DatasetConfig>| {
            gate(headers, set).map_or_else(|answer| answer.status().as_u16(), |()| 200)
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
