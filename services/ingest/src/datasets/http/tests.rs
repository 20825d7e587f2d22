//! The routes over real HTTP: what is taken, what is refused and how, and hostile bodies.

use super::*;
use crate::datasets::tests::{dead, memory_log, rows, set};
use crate::pause::{Guard, Whom};
use crate::poison::Rate;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use tocsin_stream::memory::MemoryLog;

const NAMESPACES: &str = "namespace_id\nn1\n";
const COLUMNS: &str = "column_id,namespace_id,parent,owner\nc1,n1,,ann\nc2,n9,,bob\nc3,n1\n";

/// What was counted: of which source, and what is processed, filtered and dead.
type Counted = Arc<Mutex<Vec<(String, [u64; 3])>>>;

/// A server with the set of the tests; its runtime ends with it.
struct Server {
    at: SocketAddr,
    log: Arc<MemoryLog>,
    counted: Counted,
    spool: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

/// Somebody who is never paused.
struct Anyone(Guard);

impl Account for Anyone {
    fn may(&self) -> Result<(), Box<Response>> {
        Ok(())
    }

    fn paused(&self, reason: &str) -> Response {
        panic!("{reason}")
    }

    fn guard(&self) -> &Guard {
        &self.0
    }

    fn wrote(&self, _: u64) {}
}

fn serve(set: DatasetConfig) -> Server {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (log, spool) = (memory_log(), tempfile::tempdir().unwrap());
    let (whom, never) = (Whom::of("push:p".to_owned(), "", &()), Rate::of(Some("100%")).unwrap());
    let anyone = Arc::new(Anyone(Guard::new(whom, never)));
    let authorise: Authorise = Arc::new(move |headers, _| match headers.get("authorization") {
        Some(given) if given == "Bearer good" => Ok(anyone.clone()),
        _ => Err(Box::new(StatusCode::UNAUTHORIZED.into_response())),
    });
    let now = Arc::new(|| Micros(1_000_000));
    let shared: Arc<dyn Log> = log.clone();
    let counted = Counted::default();
    let to = counted.clone();
    let tell: Told = Arc::new(move |news| {
        if let News::Rows(source, tally) = news {
            to.lock().unwrap().push((source.to_owned(), tally.outcomes().map(|(_, n)| n)));
        }
    });
    let (to, dir) = ((authorise, tell), spool.path().to_owned());
    let uploads = Uploads::new(shared, &[set], dir, to, now);
    let at = runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(uploads)).await });
        at
    });
    Server { at, log, spool, counted, _runtime: runtime }
}

/// A multipart body of files: field, name, content.
fn body(files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, name, content) in files {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

/// Status, headers and body of an answer.
fn ask(server: &Server, head: &str, body: &[u8]) -> (u16, String, String) {
    let more = "authorization: Bearer good\r\ncontent-type: multipart/form-data; boundary=b\r\n";
    ask_with(server, head, more, body)
}

fn ask_with(server: &Server, head: &str, more: &str, body: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.at).unwrap();
    let length = body.len();
    let head = format!(
        "{head} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has refused does not read the rest.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

fn upload(server: &Server, files: &[(&str, &str, &[u8])]) -> (u16, serde_json::Value) {
    let (status, _, text) = ask(server, "POST /v1/datasets/catalogue", &body(files));
    (status, serde_json::from_str(&text).unwrap_or_default())
}

fn good() -> [(&'static str, &'static str, &'static [u8]); 2] {
    [
        ("columns", "columns.csv", COLUMNS.as_bytes()),
        ("namespaces", "namespaces.csv", NAMESPACES.as_bytes()),
    ]
}

#[test]
fn an_upload_is_taken_once_and_its_report_can_be_read() {
    let server = serve(set(""));
    let (status, answer) = upload(&server, &good());
    assert_eq!((status, &answer["known"]), (201, &json!(false)), "{answer}");
    let report = &answer["report"];
    assert_eq!((&report["rows"], &report["dead_letters"]), (&json!(4), &json!(1)));
    assert_eq!(report["faults"], json!({"broken-reference": 1, "short-row": 1}));
    let found = rows(&*server.log);
    assert_eq!((found.len(), dead(&*server.log).len()), (5, 1));

    let (status, again) = upload(&server, &good());
    assert_eq!((status, &again["known"]), (200, &json!(true)));
    assert_eq!((&again["report"], rows(&*server.log)), (report, found));
    let counted = server.counted.lock().unwrap().clone();
    assert_eq!(counted, [("dataset:catalogue".to_owned(), [3, 0, 1])], "what is known is not read");

    let id = answer["upload"].as_str().unwrap();
    let (status, _, text) = ask(&server, "GET /v1/datasets/catalogue", b"");
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &list["uploads"][0]["upload"]), (200, &json!(id)));
    assert_eq!(list["uploads"][0]["report"]["rows"], 4);
    let one = format!("GET /v1/datasets/catalogue/uploads/{id}");
    let (status, _, text) = ask(&server, &one, b"");
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &shown["report"]), (200, report));
    let (status, head, table) = ask(&server, &format!("{one}/anomalies.csv"), b"");
    assert_eq!(status, 200);
    assert!(head.contains("x-anomalies-in-all: 2"), "{head}");
    assert_eq!(
        table,
        "file,line,anomalie\ncolumns file,3,\"namespace_id: no row has the key \"\"n9\"\"\"\n\
         columns file,4,Row doesn't match with the headers schema\n"
    );
    let left = std::fs::read_dir(server.spool.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is left of an upload");
}

