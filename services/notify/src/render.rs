//! A delivery as a mail: what it says, and the bytes that leave. The same delivery always gives
//! the same bytes, whichever attempt it is, so that a copy can be known as one. It reads no clock
//! and fetches nothing.

mod envelope;
mod words;

use askama::Template;
use lettre::message::Mailbox;
use tocsin_domain::aqi;
use tocsin_domain::delivery::Delivery;
use tocsin_domain::notice::Notice;

/// What all mails have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    from: Mailbox,
    base_url: String,
}

impl Site {
    /// `from` is `Name <address>`; `base_url` is where links lead, `http://` or `https://`.
    ///
    /// # Errors
    /// A sentence on the one that cannot be used.
    pub fn new(from: &str, base_url: &str) -> Result<Site, String> {
        let from = from.parse().map_err(|error| {
            format!("from {from:?} is no sender ({error}); write `Name <name@host>`")
        })?;
        let strange = |c: char| c.is_control() || c.is_whitespace() || "<>\"".contains(c);
        let web = base_url.starts_with("http://") || base_url.starts_with("https://");
        if !web || !base_url.is_ascii() || base_url.contains(strange) {
            return Err(format!(
                "base_url {base_url:?} is no address; it begins with http:// or https:// and has no blanks"
            ));
        }
        Ok(Site { from, base_url: base_url.trim_end_matches('/').to_owned() })
    }

    /// The sender's address alone: the envelope's.
    pub fn sender(&self) -> String {
        self.from.email.to_string()
    }

    /// Where links lead, without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The host of the sender's address: what stands behind the `@` of every Message-ID.
    pub fn mail_domain(&self) -> &str {
        self.from.email.domain()
    }
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its subject.
    pub subject: String,
    /// Its plain text.
    pub text: String,
    /// Its HTML, a whole page.
    pub html: String,
    /// All of it as RFC 5322 has it.
    pub bytes: Vec<u8>,
}

