//! TLS to a CQL database that wants it, and a certificate of its clients as well: who is let in, and
//! what everybody else is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

use std::io::copy;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use tocsin_store::cql::Tls;
use tocsin_store::{CqlOptions, CqlStore, Store};
use tocsin_testkit::certificates::Identity;
use tocsin_testkit::servers::{Kind, Private};
use tocsin_testkit::store_suite::{PRICES, price};

/// The same server at 127.0.0.2, which its certificate does not name.
fn elsewhere(address: &str) -> String {
    // With the same port, because the driver takes the port for that of all nodes.
    let here = address.replace("127.0.0.1", "127.0.0.2");
    let (listener, address) = (TcpListener::bind(&here).unwrap(), address.to_owned());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&address).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || {
                    let _ = copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    here
}

fn open(address: &str, tls: Option<Tls>) -> Result<CqlStore, String> {
    let options = CqlOptions { tls, ..CqlOptions::new(address, "tocsin") };
    CqlStore::open(&options).map_err(|error| error.to_string())
}

#[test]
fn who_is_trusted_reads_and_writes_and_everybody_else_is_told_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let authority = Identity::authority("authority");
    let (ca, _, _) = authority.write(at, "authority");
    let (other, _, _) = Identity::authority("somebody else").write(at, "other");
    let (_, _, node) = authority.signed("node").write(at, "node");
    let (certificate, key, _) = authority.signed("client").write(at, "client");
    let settings = format!(
        "client_encryption_options:\n  enabled: true\n  optional: false\n  require_client_auth: true\n  \
         ssl_context_factory:\n    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory\n  \
         keystore: {}\n  truststore: {}\n",
        node.display(),
        ca.display(),
    );
    let server = Private::start_with(Kind::Cql, &at.join("server"), &settings);
    let tls = |ca: &Path| Tls {
        ca: ca.to_owned(),
        identity: Some((certificate.clone(), key.clone())),
        verify_address: true,
    };

    let store = open(server.address(), Some(tls(&ca))).unwrap();
    store.create(&[&PRICES]).unwrap();
    store.apply(&[price(("shop", 1, "x"), "1", 1)]).unwrap();
    assert_eq!(store.dump(&PRICES).unwrap().len(), 1);

    let there = elsewhere(server.address());
    let anywhere = Tls { verify_address: false, ..tls(&ca) };
    assert_eq!(open(&there, Some(anywhere)).unwrap().dump(&PRICES).unwrap().len(), 1);

    let nobody = Tls { identity: None, ..tls(&ca) };
    let no_file = tls(&at.join("none.pem"));
    let key_as_ca = tls(&key);
    let mixed = Tls { identity: Some((certificate.clone(), at.join("node.key"))), ..tls(&ca) };
    for (what, address, tls, wanted) in [
        (
            "a node that is not trusted",
            server.address(),
            Some(tls(&other)),
            "unable to get local issuer certificate",
        ),
        ("a node at another address", &there, Some(tls(&ca)), "IP address mismatch"),
        ("no certificate", server.address(), Some(nobody), "say `certificate_file` and `key_file`"),
        ("no TLS", server.address(), None, "say `tls = true`"),
        ("no file of authorities", server.address(), Some(no_file), "none.pem: No such file"),
        ("a file without authorities", server.address(), Some(key_as_ca), "no certificate in it"),
        ("somebody else's key", server.address(), Some(mixed), "node.key: "),
    ] {
        let told = open(address, tls).map(|_| ()).unwrap_err();
        assert!(told.contains(wanted), "{what}: {wanted:?} is not in {told}");
        eprintln!("{what}: {told}");
    }
}
