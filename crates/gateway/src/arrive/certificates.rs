//! The certificate that clients are shown: one for every name, and another from the next handshake on once it is replaced.
//! A connection that is open lives on with the one that it began with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Shared by the listener, which shows it, and by whoever reloads the files.
#[derive(Debug)]
pub struct Certificates {
    now: ArcSwap<CertifiedKey>,
}

impl Certificates {
    pub fn new(certified: Arc<CertifiedKey>) -> Self {
        Self {
            now: ArcSwap::new(certified),
        }
    }

    /// Every handshake that begins from here on is shown `certified`. That key and certificate belong together, its maker has seen to.
    pub fn replace(&self, certified: Arc<CertifiedKey>) {
        self.now.store(certified);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.load_full())
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_rustls::{TlsConnector, client, server};

    use super::*;
    use crate::arrive::accept::tls;

    fn made() -> (Arc<CertifiedKey>, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(["gate.test".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(vec![certificate.clone()], key, &provider).unwrap();
        (Arc::new(certified), certificate)
    }

    type Ends = (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

    async fn shake(acceptor: &tokio_rustls::TlsAcceptor, trusted: &[&CertificateDer<'static>]) -> Ends {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in trusted {
            roots.add((*certificate).clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("gate.test").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        (client.unwrap(), server.unwrap())
    }

    fn shown(client: &client::TlsStream<DuplexStream>) -> CertificateDer<'static> {
        client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    #[tokio::test]
    async fn a_new_handshake_gets_the_new_certificate_and_an_open_connection_lives_on() {
        let ((old, old_certificate), (new, new_certificate)) = (made(), made());
        let certificates = Arc::new(Certificates::new(old));
        let acceptor = tls(certificates.clone()).unwrap();
        let trusted = [&old_certificate, &new_certificate];
        let (mut client, mut server) = shake(&acceptor, &trusted).await;
        assert_eq!(shown(&client), old_certificate);

        certificates.replace(new);

        client.write_all(b"still here").await.unwrap();
        client.flush().await.unwrap();
        let mut said = [0; 10];
        server.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"still here");
        let (client, _server) = shake(&acceptor, &trusted).await;
        assert_eq!(shown(&client), new_certificate);
    }
}
