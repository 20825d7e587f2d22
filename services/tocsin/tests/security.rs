//! Kafka over TLS and with a login, a database with a login, a registry over TLS: whoever says the right
//! things in `tocsin.toml` is let in and does the whole work; everybody else is told what to correct.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

mod support;

use openssl::ssl::{SslAcceptor, SslMethod};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use support::cluster::{Process, run};
use support::said::{self, Said};
use support::{WALK, tocsin, until};
use tocsin_testkit::certificates::Identity;
use tocsin_testkit::servers::{Kind, Private, unique};

/// Where a broker listens besides, as it names it.
const LISTENERS: [&str; 3] = ["SSL", "SASL_SSL", "SASL_PLAINTEXT"];

const RULES: &str = r#"
[[detectors]]
name = "dusty"
kind = "threshold"
measure = "pm25"
raise_above = 55
clear_below = 45
"#;

/// Two servers that ask who is there, and what is needed to be let in.
struct World {
    ports: [u16; 3],
    database: Private,
    keyspace: String,
    _kafka: Private,
    // The last to go: servers that do not find their directory any more are not ended.
    directory: tempfile::TempDir,
}

impl World {
    fn start() -> World {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().to_owned();
        let authority = Identity::authority("authority");
        authority.write(&at, "ca");
        authority.signed("node").write(&at, "node");
        authority.signed("client").write(&at, "client");
        Identity::authority("somebody else").write(&at, "other");
        for (name, text) in [("secret", "ge heim\n"), ("wrong", "geheim"), ("cql", "cassandra")] {
            std::fs::write(at.join(name), text).unwrap();
        }
        std::fs::create_dir(at.join("incoming")).unwrap();
        let ports = free_ports();
        let (kafka, database) = std::thread::scope(|both| {
            let database = both.spawn(|| {
                let settings = "authenticator: PasswordAuthenticator\n";
                Private::start_with(Kind::Cql, &at.join("cql-server"), settings)
            });
            (broker(&at, ports), database.join().unwrap())
        });
        let keyspace = unique("security");
        World { directory, ports, database, keyspace, _kafka: kafka }
    }

