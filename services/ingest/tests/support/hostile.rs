//! What any bytes may do to a source and to its upstream: become events, skips, dead letters or an
//! error, each within limits, and nothing else. Run by the property tests and by the fuzz targets.

use std::borrow::Cow;
use tocsin_domain::Micros;
use tocsin_ingest::source::{File, Item, Mark, Source};
use tocsin_ingest::upstream::{Answer, Upstream, Verdict};
use tocsin_ingest::{jq, mapping, section, sources};
use tocsin_service::config::Document;

/// Every kind, with the least that it must be told.
pub const KINDS: [(&str, &str); 20] = [
    ("airnow", "kind = \"airnow\""),
    ("airnow-daily", "kind = \"airnow-daily\""),
    ("airnow-hourly", "kind = \"airnow-hourly\""),
    ("aqicn", "kind = \"aqicn\""),
    (
        "csv",
        "kind = \"csv\"\nevent = \"order-row\"\nsubject = \"{a}/{b|c}\"\nprice = \"{p}\"\ncurrency = \"EUR\"\ntime = \"{t}\"",
    ),
    ("ebay", "kind = \"ebay\""),
    ("ebay-finding", "kind = \"ebay-finding\""),
    ("geonames", "kind = \"geonames\""),
    (
        "http",
        "kind = \"http\"\nevent = \"listing\"\nlisting = \"{id}\"\nprice = \"{p}\"\n\
        currency = \"EUR\"\npage = \"n\"\nitems = \"items\"\n\
        address = \"https://upstream.test/base/x?q={search}\"",
    ),
    (
        "http-csv",
        "kind = \"http\"\nformat = \"csv\"\nevent = \"order-row\"\nsubject = \"{a}\"\nid = \"{b|c}\"\n\
        price = \"{p}\"\ncurrency = \"EUR\"\ntime = \"{t}\"\npage = \"n\"\n\
        address = \"https://upstream.test/base/rows.csv?q={search}\"",
    ),
    (
        "http-feed",
        "kind = \"http\"\nevent = \"dataset-row\"\nformat = \"rss\"\n\
        address = \"https://upstream.test/base/feed\"",
    ),
    ("json-items", "kind = \"json-lines\"\nevent = \"dataset-row\"\nitems = \"a.0.b\""),
    (
        "json-lines",
        "kind = \"json-lines\"\nevent = \"listing\"\nlisting = \"{id}\"\nprice = \"{a.0.b|p}\"\ncurrency = \"{c}\"",
    ),
    (
        "json-rows",
        "kind = \"json-lines\"\nevent = \"dataset-row\"\nlines = true\nrows = \".. | objects\"",
    ),
    ("mercadolibre", "kind = \"mercadolibre\""),
    ("mercadona", "kind = \"mercadona\""),
    ("mercadona-lines", "kind = \"mercadona\"\nlines = true"),
    ("openaq", "kind = \"openaq\""),
    (
        "topic",
        "kind = \"topic\"\ntopic = \"acme.x\"\nformat = \"json\"\nevent = \"listing\"\n\
        listing = \"{id}\"\nprice = \"{p}\"\ncurrency = \"{c}\"",
    ),
    ("waqi", "kind = \"waqi\""),
];

/// What an event may have beside its own row: ids, names, times.
const EVENT_SLACK: usize = 16 << 10;

/// A kind that is tried.
pub struct Victim {
    source: Box<dyn Source>,
    upstream: Option<Box<dyn Upstream>>,
    address: &'static str,
    /// Whether something comes of each row; a line may be a document without any.
    every_row: bool,
}

impl Victim {
    /// The kind of that name in [`KINDS`].
    pub fn of(name: &str) -> Victim {
        let (_, text) = KINDS.iter().find(|(kind, _)| *kind == name).unwrap();
        let address = "https://upstream.test/base";
        let asked = !text.contains("address")
            && !text.contains("kind = \"csv\"")
            && !text.contains("finding")
            && !text.contains("topic")
            && !text.contains("json-");
        let more = if asked { format!("address = \"{address}\"\n") } else { String::new() };
        let text = format!("[[sources]]\nname = \"a\"\n{text}\n{more}");
        let config = section(&Document::parse(&text, "t.toml").unwrap()).unwrap().remove(0);
        Victim {
            source: sources::open(&config).unwrap(),
            upstream: sources::upstream(&config).unwrap(),
            address,
            every_row: !text.contains("lines = true"),
        }
    }

