//! A subscriber: somebody who asked for mail.

use crate::{Id, Micros};
use serde::{Deserialize, Serialize};

/// Who gets the mail. Key of its topic: `tenant/id`, compacted. Holds personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// UUIDv5 of tenant and address in lower case.
    pub id: Id,
    /// The namespace.
    pub tenant: String,
    /// One address, checked by [`check_address`].
    pub email: String,
    /// How to greet; empty if unknown.
    pub name: String,
    /// IANA name, for example `Europe/Berlin`: times in mails are shown in it.
    pub time_zone: String,
    /// Whether anything may be sent. Consent, its proof and suppression will stand beside this.
    pub active: bool,
    /// When this was first said.
    pub created_at: Micros,
}

impl Subscriber {
    /// The id that belongs to an address.
    pub fn id_of(tenant: &str, email: &str) -> Id {
        Id::of("subscriber", &[tenant.as_bytes(), email.to_lowercase().as_bytes()])
    }

    /// The key of its record.
    pub fn key(&self) -> String {
        subscriber_key(&self.tenant, self.id)
    }
}

/// The key of everything that is kept by subscriber: `tenant/subscriber`.
pub fn subscriber_key(tenant: &str, subscriber: Id) -> String {
    format!("{tenant}/{subscriber}")
}

/// Says what is wrong with an address before any mail library sees it: control characters (which
/// would add headers), blanks, more or less than one `@`, an empty side, more than 254 bytes.
pub fn check_address(email: &str) -> Result<(), &'static str> {
    let wrong = |c: char| c.is_control() || c.is_whitespace() || "<>(),;:\\\"[]".contains(c);
    if email.len() > 254 {
        return Err("is longer than 254 bytes");
    }
    if email.chars().any(wrong) {
        return Err("holds a blank, a control character or one of <>(),;:\\\"[]");
    }
    match email.split_once('@') {
        Some((local, host)) if host.contains('@') || local.is_empty() || local.len() > 64 => {
            Err("is not of the form name@host")
        }
        Some((_, host)) if host.is_empty() || host.starts_with('.') || host.ends_with('.') => {
            Err("has no host after the @")
        }
        Some(_) => Ok(()),
        None => Err("has no @"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_could_add_a_header_are_refused() {
        for good in
            ["ada@example.org", "a.b+c@sub.example.org", "jürgen@exämple.de", "root@localhost"]
        {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "a@b@c",
            "ada@example.org\r\nBcc: eve@example.org",
            "ada @example.org",
            "ada@exam\u{0}ple.org",
            "<ada@example.org>",
            "ada@.org",
        ] {
            assert!(check_address(bad).is_err(), "{bad:?}");
        }
        assert!(check_address(&format!("{}@example.org", "a".repeat(300))).is_err());
    }
}
