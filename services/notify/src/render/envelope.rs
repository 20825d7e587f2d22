//! The headers and the bytes of a mail. Boundary, date and ids are derived from the delivery, so
//! nothing differs from one attempt to the next. Addresses go through typed builders only.

use super::{Letter, RenderError, Site, unsubscribe_url, words};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use std::time::{Duration, UNIX_EPOCH};
use tocsin_domain::delivery::Delivery;

/// The mail that says `bodies` (plain text, HTML).
pub(super) fn bytes(
    delivery: &Delivery,
    site: &Site,
    letter: &Letter,
    (text, html): (&str, &str),
) -> Result<Vec<u8>, RenderError> {
    let name = words::one_line(&delivery.name);
    let to = Mailbox::new((!name.is_empty()).then_some(name), delivery.address.parse()?);
    let mut builder = lettre::Message::builder()
        .from(site.from.clone())
        .to(to)
        .subject(&letter.subject)
        .date(date(delivery))
        .message_id(Some(format!("<{}>", delivery.message_id)));
    for (name, value) in lists(delivery, site) {
        builder = builder.raw_header(HeaderValue::new(name, value));
    }
    let body = MultiPart::alternative()
        .boundary(format!("tocsin-{}", delivery.id))
        .singlepart(SinglePart::plain(text.to_owned()))
        .singlepart(SinglePart::html(html.to_owned()));
    Ok(builder.multipart(body)?.formatted())
}

/// When the last notice was matched: an attempt's own time would differ from attempt to attempt.
fn date(delivery: &Delivery) -> std::time::SystemTime {
    let at = delivery.notices.iter().map(|notice| notice.at.0).max().unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(at.max(0) as u64 / 1_000_000)
}

/// The headers that tell mail programs which list, thread and kind of mail this is.
fn lists(delivery: &Delivery, site: &Site) -> Vec<(HeaderName, String)> {
    const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");
    const REFERENCES: HeaderName = HeaderName::new_from_ascii_str("References");
    const LIST_ID: HeaderName = HeaderName::new_from_ascii_str("List-Id");
    const UNSUBSCRIBE: HeaderName = HeaderName::new_from_ascii_str("List-Unsubscribe");
    const POST: HeaderName = HeaderName::new_from_ascii_str("List-Unsubscribe-Post");
    let mut headers = vec![(AUTO_SUBMITTED, "auto-generated".to_owned())];
    let Some(first) = delivery.notices.first() else { return headers };
    let host = site.mail_domain();
    headers.push((REFERENCES, format!("<{}@{host}>", first.alert.episode)));
    headers.push((LIST_ID, format!("<{}.{host}>", slug(&first.alert.condition_name))));
    if delivery.notices.len() == 1 {
        headers.push((UNSUBSCRIBE, format!("<{}>", unsubscribe_url(site, first))));
        // RFC 8058 allows the one click over https only.
        if site.base_url.starts_with("https://") {
            headers.push((POST, "List-Unsubscribe=One-Click".to_owned()));
        }
    }
    headers
}

/// The name as a host label: small letters, digits and single hyphens.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    slug.truncate(63);
    if slug.is_empty() { "watch".to_owned() } else { slug.trim_end_matches('-').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::{render, tests::site};
    use super::*;
    use crate::fixtures::requested;
    use proptest::prelude::*;

    /// The header fields, unfolded, in order.
    fn headers(bytes: &[u8]) -> Vec<(String, String)> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            (name.to_owned(), value.to_owned())
        };
        unfolded.split("\r\n").map(field).collect()
    }

    const NAMES: [&str; 12] = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "References",
        "List-Id",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "MIME-Version",
        "Content-Type",
    ];

    fn value<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
        headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap()
    }

    #[test]
    fn headers_are_these() {
        let delivery = requested("ada@example.org");
        let headers = headers(&render(&delivery, &site()).unwrap().bytes);
        assert_eq!(headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), NAMES);
        let notice = &delivery.notices[0];
        for (name, wanted) in [
            ("From", "Tocsin <bell@tocsin.example>".to_owned()),
            ("To", "Ada <ada@example.org>".to_owned()),
            ("Subject", "Air quality in Fairhope: Unhealthy (AQI 162, PM2.5)".to_owned()),
            ("Date", "Wed, 07 Jun 2023 12:00:00 +0000".to_owned()),
            ("Message-ID", format!("<{}@tocsin.example>", delivery.id)),
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("References", format!("<{}@tocsin.example>", notice.alert.episode)),
            ("List-Id", "<pm25-unhealthy.tocsin.example>".to_owned()),
            ("List-Unsubscribe", format!("<https://tocsin.example/unsubscribe/{}>", notice.watch)),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
        ] {
            assert_eq!(value(&headers, name), wanted);
        }
        let plain = Site::new("a@b.example", "http://b.example").unwrap();
        let mail = String::from_utf8(render(&delivery, &plain).unwrap().bytes).unwrap();
        assert!(!mail.contains("List-Unsubscribe-Post"));
    }

    #[test]
    fn slugs_are_host_labels() {
        let long = "x".repeat(99);
        for (name, wanted) in [
            ("PM2.5 over 150!", "pm2-5-over-150"),
            ("\u{1F525}", "watch"),
            ("a\r\nBcc: b", "a-bcc-b"),
            (&long, &long[..63]),
        ] {
            assert_eq!(slug(name), wanted);
        }
    }

    proptest! {
        #[test]
        fn no_text_adds_or_changes_a_header(name: String, place: String, band: String, rule: String, unit: String) {
            let (plain, mut delivery) = (requested("ada@example.org"), requested("ada@example.org"));
            delivery.name = name;
            let alert = &mut delivery.notices[0].alert;
            (alert.place, alert.band, alert.condition_name, alert.unit) = (place, band, rule.clone(), unit);
            let bytes = render(&delivery, &site()).unwrap().bytes;
            let (found, wanted) = (headers(&bytes), headers(&render(&plain, &site()).unwrap().bytes));
            prop_assert!(bytes.is_ascii());
            prop_assert_eq!(found.len(), wanted.len());
            for ((name, value), (known, expected)) in found.iter().zip(&wanted) {
                prop_assert_eq!(name, known);
                match name.as_str() {
                    "To" => prop_assert!(value.trim_matches(['<', '>']).ends_with("ada@example.org")),
                    "Subject" => prop_assert!(!value.contains(char::is_control)),
                    "List-Id" => prop_assert_eq!(value, &format!("<{}.tocsin.example>", slug(&rule))),
                    _ => prop_assert_eq!(value, expected),
                }
            }
        }
    }
}
