//! Tokens that an upstream hands out, and what its answers warn of.

use super::*;

/// An upstream that hands out tokens that are good for so long.
pub(super) struct Guarded(pub(super) String, pub(super) Duration);

impl Upstream for Guarded {
    fn first(&self, search: &str) -> Result<crate::upstream::Call, String> {
        let url = format!("{}/items?q={search}", self.0);
        let auth = crate::upstream::Auth::Bearer;
        Ok(crate::upstream::Call { url, auth, ..crate::upstream::Call::default() })
    }

    fn judge(
        &self,
        _: &crate::upstream::Call,
        answer: &crate::upstream::Answer<'_>,
    ) -> crate::upstream::Verdict {
        crate::upstream::by_status(answer).unwrap_or(crate::upstream::Verdict::Read { next: None })
    }

    fn warning(&self, answer: &crate::upstream::Answer<'_>) -> String {
        let found: serde_json::Value = serde_json::from_slice(answer.body).unwrap();
        found["warning"].as_str().unwrap_or_default().to_owned()
    }

    fn login(&self) -> Option<crate::upstream::Call> {
        let auth = crate::upstream::Auth::Basic;
        let form = Some(vec![("grant_type", "client_credentials".to_owned())]);
        let url = format!("{}/token", self.0);
        Some(crate::upstream::Call { url, auth, form, ..crate::upstream::Call::default() })
    }

    fn token(&self, answer: &crate::upstream::Answer<'_>) -> Result<(String, Duration), String> {
        let token = String::from_utf8_lossy(answer.body).into_owned();
        if answer.status == 200 { Ok((token, self.1)) } else { Err(token) }
    }
}

/// How often the items were asked for and how often a token, when the server answers so.
fn guarded(tokens: Vec<Reply>, minutes: u64, good: &'static str) -> (World, usize, usize) {
    let world = World::new("client_id = \"me\"\nsecret = \"pass\"\n");
    world.server.script("/token", tokens);
    world.server.on("/items", move |asked| {
        let welcome = asked.header("authorization") == format!("Bearer {good}");
        if welcome { Reply::json(ONE) } else { Reply::status(401, "no") }
    });
    let mut poller = world.poller();
    poller.upstream = Arc::new(Guarded(world.server.url(), Duration::from_mins(25)));
    let mut desk = poller.open().unwrap();
    let end = MORNING.plus(Duration::from_mins(minutes));
    while Micros(world.clock.load(Ordering::Relaxed)) < end {
        let wait = poller.turn(&mut desk, &|| true).unwrap();
        world.pass(wait);
    }
    let (items, tokens) = (world.server.count("/items"), world.server.count("/token"));
    world.check_ledger();
    (world, items, tokens)
}

#[test]
fn a_token_is_kept_until_just_before_its_end_and_got_again_once_if_it_is_refused() {
    let token = |text: &str| Reply::status(200, text);
    let (world, items, tokens) = guarded(vec![token("t1")], 55, "t1");
    assert_eq!((items, tokens, world.listings().len()), (6, 2, 2), "24 minutes, then another");
    let login = &world.server.asked()[0];
    assert_eq!(
        (login.method.as_str(), login.body.as_slice()),
        ("POST", b"grant_type=client_credentials".as_slice())
    );
    assert_eq!(login.header("authorization"), "Basic bWU6cGFzcw==");

    let (world, items, tokens) = guarded(vec![token("old"), token("new")], 5, "new");
    assert_eq!((items, tokens, world.listings().len()), (2, 2, 2), "a new one is welcome");

    let (world, items, tokens) = guarded(vec![token("old")], 5, "other");
    assert_eq!((items, tokens, world.listings().len()), (2, 2, 0), "not even a new one");
    assert!(world.asked().error.contains("401"), "{}", world.asked().error);

    let (world, items, tokens) = guarded(vec![Reply::status(401, "invalid_client")], 5, "x");
    assert_eq!((items, tokens), (0, 1));
    assert!(world.asked().error.contains("invalid_client"), "{}", world.asked().error);
}

#[test]
fn what_an_answer_warns_of_is_counted_and_stands_until_one_comes_without() {
    let world = World::new("client_id = \"me\"\nsecret = \"pass\"\n");
    world.server.script("/token", [Reply::status(200, "token77")]);
    let warned =
        |text: &str| Reply::json(ONE.replace("]}", &format!("],\"warning\":\"{text}\"}}")));
    let replies = [warned("of token77"), warned("of a filter"), Reply::json(ONE)];
    world.server.script("/items", replies);
    let mut poller = world.poller();
    poller.upstream = Arc::new(Guarded(world.server.url(), Duration::from_mins(25)));
    let mut desk = poller.open().unwrap();
    for wanted in ["of ***", "of a filter", ""] {
        world.turn(&mut poller, &mut desk);
        let asked = world.asked();
        assert_eq!((asked.warning.as_str(), asked.error.as_str()), (wanted, ""));
        world.pass(Duration::from_mins(10));
    }
    assert_eq!(world.listings(), BOTH, "what it has found is read all the same");
    let counted = poller.office.metrics.encode();
    let line = "tocsin_upstream_searches_total{source=\"shop\",outcome=\"warned\"} 2";
    assert!(counted.contains(line), "{counted}");
    world.check_ledger();
}
