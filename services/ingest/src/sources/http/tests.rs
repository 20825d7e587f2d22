//! How anything over HTTP is asked, judged and read.

use super::*;
use crate::sources::testing::{collect, config};

const SOURCE: &str = r#"
    name = "shop"
    kind = "http"
    event = "listing"
    listing = "{id}"
    title = "{title}"
    price = "{price}"
    currency = "EUR"
    address = "https://u.example/items?q={search}"
"#;

fn upstream_of(more: &str) -> Result<Box<dyn Upstream>, String> {
    upstream(&config(&format!("{SOURCE}{more}")))
}

fn judge(upstream: &dyn Upstream, call: &Call, body: &str) -> Verdict {
    let content_type = "application/json";
    let answer = Answer { status: 200, content_type, retry_after: None, body: body.as_bytes() };
    upstream.judge(call, &answer)
}

#[test]
fn a_search_stands_in_the_address() {
    let asked = upstream_of("").unwrap();
    let call = asked.first("lego 75192 & ü").unwrap();
    assert_eq!(call.url, "https://u.example/items?q=lego%2075192%20%26%20%C3%BC");
    assert!(asked.first("").is_err());
    for (from, to, wanted) in [
        ("https://", "ftp://", "must begin with http"),
        ("{search}", "{sarch}", "may have {search}"),
        ("https://u.example", "https://me:secret@u.example", "has credentials in it"),
        ("https://u.example", "https://t0ken@u.example", "has credentials in it"),
        ("https://u.example", "ftp://me:secret@u.example", "has credentials in it"),
        ("address", "auth = \"head x\"\naddress", "`auth` is \"head x\""),
        ("address", "next = \"n\"\npage = \"p\"\naddress", "leave out one"),
        ("address", "next = \"n\"\nformat = \"csv\"\naddress", "places in JSON"),
    ] {
        let error = upstream(&config(&SOURCE.replace(from, to))).err().unwrap_or_default();
        assert!(error.contains(wanted), "{to}: {error}");
        assert!(!error.contains("secret@"), "{error}");
    }
}

#[test]
fn credentials_go_where_the_configuration_says() {
    for (more, wanted) in [
        ("", Auth::None),
        ("token = \"x\"", Auth::Bearer),
        ("auth = \"query key\"", Auth::Query("key")),
        ("auth = \"header X-Key\"", Auth::Header("X-Key")),
        ("auth = \"basic\"", Auth::Basic),
    ] {
        assert_eq!(upstream_of(more).unwrap().first("x").unwrap().auth, wanted, "{more}");
    }
}

#[test]
fn pages_are_turned_by_address_or_by_number() {
    let url = |verdict: Verdict| match verdict {
        Verdict::Read { next } => next.map(|call| call.url),
        other => panic!("{other:?}"),
    };
    let by_address = upstream_of("next = \"paging.next\"").unwrap();
    let call = by_address.first("x").unwrap();
    for (body, wanted) in [
        ("{\"paging\":{\"next\":\"/items?q=x&at=2\"}}", Some("/items?q=x&at=2")),
        ("{\"paging\":{\"next\":null}}", None),
        ("{}", None),
    ] {
        assert_eq!(url(judge(&*by_address, &call, body)).as_deref(), wanted, "{body}");
    }
    let by_number = upstream_of("page = \"p\"").unwrap();
    let call = by_number.first("x").unwrap();
    assert_eq!(call.url, "https://u.example/items?q=x&p=1");
    assert_eq!((by_address.counts_pages(), by_number.counts_pages()), (false, true));
    // Whether something is on it, who reads it says.
    for body in ["{\"items\":[1]}", "{\"items\":[]}", "id,price\n"] {
        let next = url(judge(&*by_number, &call, body));
        assert_eq!(next.as_deref(), Some("https://u.example/items?q=x&p=2"), "{body}");
    }
}

#[test]
fn text_is_in_the_encoding_that_its_head_says() {
    let (latin, utf8) = (b"id\nM\xfcnchen".as_slice(), "id\nMünchen".as_bytes());
    let marked = ["\u{feff}".as_bytes(), utf8].concat();
    let wide: Vec<u8> = "\u{feff}id\nMünchen".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let csv = "format = \"csv\"\n";
    let given = "format = \"csv\"\nencoding = \"utf-8\"\n";
    for (more, content_type, body, wanted) in [
        (csv, "text/csv; charset=iso-8859-1", latin, marked.as_slice()),
        (csv, "text/csv; charset=utf-8", utf8, &marked),
        (csv, "text/csv; charset=utf-8", latin, latin),
        (csv, "text/csv", latin, latin),
        (csv, "text/csv", &wide, &marked),
        (given, "text/csv; charset=iso-8859-1", utf8, utf8),
        ("format = \"rss\"\n", "text/xml; charset=windows-1252", latin, &marked),
        ("", "application/json; charset=iso-8859-1", utf8, utf8),
    ] {
        let answer = Answer { status: 200, content_type, retry_after: None, body };
        let content = upstream_of(more).unwrap().content(&answer).into_owned();
        assert_eq!(content, wanted, "{more} {content_type}");
    }
}

