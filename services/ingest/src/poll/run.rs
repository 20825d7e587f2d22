//! One run of one search: charge, call, archive, read, commit; page after page. What each answer
//! means is decided in [`talk`](super::talk); here it is done.

use super::client::{Failure, Known, Reply};
use super::desk::Desk;
use super::intake::{self, Fault, Page, Taken};
use super::talk::{End, Next, Talk};
use super::{Lost, Poller, archive, ledger, outcome};
use crate::pause::Whom;
use crate::upstream::{Call, Verdict, by_status};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tocsin_domain::Micros;
use tocsin_domain::upstream::Asked;
use tocsin_service::config::Secret;
use tocsin_stream::crash;

/// A token is got again so long before its end.
const BEFORE_END: Duration = Duration::from_mins(1);

/// So many tokens are got for one run because the one before has ended; then it is used nevertheless.
const LOGINS: u32 = 3;

/// What a run has done so far.
#[derive(Default)]
struct Run {
    calls: u64,
    logins: u32,
    /// Whether a token was handed out that no call has used yet.
    is_fresh: bool,
    taken: Taken,
    /// The first answer's names, for the next time.
    etag: String,
    last_modified: String,
    sha256: String,
    /// What its answers warn of; nothing is known of it before one was read.
    warning: Option<String>,
    /// The last answer that cannot be read, with its address.
    broken: Option<(String, Vec<u8>)>,
}

impl Poller {
    /// Asks one search, and commits how it went.
    pub(super) fn ask(
        &mut self,
        desk: &mut Desk,
        which: usize,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), Lost> {
        let mut run = Run::default();
        desk.begin(which);
        let end = self.talk(desk, which, &mut run, go_on)?;
        let Some(end) = end else { return Ok(()) };
        self.finish(desk, which, run, &end)
    }

