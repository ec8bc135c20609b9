//! The certificate that clients see.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A certificate chain and the key that belongs to it, and the files they came from (which may change).
#[derive(Debug, Clone)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub certified: Arc<CertifiedKey>,
}

/// Which of the two files is no good, and why.
#[derive(Debug)]
pub(crate) enum TlsFault {
    Certificate(String),
    Key(String),
}

impl Tls {
    pub(crate) fn read(cert_file: &Path, key_file: &Path) -> Result<Self, TlsFault> {
        let unreadable = |path: &Path, e: std::io::Error| format!("cannot read `{}`: {e}", path.display());
        let chain = std::fs::read(cert_file).map_err(|e| TlsFault::Certificate(unreadable(cert_file, e)))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<_, _>>()
            .map_err(|e| TlsFault::Certificate(format!("`{}` is not PEM: {e}", cert_file.display())))?;
        if chain.is_empty() {
            return Err(TlsFault::Certificate(format!(
                "`{}` holds no certificate",
                cert_file.display()
            )));
        }
        let key = std::fs::read(key_file).map_err(|e| TlsFault::Key(unreadable(key_file, e)))?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|e| TlsFault::Key(format!("`{}` holds no key: {e}", key_file.display())))?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|e| {
            TlsFault::Key(format!(
                "`{}` is not the key of the certificate: {e}",
                key_file.display()
            ))
        })?;
        Ok(Self {
            cert_file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            certified: Arc::new(certified),
        })
    }

    /// The same files as they are now; the text says what is wrong with them.
    pub fn read_again(&self) -> Result<Self, String> {
        Self::read(&self.cert_file, &self.key_file).map_err(|fault| match fault {
            TlsFault::Certificate(why) | TlsFault::Key(why) => why,
        })
    }
}
