//! The way to a cluster that wants TLS: whom we trust, who we are. It trusts nobody but the
//! authorities that it is given.

use crate::store::StoreError;
use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod};
use openssl::ssl::{SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};
use scylla::client::session::TlsContext;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// How connections are encrypted, and who may be at their other end. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The authorities of which one must have signed a node's certificate.
    pub ca: PathBuf,
    /// Our certificate with its chain, and its key, if the cluster asks its clients for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the certificate of a node must name the IP address that the node is reached at.
    pub verify_address: bool,
}

/// What was wrong with the first certificate that was refused; the driver's errors do not say it.
pub(super) type Doubt = Arc<OnceLock<&'static str>>;

/// OpenSSL's `X509_V_ERR_IP_ADDRESS_MISMATCH`.
const OTHER_ADDRESS: i32 = 64;

impl Tls {
    /// What the driver needs for it; doubts go to `doubt`.
    ///
    /// # Errors
    /// A file that is not there or does not hold what it should.
    pub(super) fn context(&self, doubt: Doubt) -> Result<TlsContext, StoreError> {
        let connector = SslConnector::builder(SslMethod::tls_client());
        let mut connector = connector.map_err(|error| refused("start TLS", error))?;
        let trust = self.trust(&mut connector);
        trust.map_err(|reason| {
            refused(&format!("trust the authorities in {}", self.ca.display()), reason)
        })?;
        if let Some((certificate, key)) = &self.identity {
            identify(&mut connector, certificate, key).map_err(|error| {
                let files = format!("{} with the key {}", certificate.display(), key.display());
                refused(&format!("use the certificate {files}"), error)
            })?;
        }
        let any_address = !self.verify_address;
        connector.set_verify_callback(SslVerifyMode::PEER, move |fine, chain| {
            let found = chain.error();
            if !fine && any_address && found.as_raw() == OTHER_ADDRESS {
                chain.set_error(X509VerifyResult::OK);
                return true;
            }
            if !fine {
                doubt.get_or_init(|| found.error_string());
            }
            fine
        });
        Ok(connector.into())
    }

    fn trust(&self, connector: &mut SslConnectorBuilder) -> Result<(), String> {
        let text = std::fs::read(&self.ca).map_err(|error| error.to_string())?;
        let found = X509::stack_from_pem(&text).map_err(|error| error.to_string())?;
        if found.is_empty() {
            return Err("there is no certificate in it, in PEM form".to_owned());
        }
        let store = || {
            let mut store = X509StoreBuilder::new()?;
            found.into_iter().try_for_each(|certificate| store.add_cert(certificate))?;
            connector.set_cert_store(store.build());
            connector.set_min_proto_version(Some(SslVersion::TLS1_2))
        };
        store().map_err(|error: ErrorStack| error.to_string())
    }
}

fn identify(
    connector: &mut SslConnectorBuilder,
    certificate: &Path,
    key: &Path,
) -> Result<(), ErrorStack> {
    connector.set_certificate_chain_file(certificate)?;
    connector.set_private_key_file(key, SslFiletype::PEM)?;
    connector.check_private_key()
}

fn refused(doing: &str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Failed { doing: "open", reason: format!("cannot {doing}: {reason}") }
}