#[test]
fn errors_within_good_answers_and_pages_for_people_are_known() {
    let upstream = upstream_of("error = \"error\"").unwrap();
    let call = upstream.first("x").unwrap();
    let shown = |body| format!("{:?}", judge(&*upstream, &call, body));
    for (body, wanted) in [
        ("{\"error\":\"over quota\"}", "Later { after: None, reason: \"it says: \\\"over quota"),
        ("{\"error\":\"\"}", "Read"),
        ("{\"error\":null}", "Read"),
        ("{", "Broken(\"the answer cannot be read: it is not JSON"),
        (" <!DOCTYPE html><html>", "Broken(\"a page for people"),
    ] {
        assert!(shown(body).starts_with(wanted), "{body}: {}", shown(body));
    }
}

const RSS: &str = r#"<?xml version="1.0"?><rss version="2.0" xmlns:g="urn:g"><channel>
    <title>Shop</title><link>https://u.example/</link>
    <item><guid>7</guid><title>A &amp; B &#x263A;</title><g:price>1.50</g:price></item>
    <item><guid>8</guid><title><![CDATA[<b>C</b>]]></title><g:price>x</g:price></item>
</channel></rss>"#;

const ATOM: &str = r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>F</title><entry><id>9</id>
    <link href="https://u.example/9"/><author><name>N</name></author><price>2</price></entry></feed>"#;

#[test]
fn feeds_are_read_as_rows() {
    let feed = SOURCE.replace("{id}", "{guid}") + "format = \"rss\"";
    let found = collect(&feed, "f", RSS.as_bytes()).unwrap();
    assert!(found[0].starts_with("listing default/7 1.5 EUR"), "{found:?}");
    assert!(found[1].starts_with("dead value f#2 price \"x\""), "{found:?}");
    let entries = feed::entries(ATOM.as_bytes(), None).unwrap();
    assert_eq!(entries[0]["link"], "https://u.example/9");
    assert_eq!((&entries[0]["id"], &entries[0]["price"]), (&"9".into(), &"2".into()));
    assert_eq!(feed::entries(RSS.as_bytes(), None).unwrap()[0]["title"], "A & B ☺");
}

#[test]
fn feeds_are_in_the_encoding_that_they_declare_or_that_is_given() {
    let feed = |declared: &str| {
        format!("<?xml version=\"1.0\"{declared}?><rss><item><id>9</id><t>Müß</t></item></rss>")
    };
    let latin = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let cyrillic = [feed(" encoding='windows-1251'").replace("Müß", "\u{c4}\u{e0}")];
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let (named, plain) = (feed(" encoding=\"ISO-8859-1\""), feed(""));
    for (bytes, given, wanted) in [
        (plain.clone().into_bytes(), None, "Müß"),
        (latin(&named), None, "Müß"),
        (latin(&cyrillic[0]), None, "Да"),
        (latin(&plain), Some(Encoding::Latin1), "Müß"),
        (named.clone().into_bytes(), Some(Encoding::Utf8), "Müß"),
        // A mark says it, whatever else does.
        (format!("\u{feff}{named}").into_bytes(), Some(Encoding::Latin1), "Müß"),
        (wide(&format!("\u{feff}{named}")), None, "Müß"),
        (wide(&plain), None, "Müß"),
    ] {
        let entries = feed::entries(&bytes, given).unwrap();
        assert_eq!(entries[0]["t"], wanted, "{}", String::from_utf8_lossy(&bytes));
    }
    let unknown = feed(" encoding='klingon'").into_bytes();
    for (bytes, wanted) in [
        (latin(&plain), "the feed is not UTF-8, as it should be"),
        (unknown, "it is in \"klingon\", which is no known encoding"),
    ] {
        let error = feed::entries(&bytes, None).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_feed_of_too_many_entries_is_refused() {
    let feed = format!("<rss>{}</rss>", "<item><a>b</a></item>".repeat(790_000));
    let error = feed::entries(feed.as_bytes(), None).unwrap_err();
    assert!(error.contains("so many entries that they take more than 256 MiB"), "{error}");
}

#[test]
fn what_is_no_feed_is_refused() {
    let deep = format!("<rss>{}", "<a>".repeat(100));
    for (text, wanted) in [
        ("", "no RSS and no Atom"),
        ("<html></html>", "no RSS and no Atom"),
        ("<rss><item>", "breaks off"),
        ("<rss></rsx>", "is not XML"),
        ("<rss>&boom;</rss>", "entity &boom;"),
        (deep.as_str(), "nested more than 64"),
    ] {
        let error = feed::entries(text.as_bytes(), None).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}