    /// The calls of a run; `None` if the caller does not want to go on.
    fn talk(
        &mut self,
        desk: &mut Desk,
        which: usize,
        run: &mut Run,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<End>, Lost> {
        let search = desk.searches.get(which).map(|asked| asked.search.clone());
        let search = search.unwrap_or_default();
        let upstream = Arc::clone(&self.upstream);
        let mut talk = match Talk::begin(&*upstream, &search, self.polling.pages) {
            Ok(talk) => talk,
            Err(reason) => return Ok(Some(End::Refused(reason))),
        };
        while go_on() {
            match self.step(desk, which, run, &mut talk, go_on)? {
                Step::On => {}
                Step::Stopped => return Ok(None),
                Step::End(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }

    /// One call, and what comes of it.
    fn step(
        &mut self,
        desk: &mut Desk,
        which: usize,
        run: &mut Run,
        talk: &mut Talk<'_>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Step, Lost> {
        if let Some(step) = self.wait(desk, go_on) {
            return Ok(step);
        }
        let now = (self.office.now)();
        let login = self.login(run, talk, now);
        ledger::charge(&mut desk.quota, &self.polling.limits, now);
        // With it goes what was read of the page before.
        desk.commit_quota(now)?;
        crash::point("after-charge");
        run.calls += 1;
        let known = match desk.searches.get(which) {
            Some(asked) if talk.pages == 0 && login.is_none() && asked.mapping == desk.mapping => {
                Known { etag: &asked.etag, last_modified: &asked.last_modified }
            }
            _ => Known::default(),
        };
        let call = login.as_ref().unwrap_or(&talk.call);
        let sent = self.client.send(call, &self.polling.credentials, known, now, go_on);
        crash::point("after-call");
        let reply = match sent {
            Ok(reply) => reply,
            Err(failure) => return Ok(self.fail(run, call, failure)),
        };
        if login.is_some() {
            self.count("login");
            return Ok(self.logged_in(run, talk, &reply));
        }
        self.hear(desk, which, run, talk, reply)
    }

    /// Waits until the next call may be made, if that is soon.
    fn wait(&self, desk: &Desk, go_on: &dyn Fn() -> bool) -> Option<Step> {
        let (limits, now) = (&self.polling.limits, (self.office.now)());
        let left = ledger::free_at(&desk.quota, limits, now).since(now);
        if left > limits.gap {
            let text = "what may be spent is spent in the midst of its pages".to_owned();
            return Some(Step::End(End::Unfinished(text)));
        }
        self.sleep(left, go_on);
        (!go_on()).then_some(Step::Stopped)
    }

    /// Nothing came that can be judged.
    fn fail(&self, run: &mut Run, call: &Call, failure: Failure) -> Step {
        Step::End(match failure {
            Failure::Stopped => return Step::Stopped,
            Failure::Later(reason) => End::Later(None, reason),
            Failure::Refused(reason) => End::Refused(reason),
            Failure::Broken(reason, bytes) => {
                let url = self.polling.credentials.hide_in_query(&call.url);
                run.broken = Some((url, bytes));
                End::Broken(reason)
            }
        })
    }

    /// The call that gets a token, if one is needed. One that was handed out just now is good for the
    /// next call, whatever was said of its end.
    fn login(&self, run: &mut Run, talk: &Talk<'_>, now: Micros) -> Option<Call> {
        let is_fresh = std::mem::take(&mut run.is_fresh);
        let is_good = self.token_until.is_some_and(|until| until > now || run.logins >= LOGINS);
        if is_fresh || is_good { None } else { talk.login() }
    }

    /// Takes the token of a login.
    fn logged_in(&mut self, run: &mut Run, talk: &Talk<'_>, reply: &Reply) -> Step {
        let got = match by_status(&reply.answer()) {
            Some(Verdict::Later { after, reason }) => return Step::End(End::Later(after, reason)),
            Some(Verdict::Exhausted { after, reason }) => {
                return Step::End(End::Exhausted(after, reason));
            }
            _ => talk.token(reply),
        };
        match got {
            Ok((token, good_for)) => {
                let margin = BEFORE_END.min(good_for / 2);
                self.token_until = Some((self.office.now)().plus(good_for.saturating_sub(margin)));
                self.polling.credentials.token = Secret::from(token);
                run.logins += 1;
                run.is_fresh = true;
                Step::On
            }
            Err(reason) => Step::End(End::Refused(format!("no token was given: {reason}"))),
        }
    }

    /// Does what an answer means.
    fn hear(
        &mut self,
        desk: &mut Desk,
        which: usize,
        run: &mut Run,
        talk: &mut Talk<'_>,
        reply: Reply,
    ) -> Result<Step, Lost> {
        let url = self.polling.credentials.hide_in_query(&talk.call.url);
        let sha256 = archive::sha256(&reply.body);
        self.archive(desk, which, (&url, &sha256), &reply);
        Ok(match talk.hear(&reply) {
            Next::Again => Step::On,
            Next::Login(reason) => {
                tracing::info!(source = self.config.name, reason, "logging in again");
                self.token_until = None;
                Step::On
            }
            Next::Read { more, warning } => {
                if run.warning.as_ref().is_none_or(String::is_empty) {
                    run.warning = Some(warning);
                }
                let content = match self.upstream.content(&reply.answer()) {
                    Cow::Owned(content) => Some(content),
                    Cow::Borrowed(_) => None,
                };
                let asked = desk.searches.get(which);
                let same = asked
                    .is_some_and(|asked| asked.sha256 == sha256 && asked.mapping == desk.mapping);
                if talk.pages == 1 {
                    (run.etag, run.last_modified) = (reply.etag, reply.last_modified);
                    run.sha256 = if more { String::new() } else { sha256 };
                    if same && !more {
                        return Ok(Step::End(End::Unchanged));
                    }
                }
                self.read(desk, which, run, (url, content.unwrap_or(reply.body)), more)?
            }
            Next::End(end) => {
                if matches!(end, End::Broken(_)) {
                    run.broken = Some((url, reply.body));
                }
                Step::End(end)
            }
        })
    }

    /// Reads a page; it is committed with the next call, or with the end of the run.
    fn read(
        &mut self,
        desk: &mut Desk,
        which: usize,
        run: &mut Run,
        (url, body): (String, Vec<u8>),
        more: bool,
    ) -> Result<Step, Lost> {
        let page = Page { which, url: &url, body: &body, now: (self.office.now)() };
        match intake::take(desk, &*self.office.log, &mut *self.source, page) {
            Ok(taken) => {
                run.taken.rows += taken.rows;
                run.taken.events += taken.events;
                run.taken.dead_letters += taken.dead_letters;
                desk.put_seen(which);
                let more = more && (taken.found > 0 || !self.upstream.counts_pages());
                if taken.is_over {
                    return Ok(Step::End(self.pause(desk, &url)?));
                }
                Ok(if more { Step::On } else { Step::End(End::Done) })
            }
            Err(Fault::Lost(lost)) => Err(lost),
            Err(Fault::Broken(reason)) => {
                run.broken = Some((url, body));
                Ok(Step::End(End::Broken(reason)))
            }
        }
    }

    /// Puts the fact that the source is paused beside the rows; the end of the run commits both.
    fn pause(&self, desk: &mut Desk, url: &str) -> Result<End, Lost> {
        let reason = desk.rate.reason();
        let whom = Whom::source(&self.config);
        let pause = whom.pause((reason.clone(), url), (self.office.now)());
        desk.put_pause(&whom, &pause)?;
        // After a pause the rows are looked at anew.
        desk.rate = self.rate;
        Ok(End::Paused(reason))
    }

    fn archive(&self, desk: &Desk, which: usize, (url, sha256): (&str, &str), reply: &Reply) {
        let Some(directory) = &self.polling.archive else { return };
        let lineage = archive::Lineage {
            at: (self.office.now)(),
            tenant: self.config.tenant(),
            source: &self.config.name,
            search: desk.searches.get(which).map_or("", |asked| &asked.search),
            url,
            status: reply.status,
            sha256,
            bytes: reply.body.len(),
        };
        if let Err(error) = archive::keep(directory, &lineage, &reply.body) {
            let path = directory.display();
            tracing::error!(source = self.config.name, %path, %error, "an answer is not archived");
        }
    }

    /// Commits how a run went.
    fn finish(&mut self, desk: &mut Desk, which: usize, run: Run, end: &End) -> Result<(), Lost> {
        let now = (self.office.now)();
        let (outcome, reason) = end.said();
        let reason = self.polling.credentials.hide(reason);
        self.count(outcome);
        let mut taken = run.taken;
        if let Some((url, body)) = &run.broken {
            let page = Page { which, url, body, now };
            taken.dead_letters += u64::from(intake::bury(desk, self.topic(), &reason, page));
        }
        let mapping = desk.mapping.clone();
        let draws = [self.dice.roll(), self.dice.roll()];
        if let Some(asked) = desk.searches.get_mut(which) {
            outcome::note(asked, end, &reason, now, draws[0]);
            asked.calls = run.calls;
            asked.events += taken.events;
            if asked.mapping != mapping {
                // What another mapping has read to its end, this one has not.
                (asked.etag, asked.last_modified) = Default::default();
                asked.sha256 = String::new();
            }
            asked.mapping = mapping;
            if *end == End::Done {
                (asked.etag, asked.last_modified) = (run.etag, run.last_modified);
                asked.sha256 = run.sha256;
            }
            tell(asked, outcome, &taken);
            if let Some(warning) = &run.warning {
                self.warn(asked, warning);
            }
        }
        outcome::settle(&mut desk.quota, end, &reason, now, draws[1]);
        desk.put_search(which, *end == End::Done)?;
        desk.commit_quota(now)
    }

    /// Notes what the upstream warns of: counted each time, logged when it is news.
    fn warn(&self, asked: &mut Asked, warning: &str) {
        let warning = self.polling.credentials.hide(warning);
        if !warning.is_empty() {
            self.count("warned");
        }
        if !warning.is_empty() && warning != asked.warning {
            let (source, search) = (&asked.source, &asked.search);
            tracing::warn!(source, search, warning, "it was answered with a warning");
        }
        asked.warning = warning;
    }

    fn count(&self, outcome: &str) {
        self.office.metrics.upstream_search(&self.config.name, outcome);
    }

    /// The topic that its answers are meant for.
    fn topic(&self) -> &'static str {
        self.config.event_topic()
    }
}

/// How far a run is.
enum Step {
    On,
    Stopped,
    End(End),
}

fn tell(asked: &Asked, outcome: &str, taken: &Taken) {
    let Asked { source, search, calls, error, .. } = asked;
    let Taken { rows, events, dead_letters, .. } = taken;
    if error.is_empty() {
        tracing::info!(source, search, outcome, calls, rows, events, dead_letters, "asked");
    } else {
        tracing::warn!(source, search, outcome, calls, events, dead_letters, error, "asked");
    }
}
