//! One run of a search: the first call, its pages, redirects, a login in between. Pure: it is told
//! what came back and says what comes next. Where an answer leads, by a redirect or to the next page, is
//! decided in one place: [`Talk::lead`].

use super::client::Reply;
use crate::upstream::{Auth, Call, Upstream, Verdict};
use reqwest::Url;
use std::collections::BTreeSet;
use std::time::Duration;

/// The most redirects from one call to its answer.
const HOPS: u32 = 5;

/// Where a run stands.
pub struct Talk<'u> {
    upstream: &'u dyn Upstream,
    /// The call that is to be made.
    pub call: Call,
    /// Pages read.
    pub pages: u32,
    limit: u32,
    hops: u32,
    logged_in: bool,
    seen: BTreeSet<String>,
    /// The host that is configured.
    home: Option<String>,
}

/// What comes after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make the call again: it leads elsewhere now.
    Again,
    /// Get another token, then make the call again.
    Login(String),
    /// The answer is for the source.
    Read {
        /// Whether another page follows.
        more: bool,
        /// What it warns of; empty if nothing.
        warning: String,
    },
    /// The run is over.
    End(End),
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was read.
    Done,
    /// It is as it was.
    Unchanged,
    /// There is nothing of the kind.
    Nothing(String),
    /// What may be spent is spent before all was read.
    Unfinished(String),
    /// Later: how long it wants to be left alone, and what it says.
    Later(Option<Duration>, String),
    /// Nothing is left of what may be asked; the same.
    Exhausted(Option<Duration>, String),
    /// Not as long as nobody changes the configuration.
    Refused(String),
    /// It is not what was promised: a dead letter.
    Broken(String),
    /// Too many of its rows cannot be read: not as long as nobody resumes the source.
    Paused(String),
}