    /// Gives it `bytes` in every way that an upstream could.
    pub fn suffer(&mut self, bytes: &[u8]) {
        self.read(bytes);
        let text: String = String::from_utf8_lossy(bytes).chars().take(300).collect();
        let Some(upstream) = &self.upstream else { return };
        if let Ok(call) = upstream.first(&text) {
            assert!(is_below(&call.url, self.address), "{:?} asks {}", text, call.url);
        }
        let searches = ["lahore", "sensors/1/measurements", "2020", "", "1"];
        let call = searches.iter().find_map(|search| upstream.first(search).ok()).unwrap();
        for status in [200, 302, 401, 403, 404, 429, 503] {
            let answer = Answer { status, content_type: "", retry_after: None, body: bytes };
            if let Verdict::Read { next: Some(next) } = upstream.judge(&call, &answer) {
                assert!(is_below(&next.url, self.address), "the next page is {}", next.url);
                assert!(next.url != call.url && next.url.len() < 4096, "{}", next.url);
            }
            _ = upstream.token(&answer);
        }
        for content in self.contents(bytes) {
            self.read(&content);
        }
    }

    /// What the source reads of it, if its head says that it is in another encoding.
    fn contents(&self, body: &[u8]) -> Vec<Vec<u8>> {
        let types =
            ["text/csv; charset=shift_jis", "text/xml; charset=utf-16", "text/plain; charset=\"x"];
        let content = |content_type| {
            let answer = Answer { status: 200, content_type, retry_after: None, body };
            match self.upstream.as_ref()?.content(&answer) {
                Cow::Owned(content) => Some(content),
                Cow::Borrowed(_) => None,
            }
        };
        types.into_iter().filter_map(content).collect()
    }

    fn read(&mut self, bytes: &[u8]) {
        let (mut since, mut total) = (0usize, 0usize);
        let every_row = self.every_row;
        let now = || Micros(1_700_000_000_000_000);
        let (mut content, mut buffer) = (bytes, Vec::new());
        let file = File { content: &mut content, name: "f/1", from: Mark::default(), now: &now };
        let mut items = 0usize;
        let result = self.source.read(file, &mut |item| {
            items += 1;
            match item {
                Item::RowEnd(_) | Item::OpenEnd => {
                    assert!(since > 0 || !every_row, "nothing came of a row");
                    since = 0;
                }
                Item::Skipped(_) => since += 1,
                Item::DeadLetter(letter) => {
                    since += 1;
                    total += letter.value.len();
                    assert!(letter.value.len() <= mapping::DEAD_LETTER_CAP);
                    assert!(letter.reason.len() <= EVENT_SLACK + bytes.len());
                }
                Item::Event(event) => {
                    since += 1;
                    buffer.clear();
                    event.write(&mut buffer);
                    total += buffer.len();
                    assert!(buffer.len() <= EVENT_SLACK + 8 * bytes.len(), "{}", buffer.len());
                    event.key(&mut buffer);
                    assert!(buffer.len() < 700 && std::str::from_utf8(&buffer).is_ok());
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            assert!(error.to_string().len() < EVENT_SLACK + bytes.len());
        }
        assert!(items <= 4 * bytes.len() + 3 * jq::ROWS_CAP, "{items} items");
        assert!(total <= 4 * jq::BYTES_CAP, "{total} bytes");
    }
}

/// Whether an address can only lead to where it is allowed to.
fn is_below(url: &str, address: &str) -> bool {
    let rest = url.strip_prefix(address).unwrap_or("!");
    let path = rest.split('?').next().unwrap_or_default();
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    plain && rest.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".")
}