    fn at(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the configuration: `log` are the keys of `[log]` for that listener, `store` more of `[store]`.
    fn configure(&self, listener: &str, log: &str, store: &str) {
        let which = LISTENERS.iter().position(|name| *name == listener).unwrap();
        let (port, protocol) = (self.ports[which], listener.to_lowercase());
        let (database, keyspace) = (self.database.address(), &self.keyspace);
        let text = format!(
            r#"
[log]
kind = "kafka"
bootstrap = "127.0.0.1:{port}"
security_protocol = "{protocol}"
replication_factor = 1
transaction_timeout = "4s"
session_timeout = "6s"
{log}
[store]
kind = "cql"
contact_points = "{database}"
keyspace = "{keyspace}"
dialect = "cassandra"
{store}
{WALK}{RULES}"#
        );
        std::fs::write(self.at().join("tocsin.toml"), text).unwrap();
    }

    /// `tocsin` with these words, trusting what the machine trusts, or `authorities` instead.
    fn tocsin(&self, words: &[&str], authorities: Option<&str>) -> Said {
        let mut command = tocsin();
        command.args(words).arg("--config").arg(self.at().join("tocsin.toml"));
        command.env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE");
        if let Some(name) = authorities {
            command.env("SSL_CERT_FILE", self.at().join(name));
        }
        said::run(&mut command)
    }
}

/// Ports that nobody has; below those that the system gives to outgoing connections.
fn free_ports() -> [u16; 3] {
    let from = 30_001 + (std::process::id() % 2000) as u16;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let found: Vec<u16> = (from..32_768).filter(free).take(3).collect();
    found.try_into().unwrap()
}

fn broker(at: &Path, ports: [u16; 3]) -> Private {
    let more = |port| format!("PLAINTEXT://127.0.0.1:@PORT@{port}");
    let secure: String = LISTENERS
        .iter()
        .zip(ports)
        .map(|(name, port)| format!(",{name}://127.0.0.1:{port}"))
        .collect();
    let protocols: String = LISTENERS.iter().map(|name| format!(",{name}:{name}")).collect();
    let module = "org.apache.kafka.common.security";
    let logins: String = ["sasl_ssl", "sasl_plaintext"]
        .iter()
        .map(|name| {
            format!(
                "listener.name.{name}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_ada=\"ge heim\";\n\
                 listener.name.{name}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
                 listener.name.{name}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
            )
        })
        .collect();
    let (listeners, advertised) = (more(",CONTROLLER://127.0.0.1:@NEXT@"), more(""));
    let (node, ca) = (at.join("node.pem"), at.join("ca.crt"));
    let settings = format!(
        "listeners={listeners}{secure}\nadvertised.listeners={advertised}{secure}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n{logins}\
         ssl.keystore.type=PEM\nssl.keystore.location={}\n\
         ssl.truststore.type=PEM\nssl.truststore.location={}\n\
         listener.name.ssl.ssl.client.auth=required\n",
        node.display(),
        ca.display(),
    );
    let directory = at.join("kafka");
    std::fs::create_dir(&directory).unwrap();
    let users = [256, 512]
        .map(|bits| format!("--add-scram\nSCRAM-SHA-{bits}=[name=ada,password=ge heim]\n"));
    std::fs::write(directory.join("kafka.format"), users.concat()).unwrap();
    Private::start_with(Kind::Kafka, &directory, &settings)
}

fn login(mechanism: &str, password_file: &str) -> String {
    format!(
        "sasl_mechanism = \"{mechanism}\"\nusername = \"ada\"\npassword_file = \"{password_file}\"\n"
    )
}

const CA: &str = "ca_file = \"ca.crt\"\n";
const IDENTITY: &str = "certificate_file = \"client.crt\"\nkey_file = \"client.key\"\n";
const DATABASE: &str = "username = \"cassandra\"\npassword_file = \"cql\"\n";

/// A wish is written in a transaction and read back, which needs every kind of client but a member.
fn is_let_in(world: &World, (listener, keys): (&str, &str), authorities: Option<&str>) {
    world.configure(listener, keys, DATABASE);
    let words = ["watch", "add", "--email", "ada@example.org", "--detector", "dusty"];
    let said = world.tocsin(&words, authorities);
    said.ended(0, &["watching: "]);
}

fn is_refused(world: &World, (listener, keys): (&str, &str), parts: &[&str]) {
    world.configure(listener, keys, DATABASE);
    let said = world.tocsin(&["topics", "check"], None).ended(3, parts);
    let all = format!("{}{}", said.out, said.err);
    assert!(!all.contains("geheim") && !all.contains("ge heim"), "{all}");
    eprintln!("{listener} {keys}: {}", said.err.lines().last().unwrap_or_default());
}

/// The services on a broker and a database that both want a login, from a row to a table.
fn the_whole_way(world: &World) {
    let at = world.at();
    let keys = format!("{CA}{}", login("scram-sha-512", "secret"));
    world.configure("SASL_SSL", &keys, DATABASE);
    run(at, &["projections", "migrate"]).unwrap();
    let services = ["detect", "project", "ingest"].map(|name| Process::service(at, name, 0));
    until("every service has its partitions", || services.iter().all(Process::is_ready));
    let rows = "station,time,value\nMarket,2024-03-01T07:00:00Z,80\n";
    std::fs::write(at.join("incoming/a.csv"), rows).unwrap();
    until("the alert is in its table", || {
        let verified = run(at, &["projections", "verify"]);
        verified.is_ok_and(|text| text.contains("alerts_by_id: 1 rows, 0 differ"))
    });
    for service in services {
        assert_eq!(service.terminate(), Some(0));
    }
}

#[test]
fn whoever_is_trusted_does_the_whole_work_and_everybody_else_is_told_what_to_correct() {
    let world = World::start();
    let secret = |mechanism| login(mechanism, "secret");
    let (plain, scram) = (secret("plain"), secret("scram-sha-512"));
    world.configure("SASL_PLAINTEXT", &plain, DATABASE);
    run(world.at(), &["topics", "apply", "--yes"]).unwrap();

    is_let_in(&world, ("SSL", &format!("{CA}{IDENTITY}")), None);
    is_let_in(&world, ("SASL_PLAINTEXT", &secret("scram-sha-256")), None);
    is_let_in(&world, ("SASL_SSL", &format!("{CA}{plain}")), None);
    // Nobody is named, so those are trusted whom the machine trusts.
    is_let_in(&world, ("SASL_SSL", &scram), Some("ca.crt"));
    the_whole_way(&world);

    let wrong = |mechanism| login(mechanism, "wrong");
    let (user, ca) = ("`username` and `password_file` in [log]", "`ca_file` in [log]");
    is_refused(&world, ("SASL_PLAINTEXT", &wrong("plain")), &[user]);
    is_refused(&world, ("SASL_SSL", &format!("{CA}{}", wrong("scram-sha-512"))), &[user]);
    is_refused(&world, ("SASL_SSL", &scram), &["certificate", ca]);
    is_refused(&world, ("SASL_SSL", &format!("ca_file = \"other.crt\"\n{scram}")), &[ca]);
    is_refused(&world, ("SASL_SSL", &format!("ca_file = \"none.crt\"\n{scram}")), &["none.crt"]);
    is_refused(&world, ("SSL", CA), &["`certificate_file` and `key_file`"]);

    let log = format!("{CA}{scram}");
    for (store, wanted) in [
        (
            "username = \"cassandra\"\npassword_file = \"wrong\"",
            "see `username` and `password_file`",
        ),
        ("", "say `username` and `password_file` in [store]"),
    ] {
        world.configure("SASL_SSL", &log, store);
        let said = world.tocsin(&["projections", "migrate"], None).ended(4, &[wanted]);
        eprintln!("[store] {store}: {}", said.err.lines().last().unwrap_or_default());
    }
}

/// A registry that knows of no subject, behind TLS.
fn registry(identity: &Identity) -> String {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&identity.key).unwrap();
    acceptor.set_certificate(&identity.certificate).unwrap();
    let (acceptor, listener) = (acceptor.build(), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(stream) = acceptor.accept(stream) else { continue };
            let mut reader = BufReader::new(stream);
            let head = reader.by_ref().lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).count();
            let body = r#"{"error_code": 40401, "message": "no such subject"}"#;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 404 No\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_registry_over_tls_must_be_one_that_the_machine_trusts() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let authority = Identity::authority("authority");
    let (ca, _, _) = authority.write(at, "ca");
    let url = registry(&authority.signed("registry"));
    let check = |authorities: Option<&Path>| {
        let mut command = tocsin();
        command.args(["schema", "check", "--registry", &url]);
        command.env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE");
        if let Some(path) = authorities {
            command.env("SSL_CERT_FILE", path);
        }
        said::run(&mut command)
    };
    check(Some(&ca)).ended(5, &["not registered"]);
    check(None).ended(4, &[&url, "UnknownIssuer"]);
}
