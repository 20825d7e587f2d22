//! Who pushes, what they may push, and how fast. Only hashes are kept and compared, all of them, in
//! a time that says nothing about how near a guess was.

use super::problem::Refusal;
use super::settings::{ProducerConfig, PushSettings, Pushed, parse_hash, token_hash};
use super::site;
use crate::pause::{Guard, Whom};
use crate::poison::Rate;
use crate::redrive::OF_PUSH;
use crate::settings::SourceConfig;
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Whoever may push.
pub(super) struct Producers {
    named: Vec<(Vec<[u8; 32]>, Arc<Producer>)>,
    /// Who needs no token.
    anyone: Option<Arc<Producer>>,
}

/// One that may push.
pub(super) struct Producer {
    pub(super) name: String,
    pub(super) tenant: String,
    events: Vec<Pushed>,
    subjects: Vec<String>,
    bucket: Option<Mutex<Bucket>>,
    pub(super) guard: Arc<Guard>,
}

/// What who needs no token is called.
const ANYONE: &str = "anyone";

/// Which producer `tocsin dlq` means by `push:` and a name; `None` if there is none of it.
///
/// It is another one as soon as its entry is, or a mapping that its events may go through.
pub fn whom(settings: &PushSettings, sources: &[SourceConfig], name: &str) -> Option<Whom> {
    let name = name.strip_prefix(OF_PUSH)?;
    let config = settings.producers.iter().find(|config| config.name == name);
    if config.is_none() && !(name == ANYONE && settings.limits.without_token) {
        return None;
    }
    let tenant = config.map_or(settings.tenant.as_str(), ProducerConfig::tenant);
    let mapped = |source: &&SourceConfig| source.kind == "json-lines" && source.tenant() == tenant;
    let mappings: Vec<_> = sources.iter().filter(mapped).map(SourceConfig::said).collect();
    let said = (config, &settings.limits.pause_above, mappings);
    Some(Whom::of(format!("{OF_PUSH}{name}"), tenant, &said))
}

impl Producers {
    pub(super) fn new(
        settings: &PushSettings,
        sources: &[SourceConfig],
    ) -> Result<Producers, String> {
        let guard = |name: &str, own: Option<&String>| {
            let rate = Rate::of(own.or(settings.limits.pause_above.as_ref()).map(String::as_str))?;
            let whom = whom(settings, sources, &format!("{OF_PUSH}{name}"));
            let whom = whom.ok_or_else(|| format!("there is no producer {name:?}"))?;
            Ok::<_, String>(Arc::new(Guard::new(whom, rate)))
        };
        let named = settings.producers.iter().map(|config| {
            let hashes = config.token_sha256.all().iter().filter_map(|hash| parse_hash(hash));
            let producer = Producer {
                name: config.name.clone(),
                tenant: config.tenant().to_owned(),
                events: config.events.clone(),
                subjects: config.subjects.clone(),
                bucket: config.per_second.map(|rate| Mutex::new(Bucket::new(rate, Instant::now()))),
                guard: guard(&config.name, config.pause_above.as_ref())?,
            };
            Ok((hashes.collect(), Arc::new(producer)))
        });
        let named = named.collect::<Result<_, String>>()?;
        let anyone = settings.limits.without_token.then(|| {
            Ok::<_, String>(Arc::new(Producer {
                name: ANYONE.to_owned(),
                tenant: settings.tenant.clone(),
                events: Pushed::ALL.to_vec(),
                subjects: Vec::new(),
                bucket: None,
                guard: guard(ANYONE, None)?,
            }))
        });
        Ok(Producers { named, anyone: anyone.transpose()? })
    }

    /// Who stands before each of them.
    pub(super) fn guards(&self) -> Vec<Arc<Guard>> {
        let all = self.named.iter().map(|(_, producer)| producer).chain(&self.anyone);
        all.map(|producer| producer.guard.clone()).collect()
    }

    /// Who is called `tenant/name`.
    pub(super) fn called(&self, whose: &str) -> Option<&Producer> {
        let all = self.named.iter().map(|(_, producer)| producer).chain(&self.anyone);
        let mut all = all.map(|producer| &**producer);
        all.find(|producer| format!("{}/{}", producer.tenant, producer.name) == whose)
    }

    /// Who shows this token; who shows none is refused unless none is needed, and it is no page of
    /// another site.
    pub(super) fn find(&self, headers: &HeaderMap) -> Result<Arc<Producer>, Refusal> {
        let refuse = |detail| Err(Refusal::new(StatusCode::UNAUTHORIZED, "token", detail));
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let shown = match (shown.next(), shown.next()) {
            (None, _) => {
                let none = "no token was shown; send `Authorization: Bearer` and the token";
                let Some(anyone) = &self.anyone else { return refuse(none) };
                return site::from_here(headers).map(|()| anyone.clone());
            }
            (Some(one), None) => one.as_bytes(),
            (Some(_), Some(_)) => return refuse("there are two headers `Authorization`; send one"),
        };
        let token = match shown.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii(),
            _ => return refuse("the token must come as `Authorization: Bearer` and the token"),
        };
        let hash = token_hash(token);
        let mut found = None;
        for (hashes, producer) in &self.named {
            for known in hashes {
                if bool::from(known.ct_eq(&hash)) {
                    found = Some(producer);
                }
            }
        }
        found.cloned().map_or_else(
            || refuse("nobody has this token; its hash must stand in [[producers]]"),
            Ok,
        )
    }
}