/// Why there is no mail.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// There is nothing to tell.
    #[error("the delivery has no notice, so there is nothing to tell")]
    Nothing,
    /// The recipient's address.
    #[error("the address cannot be used: {0}")]
    Address(#[from] lettre::address::AddressError),
    /// The mail library.
    #[error("cannot build the mail: {0}")]
    Mail(#[from] lettre::error::Error),
    /// The templates.
    #[error("cannot fill in the template: {0}")]
    Template(#[from] askama::Error),
}

/// The mail that a requested delivery, or an attempt of it, asks for.
///
/// # Errors
/// If it has no notices or its address cannot be used.
pub fn render(delivery: &Delivery, site: &Site) -> Result<Rendered, RenderError> {
    let letter = Letter::new(delivery, site)?;
    let text = Text { letter: &letter }.render()?;
    let html = Html { letter: &letter }.render()?;
    let bytes = envelope::bytes(delivery, site, &letter, (&text, &html))?;
    Ok(Rendered { subject: letter.subject, text, html, bytes })
}

/// What the templates fill in.
struct Letter {
    subject: String,
    greeting: String,
    items: Vec<Item>,
    why_url: String,
    base_url: String,
}

/// One notice, in words.
struct Item {
    headline: String,
    /// Place, value, band and since when.
    summary: String,
    /// What to do; empty if there is no advice.
    advice: &'static str,
    /// Why this mail was sent.
    because: String,
    colour: &'static str,
    ink: &'static str,
    alert_url: String,
    unsubscribe_url: String,
}

impl Letter {
    fn new(delivery: &Delivery, site: &Site) -> Result<Letter, RenderError> {
        let items: Vec<Item> =
            delivery.notices.iter().map(|n| Item::new(n, &delivery.time_zone, site)).collect();
        let subject = match items.as_slice() {
            [] => return Err(RenderError::Nothing),
            [only] => only.headline.clone(),
            [first, others @ ..] => format!("{}, and {} more", first.headline, others.len()),
        };
        let name = words::one_line(&delivery.name);
        Ok(Letter {
            subject,
            greeting: if name.is_empty() { "Hello,".into() } else { format!("Hello {name},") },
            items,
            why_url: format!("{}/why/{}", site.base_url, delivery.message_id),
            base_url: site.base_url.clone(),
        })
    }
}

impl Item {
    fn new(notice: &Notice, time_zone: &str, site: &Site) -> Item {
        let alert = &notice.alert;
        let band = aqi::bands().iter().find(|band| band.name == alert.band);
        let base = &site.base_url;
        Item {
            headline: words::headline(alert),
            summary: words::summary(alert, time_zone),
            advice: band.map_or("", |band| band.advice),
            because: words::because(alert),
            colour: band.map_or("#334155", |band| band.colour),
            ink: band.map_or("#FFFFFF", |band| band.ink),
            alert_url: format!("{base}/alerts/{}", alert.id),
            unsubscribe_url: unsubscribe_url(site, notice),
        }
    }
}

fn unsubscribe_url(site: &Site, notice: &Notice) -> String {
    format!("{}/unsubscribe/{}", site.base_url, notice.watch)
}

#[derive(Template)]
#[template(path = "alert.txt")]
struct Text<'a> {
    letter: &'a Letter,
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Html<'a> {
    letter: &'a Letter,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{notice, requested};
    use tocsin_domain::Micros;
    use tocsin_domain::alert::AlertState;
    use tocsin_domain::delivery::DeliveryState;

    pub(super) fn site() -> Site {
        Site::new("Tocsin <bell@tocsin.example>", "https://tocsin.example/").unwrap()
    }

    #[test]
    fn every_attempt_has_the_same_bytes() {
        let first = requested("ada@example.org");
        let again = Delivery {
            state: DeliveryState::Attempt,
            attempt: 7,
            at: Micros(first.at.0 + 99_000_000),
            ..first.clone()
        };
        assert_eq!(render(&first, &site()).unwrap(), render(&again, &site()).unwrap());
    }

    #[test]
    fn both_bodies_say_what_matters() {
        let mail = render(&requested("ada@example.org"), &site()).unwrap();
        let id = &requested("ada@example.org").message_id;
        for body in [&mail.text, &mail.html] {
            for part in [
                "Hello Ada,",
                "Fairhope",
                "AQI 162",
                "Unhealthy",
                "7 June 2023, 14:00 CEST",
                "those at risk",
                "pm25-unhealthy",
                "100",
                &format!("https://tocsin.example/why/{id}"),
                "https://tocsin.example/alerts/",
                "https://tocsin.example/unsubscribe/",
                "no tracking",
            ] {
                assert!(body.contains(part), "{part} in {body}");
            }
        }
        assert!(mail.bytes.len() < 30_000, "{}", mail.bytes.len());
        assert!(mail.bytes.is_ascii());
    }

    #[test]
    fn what_comes_from_outside_is_escaped_in_html() {
        let mut delivery = requested("ada@example.org");
        delivery.name = "<script>".into();
        delivery.notices[0].alert.place = "<b>&".into();
        delivery.notices[0].alert.condition_name = "\"><i>".into();
        let html = render(&delivery, &site()).unwrap().html;
        assert!(!html.contains("<script>") && !html.contains("<b>&") && !html.contains("<i>"));
    }

    #[test]
    fn a_digest_lists_them_all() {
        let mut delivery = requested("ada@example.org");
        delivery.notices.push(notice("ada@example.org", AlertState::Cleared));
        let mail = render(&delivery, &site()).unwrap();
        assert!(mail.subject.ends_with(", and 1 more"), "{}", mail.subject);
        assert!(mail.text.matches("/alerts/").count() == 2 && mail.html.contains("back to"));
        delivery.notices.clear();
        assert!(matches!(render(&delivery, &site()), Err(RenderError::Nothing)));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (from, url) in [
            ("Tocsin", "http://x"),
            ("t@x", "ftp://x"),
            ("t@x", "http://x y"),
            ("t@x", "http://x>\r\nBcc: y"),
        ] {
            assert!(Site::new(from, url).is_err(), "{from} {url}");
        }
        let delivery = requested("not an address");
        assert!(matches!(render(&delivery, &site()), Err(RenderError::Address(_))));
    }
}
