//! TLS to a CQL database that wants it, and a certificate of its clients as well: who is let in, and
//! what everybody else is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private as Secret};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use std::io::copy;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use tocsin_store::cql::Tls;
use tocsin_store::{CqlOptions, CqlStore, Store};
use tocsin_testkit::servers::{Kind, Private};
use tocsin_testkit::store_suite::{PRICES, price};

/// A key and a certificate for it.
struct Identity {
    key: PKey<Secret>,
    certificate: X509,
}

impl Identity {
    /// One that signs itself and may sign others.
    fn authority(name: &str) -> Identity {
        Identity::new(name, None)
    }

    /// One that the authority has signed, at 127.0.0.1.
    fn signed(&self, name: &str) -> Identity {
        Identity::new(name, Some(self))
    }

    fn new(name: &str, authority: Option<&Identity>) -> Identity {
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut made = X509Builder::new().unwrap();
        made.set_version(2).unwrap();
        let serial: u32 = name.bytes().map(u32::from).sum();
        made.set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap())
            .unwrap();
        made.set_subject_name(&subject).unwrap();
        made.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        made.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
        made.set_pubkey(&key).unwrap();
        match authority {
            None => {
                made.set_issuer_name(&subject).unwrap();
                let signs = BasicConstraints::new().critical().ca().build().unwrap();
                made.append_extension(signs).unwrap();
            }
            Some(authority) => {
                made.set_issuer_name(authority.certificate.subject_name()).unwrap();
                let context = made.x509v3_context(Some(&authority.certificate), None);
                let place = SubjectAlternativeName::new().ip("127.0.0.1").build(&context).unwrap();
                made.append_extension(place).unwrap();
            }
        }
        let by = authority.map_or(&key, |authority| &authority.key);
        made.sign(by, MessageDigest::sha256()).unwrap();
        Identity { certificate: made.build(), key }
    }

    /// Writes certificate and key, and both together, in PEM form.
    fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf, PathBuf) {
        let certificate = self.certificate.to_pem().unwrap();
        let key = self.key.private_key_to_pem_pkcs8().unwrap();
        let file = |end: &str, bytes: &[u8]| {
            let path = directory.join(format!("{name}.{end}"));
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let both = [key.clone(), certificate.clone()].concat();
        (file("crt", &certificate), file("key", &key), file("pem", &both))
    }
}

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
