//! Certificates that nobody but a test trusts: an authority, and those that it has signed for 127.0.0.1.

#![allow(clippy::unwrap_used, reason = "a test that cannot have its certificates has failed")]

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use std::path::{Path, PathBuf};

/// A key and a certificate for it.
#[derive(Debug)]
pub struct Identity {
    /// The key.
    pub key: PKey<Private>,
    /// The certificate.
    pub certificate: X509,
}

impl Identity {
    /// One that signs itself and may sign others.
    pub fn authority(name: &str) -> Identity {
        Identity::new(name, None)
    }

    /// One that the authority has signed, at 127.0.0.1.
    pub fn signed(&self, name: &str) -> Identity {
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
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf, PathBuf) {
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
