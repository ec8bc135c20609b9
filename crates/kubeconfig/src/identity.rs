//! The client certificate, which an exec plugin may replace while connections are made.

use std::sync::{Arc, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret as _, SecretString};

use crate::fault::KubeconfigFault;

#[derive(Debug, Default)]
pub(crate) struct Identity(RwLock<Option<Arc<CertifiedKey>>>);

impl Identity {
    /// New connections show this chain (PEM) from now on; refuses a key that is not the chain's.
    pub(crate) fn show(&self, chain: &[u8], key: &SecretString) -> Result<(), KubeconfigFault> {
        let bad = |field, why: String| KubeconfigFault::Material { field, why };
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad("client-certificate", e.to_string()))?;
        if chain.is_empty() {
            return Err(bad("client-certificate", "it holds no PEM certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
            .map_err(|e| bad("client-key", e.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|e| bad("client-key", e.to_string()))?;
        *self.0.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(certified));
        Ok(())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn has_certs(&self) -> bool {
        self.0.read().unwrap_or_else(|e| e.into_inner()).is_some()
    }
}
