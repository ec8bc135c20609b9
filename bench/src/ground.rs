//! What everybody stands on: one authority, one certificate, one issuer with its key, one token of 848 bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};

pub(crate) const AUDIENCE: &str = "bench";
pub(crate) const SUBJECT: &str = "coder";
/// The agent's namespace: everything that is asked for lies in it.
pub(crate) const NAMESPACE: &str = "bench";
/// As long as the tokens of a large identity provider are.
const TOKEN: usize = 848;

/// Files and secrets of one run.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) dir: PathBuf,
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    rsa: RsaKeyPair,
}

impl Ground {
    /// Makes the folder anew.
    pub(crate) fn lay(dir: &Path) -> Result<Self> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => fs::create_dir_all(dir)?,
        }
        let ground = Self {
            authority: dir.join("ca.crt"),
            certificate: dir.join("server.crt"),
            key: dir.join("server.key"),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key could be made"))?,
            dir: dir.to_owned(),
        };
        ground.certify()?;
        Ok(ground)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
        Ok(path)
    }

    /// ECDSA P-256 for the server; the authority's key is forgotten.
    fn certify(&self) -> Result<()> {
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "bench authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_certificate = authority.self_signed(&authority_key)?;
        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "bench");
        let certificate = server.signed_by(&key, &Issuer::from_params(&authority, &authority_key))?;
        fs::write(&self.authority, authority_certificate.pem())?;
        fs::write(&self.certificate, certificate.pem())?;
        fs::write(&self.key, key.serialize_pem())?;
        Ok(())
    }

    /// TLS 1.3, AES-128-GCM, X25519: what every peer is told as well.
    fn provider() -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider {
            cipher_suites: vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![provider::kx_group::X25519],
            ..provider::default_provider()
        })
    }

    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>> {
        let chain = vec![CertificateDer::from_pem_file(&self.certificate)?];
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let mut config = ServerConfig::builder_with_provider(Self::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    pub(crate) fn client(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority)?)?;
        let mut config = ClientConfig::builder_with_provider(Self::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }

    pub(crate) fn jwks(&self) -> Value {
        let public = self.rsa.public_key();
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench-1",
            "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        }]})
    }

    /// Good for a day, padded to its length.
    pub(crate) fn token(&self, issuer: &str) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"bench-1","typ":"JWT"}"#);
        let claims = |padding: usize| {
            let claims = json!({
                "iss": issuer, "sub": SUBJECT, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 86_400,
                "groups": ["team-bench", "developers"], "jti": "a".repeat(padding),
            });
            URL_SAFE_NO_PAD.encode(claims.to_string())
        };
        // The signature of a key of 2048 bits is 342 characters long.
        let padding = (0..TOKEN).find(|padding| head.len() + 1 + claims(*padding).len() + 1 + 342 == TOKEN);
        let signed = format!(
            "{head}.{}",
            claims(padding.context("no padding makes the token that long")?)
        );
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| anyhow!("the token cannot be signed"))?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        ensure!(token.len() == TOKEN, "the token has {} bytes", token.len());
        Ok(token)
    }
}