impl Producer {
    /// Why an event is none of its business; `None` if it is.
    pub(super) fn out_of_scope(&self, kind: Pushed, subject: &str) -> Option<String> {
        if !self.events.contains(&kind) {
            let allowed: Vec<_> = self.events.iter().map(|kind| kind.word()).collect();
            let (name, kind) = (&self.name, kind.word());
            return Some(format!(
                "producer {name:?} may not push a {kind}; it may push: {}",
                allowed.join(", ")
            ));
        }
        let mine = |prefix: &String| subject.starts_with(prefix.as_str());
        if self.subjects.is_empty() || self.subjects.iter().any(mine) {
            return None;
        }
        let (name, subject, allowed) =
            (&self.name, super::json::start(subject), self.subjects.join(", "));
        Some(format!(
            "producer {name:?} may not push for the subject {subject:?}; it must begin with one of: \
             {allowed}"
        ))
    }

    /// Whether it may push now; else when to come again.
    pub(super) fn may(&self, now: Instant) -> Result<(), Refusal> {
        if let Some(reason) = self.guard.shut() {
            return Err(self.paused(&reason));
        }
        let wait = self.bucket.as_ref().and_then(|bucket| lock(bucket).wait(now));
        wait.map_or(Ok(()), |wait| {
            let detail = "more events came than `per_second` of the producer allows; slow down";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate", detail);
            Err(Refusal { retry_after: Some(wait), ..refusal })
        })
    }

    /// It is paused, and why.
    pub(super) fn paused(&self, reason: &str) -> Refusal {
        Refusal::paused(&self.guard.whom().name, reason)
    }

    /// It has pushed so many events.
    pub(super) fn pushed(&self, events: usize, now: Instant) {
        if let Some(bucket) = &self.bucket {
            lock(bucket).take(events, now);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tokens that come back with time. A batch may take more than there are; then the producer waits
/// until the debt is paid, so that a batch of any size can pass.
struct Bucket {
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u32, now: Instant) -> Bucket {
        Bucket { rate: f64::from(rate), tokens: f64::from(rate), at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.rate);
        self.at = now;
    }

    fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.fill(now);
        (self.tokens <= 0.0).then(|| Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
    }

    fn take(&mut self, events: usize, now: Instant) {
        self.fill(now);
        self.tokens -= events as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::settings::section;
    use tocsin_service::Document;

    fn producers(extra: &str) -> Producers {
        let hash: String = token_hash(b"s3cret").iter().map(|b| format!("{b:02x}")).collect();
        let text = format!(
            "{extra}[[producers]]\nname = \"shop\"\ntoken_sha256 = [\"{}\", \"{hash}\"]\n\
             events = [\"order-row\"]\nsubjects = [\"acme/\", \"b\"]\nper_second = 100\n",
            "0".repeat(64)
        );
        Producers::new(&section(&Document::parse(&text, "t.toml").unwrap()).unwrap(), &[]).unwrap()
    }

    fn shown(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_who_shows_the_token_is_known() {
        let producers = producers("");
        for good in ["Bearer s3cret", "bearer s3cret ", "BEARER  s3cret"] {
            assert_eq!(producers.find(&shown(&[good])).unwrap().name, "shop", "{good}");
        }
        for bad in [
            &[][..],
            &["s3cret"],
            &["Basic s3cret"],
            &["Bearer"],
            &["Bearer "],
            &["Bearer s3cre"],
            &["Bearer s3cretx"],
            &["Bearer s3cret", "Bearer s3cret"],
        ] {
            let refusal = producers.find(&shown(bad)).err().unwrap();
            assert_eq!((refusal.status, refusal.code), (StatusCode::UNAUTHORIZED, "token"));
        }
    }

    #[test]
    fn without_a_token_only_where_none_is_needed() {
        let producers = producers("[push]\nwithout_token = true\n");
        assert_eq!(producers.find(&shown(&[])).unwrap().name, "anyone");
        assert!(producers.find(&shown(&["Bearer wrong"])).is_err(), "a wrong token is no token");
    }

    #[test]
    fn scope_is_kind_and_subject() {
        let producers = producers("");
        let shop = producers.find(&shown(&["Bearer s3cret"])).unwrap();
        for (kind, subject, fine) in [
            (Pushed::OrderRow, "acme/x", true),
            (Pushed::OrderRow, "bread", true),
            (Pushed::OrderRow, "acme", false),
            (Pushed::OrderRow, "", false),
            (Pushed::Reading, "acme/x", false),
        ] {
            assert_eq!(shop.out_of_scope(kind, subject).is_none(), fine, "{kind:?} {subject}");
        }
    }

    #[test]
    fn a_debt_is_paid_before_more_may_come() {
        let now = Instant::now();
        let mut bucket = Bucket::new(100, now);
        assert_eq!(bucket.wait(now), None);
        bucket.take(300, now);
        let wait = bucket.wait(now).unwrap();
        assert!((2.0..2.1).contains(&wait.as_secs_f64()), "{wait:?}");
        assert_eq!(bucket.wait(now + wait), None);
        bucket.fill(now + Duration::from_secs(3600));
        assert_eq!(bucket.tokens, 100.0, "what is not used is not saved up");
    }
}
