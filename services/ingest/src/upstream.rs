//! The contract of an upstream: which calls a search needs, and what an answer means. Pure: it makes
//! no call, reads no clock and holds no secret. Who polls makes the calls, adds the credentials, and
//! gives what is to be read to the [`Source`](crate::Source) of the same kind.

use std::borrow::Cow;
use std::time::Duration;

/// Something that is asked again and again.
pub trait Upstream: Send + Sync {
    /// The first call for `search`: a place, a phrase, a category; empty where there is but one.
    ///
    /// # Errors
    /// If nothing can be asked with it.
    fn first(&self, search: &str) -> Result<Call, String>;

    /// What the answer to `call` means.
    fn judge(&self, call: &Call, answer: &Answer<'_>) -> Verdict;

    /// What an answer that can be read warns of, such as a filter that was ignored; empty if nothing.
    fn warning(&self, _answer: &Answer<'_>) -> String {
        String::new()
    }

    /// Whether it counts pages up until one has nothing in it: then there is always another one.
    fn counts_pages(&self) -> bool {
        false
    }

    /// The answer as the source reads it: in UTF-8, if only its head says in which encoding it is.
    fn content<'a>(&self, answer: &Answer<'a>) -> Cow<'a, [u8]> {
        Cow::Borrowed(answer.body)
    }

    /// The call that gets a token, for upstreams that hand one out; its answer goes to
    /// [`Upstream::token`].
    fn login(&self) -> Option<Call> {
        None
    }

    /// The token in the answer to a login, and how long it is good.
    ///
    /// # Errors
    /// What the upstream says, or what is wrong with its answer.
    fn token(&self, _answer: &Answer<'_>) -> Result<(String, Duration), String> {
        Err("this upstream hands out no tokens".to_owned())
    }
}

/// One call, without secrets: it may be logged, archived and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The whole address, with its query but without credentials.
    pub url: String,
    /// Headers beside those that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// A form to post; the call is a GET if there is none.
    pub form: Option<Vec<(&'static str, String)>>,
    /// Which credentials are to be added, and where.
    pub auth: Auth,
    /// Whether an answer has led it to another host than the one that is configured: then it is made
    /// to public addresses only. Whoever follows an answer says so.
    pub away: bool,
}

/// How a call shows who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// The configured token as a parameter of the query with this name.
    Query(&'static str),
    /// The configured token as a header with this name.
    Header(&'static str),
    /// The configured token, or the one of [`Upstream::login`], as `Authorization: Bearer`.
    Bearer,
    /// The configured `client_id` and its secret as `Authorization: Basic`.
    Basic,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status of HTTP.
    pub status: u16,
    /// `Content-Type`; empty if there is none.
    pub content_type: &'a str,
    /// `Retry-After`, if there is one that can be read.
    pub retry_after: Option<Duration>,
    /// Everything else, unpacked.
    pub body: &'a [u8],
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is for the source to read; then comes the next page, if there is one.
    Read {
        /// The call for the next page. Its address may be relative to the one of this page, and whoever
        /// polls decides whether to go where it leads.
        next: Option<Box<Call>>,
    },
    /// There is nothing of that kind: an unknown station, a category that is gone.
    Nothing(String),
    /// The token is not good any more: get another and ask again, once.
    Login(String),
    /// Not now: the upstream is down, slow, or busy.
    Later {
        /// How long it wants to be left alone, if it says so.
        after: Option<Duration>,
        /// What it says.
        reason: String,
    },
    /// Nothing is left of what may be asked; until then, if it says so.
    Exhausted {
        /// How long it wants to be left alone, if it says so.
        after: Option<Duration>,
        /// What it says.
        reason: String,
    },
    /// It will never answer so: a wrong key, a call that is not allowed. Somebody must change the
    /// configuration.
    Refused(String),
    /// It is not what the upstream promised: kept as a dead letter with its bytes.
    Broken(String),
}

/// What every upstream means by a status, where it says nothing else; `None` for an answer that is
/// for the upstream itself to judge.
pub fn by_status(answer: &Answer<'_>) -> Option<Verdict> {
    let reason = || {
        let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]);
        format!("it answers {}: {}", answer.status, text.trim())
    };
    match answer.status {
        200..300 => None,
        401 => Some(Verdict::Login(reason())),
        404 | 410 => Some(Verdict::Nothing(reason())),
        429 => Some(Verdict::Exhausted { after: answer.retry_after, reason: reason() }),
        408 | 425 | 500.. => Some(Verdict::Later { after: answer.retry_after, reason: reason() }),
        _ => Some(Verdict::Refused(reason())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_ask_again() {
        for (status, wanted) in [
            (200, "None"),
            (401, "Some(Login"),
            (403, "Some(Refused"),
            (404, "Some(Nothing"),
            (429, "Some(Exhausted"),
            (503, "Some(Later"),
        ] {
            let answer = Answer { status, content_type: "", retry_after: None, body: b"no" };
            let found = format!("{:?}", by_status(&answer));
            assert!(found.starts_with(wanted), "{status}: {found}");
        }
    }
}
