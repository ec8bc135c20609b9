//! Whom to believe: the file's authorities, or the machine's own when it names none.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::fault::KubeconfigFault;
use crate::identity::Identity;

// Go crypto/x509 root_linux.go certFiles: where distributions keep one bundle of public authorities.
const MACHINE_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(crate) fn client_config(
    authority: Option<Vec<u8>>,
    identity: Arc<Identity>,
) -> Result<ClientConfig, KubeconfigFault> {
    let roots = match authority {
        Some(pem) => bundle(&pem)?,
        None => bundle(&machine_bundle()?)?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| KubeconfigFault::Material {
            field: "server",
            why: e.to_string(),
        })?
        .with_root_certificates(roots)
        .with_client_cert_resolver(identity);
    Ok(config)
}

pub(crate) fn server_name(server: &http::Uri, written: Option<String>) -> Result<ServerName<'static>, KubeconfigFault> {
    let https = server.scheme() == Some(&http::uri::Scheme::HTTPS);
    let plain = server.query().is_none() && !server.authority().is_some_and(|a| a.as_str().contains('@'));
    let Some(host) = server.host().filter(|_| https && plain) else {
        return Err(KubeconfigFault::Server(server.to_string()));
    };
    let name = written.unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']').to_owned());
    ServerName::try_from(name.clone()).map_err(|_| KubeconfigFault::ServerName(name))
}

fn bundle(pem: &[u8]) -> Result<RootCertStore, KubeconfigFault> {
    let bad = |why: String| KubeconfigFault::Material {
        field: "certificate-authority",
        why,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| bad(e.to_string()))?;
        // One authority that webpki cannot use does not spoil the others, as in Go's AppendCertsFromPEM.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        Err(bad("it holds no usable PEM certificate".into()))
    } else {
        Ok(roots)
    }
}

fn machine_bundle() -> Result<Vec<u8>, KubeconfigFault> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let places = named.as_deref().into_iter().chain(MACHINE_BUNDLES);
    places
        .filter_map(|place| std::fs::read(place).ok())
        .next()
        .ok_or_else(|| KubeconfigFault::Material {
            field: "certificate-authority",
            why: "it names none, and this machine has no bundle of public authorities".into(),
        })
}
