//! One run of a search: the first call, its pages, redirects, a login in between. Pure: it is told
//! what came back and says what comes next.

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
}

/// What comes after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make the call again: it leads elsewhere now.
    Again,
    /// Get another token, then make the call again.
    Login(String),
    /// The answer is for the source; whether another page follows.
    Read(bool),
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
        Ok(Talk { upstream, call, pages: 0, limit, hops: 0, logged_in: false, seen })
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
            Verdict::Read { next } => Next::Read(self.turn(next)),
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

    /// Turns to the next page, if there is one that was not asked for yet and may be.
    fn turn(&mut self, next: Option<Box<Call>>) -> bool {
        self.pages += 1;
        self.hops = 0;
        let Some(next) = next.filter(|_| self.pages < self.limit) else { return false };
        if !self.seen.insert(next.url.clone()) {
            tracing::warn!(url = next.url, "the next page is one that was read; stopping there");
            return false;
        }
        self.call = *next;
        true
    }

    /// Goes where a redirect leads: with credentials only to the same host, never away from TLS.
    fn follow(&mut self, location: &str) -> Result<(), String> {
        self.hops += 1;
        let from = &self.call.url;
        if self.hops > HOPS {
            return Err(format!("{from} redirects more than {HOPS} times"));
        }
        if self.call.form.is_some() {
            return Err(format!("{from} redirects a form; configure the address that it is at"));
        }
        let wrong = |e| format!("{from} redirects to something that is no address: {e}");
        let from_url = Url::parse(from).map_err(wrong)?;
        let mut to = from_url.join(location).map_err(wrong)?;
        if let Auth::Query(name) = self.call.auth {
            // What it says of our credentials is added again where it belongs.
            let kept: Vec<_> = to.query_pairs().filter(|(key, _)| key != name).collect();
            let kept: Vec<_> = kept.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            to.query_pairs_mut().clear().extend_pairs(kept);
        }
        let host = to.host_str().unwrap_or_default();
        let same = to.origin() == from_url.origin()
            || (to.host() == from_url.host()
                && from_url.scheme() == "http"
                && to.scheme() == "https");
        if self.call.auth != Auth::None && !same {
            return Err(format!("{from} redirects to {host}, and credentials go to no other host"));
        }
        if from_url.scheme() == "https" && to.scheme() != "https" {
            return Err(format!("{from} redirects to {host} without TLS"));
        }
        self.call.url = to.to_string();
        Ok(())
    }
}