impl<'u> Talk<'u> {
    /// Begins with the first call for `search`; reads at most `limit` pages.
    ///
    /// # Errors
    /// If nothing can be asked with it.
    pub fn begin(upstream: &'u dyn Upstream, search: &str, limit: u32) -> Result<Talk<'u>, String> {
        let call = upstream.first(search)?;
        let seen = BTreeSet::from([call.url.clone()]);
        let home = Url::parse(&call.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Ok(Talk { upstream, call, pages: 0, limit, hops: 0, logged_in: false, seen, home })
    }

    /// The call that gets a token, if this one needs one that is handed out.
    pub fn login(&self) -> Option<Call> {
        (self.call.auth == Auth::Bearer).then(|| self.upstream.login()).flatten()
    }

    /// The token in the answer to a login.
    pub fn token(&self, reply: &Reply) -> Result<(String, Duration), String> {
        self.upstream.token(&reply.answer())
    }

    /// What comes after `reply` to the call.
    pub fn hear(&mut self, reply: &Reply) -> Next {
        if reply.status == 304 {
            return Next::End(End::Unchanged);
        }
        if let (300..400, Some(location)) = (reply.status, &reply.location) {
            return match self.follow(location) {
                Ok(()) => Next::Again,
                Err(reason) => Next::End(End::Refused(reason)),
            };
        }
        match self.upstream.judge(&self.call, &reply.answer()) {
            Verdict::Read { .. } if self.is_behind() && reply.body.trim_ascii().is_empty() => {
                Next::End(End::Done)
            }
            Verdict::Read { next } => self.turn(next, self.upstream.warning(&reply.answer())),
            Verdict::Nothing(_) if self.is_behind() => Next::End(End::Done),
            Verdict::Nothing(reason) => Next::End(End::Nothing(reason)),
            Verdict::Login(reason) if self.logged_in || self.login().is_none() => {
                Next::End(End::Refused(reason))
            }
            Verdict::Login(reason) => {
                self.logged_in = true;
                Next::Login(reason)
            }
            Verdict::Later { after, reason } => Next::End(End::Later(after, reason)),
            Verdict::Exhausted { after, reason } => Next::End(End::Exhausted(after, reason)),
            Verdict::Refused(reason) => Next::End(End::Refused(reason)),
            Verdict::Broken(reason) => Next::End(End::Broken(reason)),
        }
    }

    /// Whether pages are counted, and this one may be behind the last.
    fn is_behind(&self) -> bool {
        self.pages > 0 && self.upstream.counts_pages()
    }

    /// Turns to the next page, if there is one that was not asked for yet and may be. One that may not
    /// be is told: this page is good all the same.
    fn turn(&mut self, next: Option<Box<Call>>, mut warning: String) -> Next {
        self.pages += 1;
        self.hops = 0;
        let Some(next) = next.filter(|_| self.pages < self.limit) else {
            return Next::Read { more: false, warning };
        };
        match self.lead(&next.url) {
            Ok((url, _)) if !self.seen.insert(url.clone()) => {
                tracing::warn!(url, "the next page is one that was read; stopping there");
                Next::Read { more: false, warning }
            }
            Ok((url, away)) => {
                self.call = Call { url, away, ..*next };
                Next::Read { more: true, warning }
            }
            Err(reason) => {
                let from = &self.call.url;
                let between = if warning.is_empty() { "" } else { "; " };
                warning += &format!(
                    "{between}the pages behind {from} are missing, as its `next` leads {reason}"
                );
                Next::Read { more: false, warning }
            }
        }
    }

    /// Goes where a redirect leads.
    fn follow(&mut self, location: &str) -> Result<(), String> {
        self.hops += 1;
        let from = &self.call.url;
        if self.hops > HOPS {
            return Err(format!("{from} redirects more than {HOPS} times"));
        }
        if self.call.form.is_some() {
            return Err(format!("{from} redirects a form; configure the address that it is at"));
        }
        let (url, away) = self.lead(location).map_err(|e| format!("{from} redirects {e}"))?;
        (self.call.url, self.call.away) = (url, away);
        Ok(())
    }

    /// Where `location` in an answer to the call leads, and whether that is another host than the one
    /// that is configured: with credentials only to the same host, never away from TLS. What it says of
    /// our credentials is left out; they are added where a call is made, and nowhere else.
    fn lead(&self, location: &str) -> Result<(String, bool), String> {
        let wrong = |e| format!("to something that is no address: {e}");
        let from = Url::parse(&self.call.url).map_err(wrong)?;
        let mut to = from.join(location).map_err(wrong)?;
        let Some(host) = to.host_str().filter(|_| matches!(to.scheme(), "http" | "https")) else {
            return Err(format!("to an address of `{}`, which is not HTTP", to.scheme()));
        };
        let host = host.to_owned();
        let same = to.origin() == from.origin()
            || (to.host() == from.host() && from.scheme() == "http" && to.scheme() == "https");
        if self.call.auth != Auth::None && !same {
            return Err(format!("to {host}, and credentials go to no other host"));
        }
        if from.scheme() == "https" && to.scheme() != "https" {
            return Err(format!("to {host} without TLS"));
        }
        if let Auth::Query(name) = self.call.auth {
            leave_out(&mut to, name);
        }
        to.set_fragment(None);
        // An address of HTTP can have neither, so this cannot fail.
        _ = to.set_username("").and_then(|()| to.set_password(None));
        Ok((to.to_string(), self.home.as_ref() != Some(&host)))
    }
}

/// Leaves a parameter out of the query, and the others as they are.
fn leave_out(url: &mut Url, name: &str) {
    let pairs = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let named = pairs.zip(url.query_pairs());
    let kept = named.filter(|(_, (key, _))| !key.eq_ignore_ascii_case(name)).map(|(pair, _)| pair);
    let kept = kept.collect::<Vec<_>>().join("&");
    url.set_query(Some(kept.as_str()).filter(|query| !query.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Answer;

    /// Answers with what comes next.
    struct Leads(&'static str, Auth);

    impl Upstream for Leads {
        fn first(&self, _: &str) -> Result<Call, String> {
            Ok(Call { url: self.0.to_owned(), auth: self.1, ..Call::default() })
        }

        fn judge(&self, call: &Call, answer: &Answer<'_>) -> Verdict {
            let url = String::from_utf8_lossy(answer.body).into_owned();
            Verdict::Read { next: Some(Box::new(Call { url, ..call.clone() })) }
        }

        fn warning(&self, _: &Answer<'_>) -> String {
            "odd".to_owned()
        }
    }

    const NONE: Auth = Auth::None;
    const KEY: Auth = Auth::Query("api key");

    /// Where it leads, and whether to another host; or why nowhere.
    type Way = Result<(&'static str, bool), &'static str>;

    /// From, how it shows who asks, what an answer says, and what becomes of it.
    const WAYS: [(&str, Auth, &str, Way); 20] = [
        ("http://u/a?b=1", NONE, "?p=2#top", Ok(("http://u/a?p=2", false))),
        ("http://u/a", NONE, "http://me:secret@u/b", Ok(("http://u/b", false))),
        ("http://u/a", NONE, "https://u:8/b", Ok(("https://u:8/b", false))),
        ("http://u/a", NONE, "http://v/b", Ok(("http://v/b", true))),
        ("http://10.0.0.1/a", NONE, "http://10.0.0.1:8/b", Ok(("http://10.0.0.1:8/b", false))),
        ("http://10.0.0.1/a", NONE, "//10.0.0.2/b", Ok(("http://10.0.0.2/b", true))),
        ("https://u/a", NONE, "http://u/b", Err("to u without TLS")),
        ("https://u/a", KEY, "http://u/b", Err("to u, and credentials go to no other host")),
        ("http://u/a", KEY, "https://u/b", Ok(("https://u/b", false))),
        ("http://u/a", KEY, "http://v/b", Err("to v, and credentials")),
        ("http://u/a", Auth::Bearer, "//u:8/b", Err("to u, and credentials")),
        ("http://u/a", NONE, "ftp://u/b", Err("to an address of `ftp`, which is not HTTP")),
        ("http://u/a", NONE, "file:///etc/passwd", Err("to an address of `file`")),
        ("http://u/a", NONE, "http://[", Err("to something that is no address")),
        ("http://u/a", KEY, "/a?api+key=s&q=a%20b&&x", Ok(("http://u/a?q=a%20b&x", false))),
        ("http://u/a", KEY, "/a?q=1&api%20key=s&API+KEY=", Ok(("http://u/a?q=1", false))),
        ("http://u/a", KEY, "/c?%61pi%20key=s", Ok(("http://u/c", false))),
        ("http://u/a", KEY, "/a?api+keys=s&b", Ok(("http://u/a?api+keys=s&b", false))),
        ("http://u/a", KEY, "/b#api%20key=s", Ok(("http://u/b", false))),
        ("http://u/a", NONE, "/a?api%20key=s", Ok(("http://u/a?api%20key=s", false))),
    ];

    #[test]
    fn redirects_and_next_pages_lead_by_the_same_rules() {
        for (from, auth, to, wanted) in WAYS {
            let upstream = Leads(from, auth);
            let page = Reply { status: 200, body: to.as_bytes().to_vec(), ..Reply::default() };
            let location = Some(to.to_owned());
            let redirect = Reply { status: 302, location, ..Reply::default() };
            let mut talk = Talk::begin(&upstream, "", 9).unwrap();
            let mut talked = Talk::begin(&upstream, "", 9).unwrap();
            let (turned, followed) = (talk.hear(&page), talked.hear(&redirect));
            match wanted {
                Ok((url, away)) => {
                    let warning = "odd".to_owned();
                    assert_eq!(turned, Next::Read { more: true, warning }, "{from} {to}");
                    assert_eq!(followed, Next::Again, "{from} {to}");
                    for talk in [talk, talked] {
                        assert_eq!((talk.call.url.as_str(), talk.call.away), (url, away));
                    }
                }
                Err(reason) => {
                    let Next::Read { more: false, warning } = turned else { panic!("{turned:?}") };
                    let missing =
                        format!("odd; the pages behind {from} are missing, as its `next`");
                    assert!(warning.starts_with(&format!("{missing} leads {reason}")), "{warning}");
                    let Next::End(End::Refused(text)) = followed else { panic!("{followed:?}") };
                    assert!(text.starts_with(&format!("{from} redirects {reason}")), "{text}");
                }
            }
        }
    }

    #[test]
    fn whoever_is_led_away_may_be_led_home() {
        let upstream = Leads("http://10.0.0.1/a", NONE);
        let mut talk = Talk::begin(&upstream, "", 9).unwrap();
        for (to, away) in [("http://v/", true), ("/b", true), ("http://10.0.0.1/b", false)] {
            assert_eq!(talk.follow(to), Ok(()));
            assert_eq!(talk.call.away, away, "{to}");
        }
    }
}
