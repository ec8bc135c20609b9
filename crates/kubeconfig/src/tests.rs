//! Kubeconfigs as people have them, and what of them is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::*;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mantlet-kubeconfig-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn authority(folder: &Folder) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    folder.write("ca.crt", &cert.pem());
    (cert.pem(), key.serialize_pem())
}

fn kubeconfig(folder: &Folder, cluster: &[(&str, &str)], user: &str) -> PathBuf {
    let mut fields = BTreeMap::from([
        ("server", "https://127.0.0.1:6443"),
        ("certificate-authority", "ca.crt"),
    ]);
    fields.extend(cluster.iter().copied());
    let cluster: String = fields.iter().map(|(k, v)| format!("    {k}: {v}\n")).collect();
    folder.write(
        "config",
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\nclusters:\n- name: c\n  cluster:\n{cluster}contexts:\n\
             - name: here\n  context: {{ cluster: c, user: u }}\nusers:\n- name: u\n  user: {user}\n"
        ),
    )
}

async fn from(path: &Path) -> Result<Credential, KubeconfigFault> {
    load(Source::File {
        path: path.to_owned(),
        context: None,
    })
    .await
}

async fn refusal(path: &Path) -> String {
    from(path).await.map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_fixed_token_and_a_relative_authority_are_read() {
    let folder = Folder::new("fixed");
    authority(&folder);
    let path = kubeconfig(
        &folder,
        &[("server", "https://[::1]:6443/clusters/prod/")],
        "{ token: abc.def }",
    );
    let credential = from(&path).await.unwrap();
    assert_eq!(
        (credential.host(), credential.port(), credential.path_prefix()),
        ("::1", 6443, "/clusters/prod")
    );
    let header = credential.authorization().await.unwrap().unwrap();
    assert_eq!(header.expose_secret(), "Bearer abc.def");
}

#[tokio::test]
async fn what_weakens_the_connection_is_refused_by_name() {
    let folder = Folder::new("weak");
    authority(&folder);
    let token = "{ token: abc }";
    let skip = kubeconfig(&folder, &[("insecure-skip-tls-verify", "true")], token);
    assert!(refusal(&skip).await.contains("`insecure-skip-tls-verify`"));
    let proxy = kubeconfig(&folder, &[("proxy-url", "http://10.0.0.1:3128")], token);
    assert!(refusal(&proxy).await.contains("`proxy-url`"));
    let plain = kubeconfig(&folder, &[("server", "http://127.0.0.1:8080")], token);
    assert!(refusal(&plain).await.contains("is not an https URL"));
    let acts_as = kubeconfig(&folder, &[], "{ token: abc, as: somebody }");
    assert!(refusal(&acts_as).await.contains("`as`"));
    let password = kubeconfig(&folder, &[], "{ username: a, password: b }");
    assert!(refusal(&password).await.contains("`username`"));
}

#[tokio::test]
async fn a_token_that_could_break_out_of_the_header_is_refused_and_not_shown() {
    let folder = Folder::new("header");
    authority(&folder);
    let path = kubeconfig(&folder, &[], "{ token: \"hunter2\\r\\nX-Remote-User: admin\" }");
    let text = refusal(&path).await;
    assert!(
        text.contains("not a bearer token") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_certificate_must_fit_its_key() {
    let folder = Folder::new("pair");
    let (cert, key) = authority(&folder);
    folder.write("tls.crt", &cert);
    folder.write("tls.key", &key);
    let user = "{ client-certificate: tls.crt, client-key: tls.key }";
    let path = kubeconfig(&folder, &[], user);
    let credential = from(&path).await.unwrap();
    assert!(credential.tls().client_auth_cert_resolver.has_certs());
    folder.write("tls.key", &rcgen::KeyPair::generate().unwrap().serialize_pem());
    assert!(refusal(&path).await.contains("`client-key`"));
}

#[tokio::test]
async fn a_plugin_is_asked_again_only_when_its_token_ends_or_was_refused() {
    let folder = Folder::new("plugin");
    authority(&folder);
    let script = folder.write(
        "plugin",
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"; echo run >> runs; n=$(wc -l < runs | tr -d ' ')\n\
         echo \"$KUBERNETES_EXEC_INFO\" > info\n\
         echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\
         \"status\":{\"token\":\"t'$n'\",\"expirationTimestamp\":\"2999-01-01T00:00:00Z\"}}'\n",
    );
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = "{ exec: { apiVersion: client.authentication.k8s.io/v1, command: ./plugin, provideClusterInfo: true } }";
    let credential = from(&kubeconfig(&folder, &[], user)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            credential.authorization().await.unwrap().unwrap().expose_secret(),
            "Bearer t1"
        );
    }
    credential.was_refused().await;
    assert_eq!(
        credential.authorization().await.unwrap().unwrap().expose_secret(),
        "Bearer t2"
    );
    let info: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.0.join("info")).unwrap()).unwrap();
    assert_eq!(info["spec"]["interactive"], false);
    assert_eq!(info["spec"]["cluster"]["server"], "https://127.0.0.1:6443");
}

#[tokio::test]
async fn a_plugin_that_fails_is_named_with_what_it_said() {
    let folder = Folder::new("failing");
    authority(&folder);
    let user = "{ exec: { apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, \
                args: [-c, 'echo secret-token; echo sign in first >&2; exit 3'] } }";
    let text = refusal(&kubeconfig(&folder, &[], user)).await;
    assert!(
        text.contains("`/bin/sh` failed") && text.contains("sign in first"),
        "{text}"
    );
    assert!(!text.contains("secret-token"), "{text}");
}

#[tokio::test]
async fn a_missing_context_is_named() {
    let folder = Folder::new("context");
    authority(&folder);
    let path = kubeconfig(&folder, &[], "{ token: abc }");
    let fault = load(Source::File {
        path,
        context: Some("there".into()),
    })
    .await
    .map(|_| ())
    .unwrap_err();
    assert_eq!(fault.to_string(), "the kubeconfig has no `context` named `there`");
}