#[test]
fn what_is_not_an_upload_of_the_set_is_refused_with_a_reason() {
    let mut small = set("");
    (small.max_bytes, small.max_rows) = (Some(500), Some(20));
    let server = serve(small);
    let [columns, namespaces] = good();
    let big = [b'x'; 600];
    let rows_at_limit = format!("namespace_id\n{}", "n\n".repeat(18));
    for (files, status, code, wanted) in [
        (vec![columns], 422, "refused", "file `namespaces` is missing"),
        (vec![columns, columns], 422, "refused", "comes twice"),
        (vec![columns, namespaces, namespaces], 422, "files", "more files than the 2"),
        (vec![("colums", "x", b"")], 422, "refused", "did you mean `columns`?"),
        (vec![("columns", "c.csv", &big[..])], 413, "too-large", "more than 500 bytes"),
        (vec![columns, ("namespaces", "n", b"x\n1\n")], 422, "refused", "no column `namespace_id`"),
        (
            vec![columns, ("namespaces", "n", rows_at_limit.as_bytes())],
            413,
            "too-large",
            "more than 20 rows",
        ),
    ] {
        let (found, answer) = upload(&server, &files);
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{wanted}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(wanted), "{answer}");
    }
    for (head, status, wanted) in [
        ("POST /v1/datasets/catalog", 404, "did you mean `catalogue`?"),
        ("GET /v1/datasets/catalogue/uploads/x", 404, "no such upload"),
        ("PUT /v1/datasets/catalogue", 405, ""),
    ] {
        let (found, _, text) = ask(&server, head, b"");
        assert!(found == status && text.contains(wanted), "{head}: {found} {text}");
    }
    let (status, _, text) = ask(&server, "POST /v1/datasets/catalogue", b"--b\r\nnonsense");
    assert!(status == 400 && text.contains("cannot be read"), "{status} {text}");
    assert!(rows(&*server.log).is_empty() && dead(&*server.log).is_empty());
}

#[test]
fn nobody_gets_in_without_leave_and_nothing_but_multipart_is_taken() {
    let server = serve(set(""));
    for (method, more, wanted) in [
        ("GET", "", 401),
        ("POST", "", 401),
        ("POST", "authorization: Bearer bad\r\n", 401),
        ("POST", "authorization: Bearer good\r\n", 415),
    ] {
        let (status, ..) =
            ask_with(&server, &format!("{method} /v1/datasets/catalogue"), more, b"");
        assert_eq!(status, wanted, "{method} {more}");
    }
}

