//! The certificate of a local gateway: an authority of its own for this machine's loopback names, and nothing else.
//!
//! In: the data directory, the time. Out: [`Certificates`], three PEM files there.
//! Refuses: a private key that others may read.
//! The authority's private key is thrown away once it has signed: whoever trusts `ca.crt` trusts exactly one server key. So both are
//! made anew together, and kubeconfigs that hold `ca.crt` are to be written at every start.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mantlet_core::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{RootCertStore, ServerConfig};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LIFE: Duration = DAY.saturating_mul(365);
/// Made anew once less than this is left.
const RENEW: Duration = DAY.saturating_mul(30);

/// The names that a client on this machine may call the gateway by.
const NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// Where the PEM files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// What clients trust.
    pub authority: PathBuf,
    /// What the server shows.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8, 0600.
    pub key: PathBuf,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    #[error("cannot write `{}`: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("cannot use `{}`: {error}", path.display())]
    Read { path: PathBuf, error: String },
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("others may read `{}`\nhint: remove the file, it is made anew at the next start", .0.display())]
    Exposed(PathBuf),
}

impl Certificates {
    /// Those of the last start if they still serve, new ones otherwise. `dir` must exist, 0700.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self, CertificateFault> {
        let certificates = Self {
            authority: dir.join("ca.crt"),
            certificate: dir.join("server.crt"),
            key: dir.join("server.key"),
        };
        check_private(&certificates.key)?;
        if !certificates.serve_until(now.after(RENEW)) {
            certificates.make(now)?;
        }
        Ok(certificates)
    }

    /// For a listener that shows this certificate. `protocols` as in ALPN, best first.
    pub fn server_config(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, CertificateFault> {
        let read = |path: &PathBuf, error: String| CertificateFault::Read {
            path: path.clone(),
            error,
        };
        let certificate =
            CertificateDer::from_pem_file(&self.certificate).map_err(|e| read(&self.certificate, e.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| read(&self.key, e.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate], key))
            .map_err(|error| read(&self.certificate, error.to_string()))?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// Asks what a client would ask: does the certificate hold for each name at that time, and is the key its own.
    fn serve_until(&self, end: Timestamp) -> bool {
        let check = || -> Option<()> {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(&self.authority).ok()?).ok()?;
            let certificate = CertificateDer::from_pem_file(&self.certificate).ok()?;
            let key = PrivateKeyDer::from_pem_file(&self.key).ok()?;
            let provider = Arc::new(default_provider());
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .ok()?;
            let end = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(end.seconds()).ok()?));
            for name in NAMES {
                let name = ServerName::try_from(name).ok()?;
                verifier.verify_server_cert(&certificate, &[], &name, &[], end).ok()?;
            }
            rustls::sign::CertifiedKey::from_der(vec![certificate], key, &provider)
                .ok()?
                .keys_match()
                .ok()
        };
        check().is_some()
    }

    /// The key goes last: whatever a crash leaves behind does not fit together and is made anew.
    fn make(&self, now: Timestamp) -> Result<(), CertificateFault> {
        let authority_key = KeyPair::generate()?;
        let authority_params = authority(now)?;
        let authority = authority_params.self_signed(&authority_key)?;
        let server_key = KeyPair::generate()?;
        let issuer = Issuer::from_params(&authority_params, &authority_key);
        let server = server(now)?.signed_by(&server_key, &issuer)?;
        write_private(&self.authority, authority.pem().as_bytes())?;
        write_private(&self.certificate, server.pem().as_bytes())?;
        write_private(&self.key, server_key.serialize_pem().as_bytes())
    }
}

/// RFC 5280 §4.2.1.10: even a stolen key of this authority could sign for nothing but loopback.
fn authority(now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = valid(CertificateParams::new(Vec::new())?, now);
    params
        .distinguished_name
        .push(DnType::CommonName, "mantlet dev authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".into()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(Ipv6Addr::LOCALHOST.octets(), 128)),
        ],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn server(now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = valid(CertificateParams::new(Vec::new())?, now);
    params.distinguished_name.push(DnType::CommonName, "mantlet dev");
    params.subject_alt_names = vec![
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        SanType::DnsName("localhost".try_into()?),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// From a day ago, for clocks that were wrong at the start.
fn valid(mut params: CertificateParams, now: Timestamp) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = Duration::from_secs(u64::try_from(now.seconds()).unwrap_or(0));
    params.not_before = epoch + seconds - DAY;
    params.not_after = epoch + seconds + LIFE;
    params
}

/// A file that only its owner may read, whole or not at all. Shared with the issuer's key beside it.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CertificateFault> {
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> io::Result<()> {
        // What a process of the same id left behind when it was killed.
        let _ = std::fs::remove_file(&fresh);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&fresh);
        CertificateFault::Write {
            path: path.to_owned(),
            error,
        }
    })
}

/// A key that others could read may have been read. A missing one is no fault.
pub(super) fn check_private(path: &Path) -> Result<(), CertificateFault> {
    match std::fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => Err(CertificateFault::Exposed(path.to_owned())),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn certificates_last_until_they_are_near_their_end() {
        let dir = Scratch::new("ca-renew");
        let first = Certificates::open(dir.path(), NOW).unwrap();
        let read = |c: &Certificates| std::fs::read(&c.certificate).unwrap();
        let bytes = read(&first);
        assert!(first.serve_until(NOW.after(RENEW)));
        assert_eq!(
            read(&Certificates::open(dir.path(), NOW.after(DAY.saturating_mul(334))).unwrap()),
            bytes
        );
        let renewed = Certificates::open(dir.path(), NOW.after(DAY.saturating_mul(336))).unwrap();
        assert_ne!(read(&renewed), bytes);
        assert!(renewed.serve_until(NOW.after(DAY.saturating_mul(400))));
    }

    #[test]
    fn a_key_of_another_certificate_is_noticed() {
        let dir = Scratch::new("ca-mixed");
        let certificates = Certificates::open(dir.path(), NOW).unwrap();
        write_private(
            &certificates.key,
            KeyPair::generate().unwrap().serialize_pem().as_bytes(),
        )
        .unwrap();
        assert!(!certificates.serve_until(NOW));
        assert!(Certificates::open(dir.path(), NOW).unwrap().serve_until(NOW));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = Scratch::new("ca-exposed");
        let certificates = Certificates::open(dir.path(), NOW).unwrap();
        assert_eq!(
            std::fs::metadata(&certificates.key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::set_permissions(&certificates.key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            Certificates::open(dir.path(), NOW),
            Err(CertificateFault::Exposed(_))
        ));
    }

    use super::super::issuer::scratch::Scratch;
}