/// Chunks that are always there, counted.
struct Always(u64, Arc<std::sync::atomic::AtomicU64>, &'static [u8]);

impl futures::Stream for Always {
    type Item = Result<axum::body::Bytes, axum::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let first = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let head: &[u8] = b"--b\r\nContent-Disposition: form-data; name=\"columns\"\r\n\r\n";
        let chunk = match self.0.checked_sub(1) {
            None => return std::task::Poll::Ready(None),
            Some(left) => {
                self.0 = left;
                if first && self.2 == b"x" { head.to_vec() } else { self.2.repeat(65_536) }
            }
        };
        std::task::Poll::Ready(Some(Ok(chunk.into())))
    }
}

/// However fast a body comes, no more of it is in memory than a chunk and what waits for the disk.
#[test]
fn a_body_that_is_always_there_is_not_taken_in_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (spool, mut set) = (tempfile::tempdir().unwrap(), set(""));
    set.max_bytes = Some(1 << 20);
    for (piece, code) in
        [(&b"x"[..], "too-large"), (b"a: ", "multipart"), (b"--b\r\na:", "multipart")]
    {
        let taken = Arc::default();
        let body = axum::body::Body::from_stream(Always(2_000, Arc::clone(&taken), piece));
        let request = Request::builder()
            .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(body)
            .unwrap();
        let refused = runtime.block_on(spool::receive(request, &set, spool.path())).unwrap_err();
        assert_eq!(refused.1, code, "{}", refused.2);
        let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
        let most = (1 << 20) / (65_536 * piece.len() as u64) + 3;
        assert!(taken <= most, "{taken} of 2,000 chunks were taken in, not {most}: {code}");
    }
}

/// Multipart bodies as nobody should send them.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"--b\r\n".to_vec()),
        Just(b"--b--\r\n".to_vec()),
        Just(b"--b".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"Content-Disposition: form-data; name=\"columns\"; filename=\"c.csv\"\r\n".to_vec()),
        Just(b"Content-Disposition: form-data; name=\"namespaces\"\r\n\r\n".to_vec()),
        Just(b"Content-Disposition: form-data\r\n\r\n".to_vec()),
        Just(b"Content-Type: text/csv; charset=\"\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: base64\r\n".to_vec()),
        Just(NAMESPACES.as_bytes().to_vec()),
        Just(COLUMNS.as_bytes().to_vec()),
        Just(b"\x1f\x8b\x08\x00\x00".to_vec()),
        Just(b"\"".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let pieces = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    let whole = (any::<Vec<u8>>(), any::<Vec<u8>>())
        .prop_map(|(a, b)| body(&[("columns", "c.csv", &a), ("namespaces", "n.csv", &b)]));
    prop_oneof![pieces, whole]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    /// Whatever comes, it is an upload or a refusal, and nothing is kept of what is refused.
    #[test]
    fn hostile_bodies_are_refused(body in hostile(), limit in 1..2_000_u64) {
        thread_local! {
            static RUNTIME: tokio::runtime::Runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            static SPOOL: tempfile::TempDir = tempfile::tempdir().unwrap();
        }
        let mut set = set("");
        set.max_bytes = Some(limit);
        let request = Request::builder()
            .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(axum::body::Body::from(body))
            .unwrap();
        let given = RUNTIME.with(|runtime| SPOOL.with(|spool| runtime.block_on(async {
            spool::receive(request, &set, spool.path()).await
        })));
        if let Ok(given) = given {
            prop_assert!(given.len() <= set.files.len());
            if let Ok(upload) = Upload::of(&set, given) {
                let log = memory_log();
                let shared: Arc<dyn Log> = log.clone();
                let loaded = Loader::new(shared, &set, Arc::new(|| Micros(1))).load(&upload, &mut || true);
                let (rows, dead) = (rows(&*log).len() as u64, dead(&*log).len() as u64);
                match loaded {
                    Ok(Loaded { report, .. }) => {
                        prop_assert_eq!((rows, dead), (report.events + 2, report.dead_letters));
                        prop_assert_eq!(report.rows, rows - 2 + dead + report.blank);
                    }
                    Err(_) => prop_assert_eq!((rows, dead), (0, 0)),
                }
            }
        }
    }
}
