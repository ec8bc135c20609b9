//! Against a gateway of three canned answers, through a real TLS connection and a real kubeconfig.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

struct Gateway {
    kubeconfig: PathBuf,
}

impl Gateway {
    /// Answers each request by the first entry whose text its request line contains.
    async fn start(name: &str, answers: &'static [(&'static str, u16, &'static str)]) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["127.0.0.1".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let mut tls = acceptor.accept(tcp).await.unwrap();
                let mut head = vec![0; 4096];
                let n = tls.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                assert!(head.contains("authorization: Bearer t-1"), "{head}");
                let line = head.lines().next().unwrap();
                let (_, status, body) = answers.iter().find(|(part, ..)| line.contains(part)).expect(line);
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                tls.write_all(answer.as_bytes()).await.unwrap();
                tls.shutdown().await.unwrap();
            }
        });
        let folder = std::env::temp_dir().join(format!("mantlet-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.crt"), cert.pem()).unwrap();
        let kubeconfig = folder.join("config");
        let text = format!(
            "current-context: c\nclusters: [{{ name: c, cluster: {{ server: 'https://127.0.0.1:{port}/clusters/dev', \
             certificate-authority: ca.crt }} }}]\ncontexts: [{{ name: c, context: {{ cluster: c, user: u }} }}]\n\
             users: [{{ name: u, user: {{ token: t-1 }} }}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        Self { kubeconfig }
    }

    async fn run(&self, words: &[&str]) -> (Result<(), Fault>, String) {
        use clap::Parser as _;
        let words = ["mantlet", "sessions"].iter().chain(words).copied();
        let words = words.chain(["--kubeconfig", self.kubeconfig.to_str().unwrap()]);
        let crate::args::Command::Sessions(args) = crate::args::Mantlet::parse_from(words).command else {
            panic!()
        };
        let mut out = Vec::new();
        let result = match args.command {
            SessionsCommand::List { output, cluster } => list(output, &cluster, &mut out).await,
            SessionsCommand::Show { name, output, cluster } => show(&name, output, &cluster, &mut out).await,
            SessionsCommand::End { name, cluster } => end(&name, &cluster, &mut out).await,
            SessionsCommand::Rebuild(_) => panic!("it does not go through a gateway"),
            SessionsCommand::Verify(_) | SessionsCommand::RotateKey(_) => panic!("it talks to nobody"),
        };
        (result, String::from_utf8(out).unwrap())
    }
}

impl Gateway {
    async fn run_agent(&self, words: &[&str]) -> (crate::Exit, String) {
        use clap::Parser as _;
        let words = ["mantlet", "agent"].iter().chain(words).copied();
        let words = words.chain(["--kubeconfig", self.kubeconfig.to_str().unwrap()]);
        let crate::args::Command::Agent(args) = crate::args::Mantlet::parse_from(words).command else {
            panic!()
        };
        let mut out = Vec::new();
        let exit = crate::agent::agent(args, &mut out).await;
        (exit, String::from_utf8(out).unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.kubeconfig.parent().unwrap());
    }
}

const PAGE_1: &str = r#"{"kind":"Table","metadata":{"resourceVersion":"7","continue":"a+b"},
    "columnDefinitions":[{"name":"Name"},{"name":"Agent"}],"rows":[{"cells":["s-1","coder"]}]}"#;
const PAGE_2: &str = r#"{"kind":"Table","metadata":{"resourceVersion":"7"},
    "columnDefinitions":[{"name":"Name"},{"name":"Agent"}],"rows":[{"cells":["s-2","coder"]}]}"#;

#[tokio::test]
async fn all_pages_of_a_list_stand_under_one_header() {
    let gateway = Gateway::start(
        "pages",
        &[
            (
                "/clusters/dev/apis/gate.mantlet.dev/v1alpha1/sessions?limit=500&continue=a%2Bb ",
                200,
                PAGE_2,
            ),
            (
                "/clusters/dev/apis/gate.mantlet.dev/v1alpha1/sessions?limit=500 ",
                200,
                PAGE_1,
            ),
        ],
    )
    .await;
    let (result, out) = gateway.run(&["list"]).await;
    result.unwrap();
    assert_eq!(out, "NAME   AGENT\ns-1    coder\ns-2    coder\n");
}

#[tokio::test]
async fn show_gives_session_and_events_as_one_list() {
    let gateway = Gateway::start(
        "show",
        &[
            ("/sessions/s-1 ", 200, r#"{"kind":"Session","metadata":{"name":"s-1"}}"#),
            (
                "/sessionevents?fieldSelector=spec.session%3Ds-1&",
                200,
                r#"{"metadata":{},"items":[{"kind":"SessionEvent"}]}"#,
            ),
        ],
    )
    .await;
    let (result, out) = gateway.run(&["show", "s-1", "-o", "json"]).await;
    result.unwrap();
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&list["items"][0]["kind"], &list["items"][1]["kind"]),
        (&json!("Session"), &json!("SessionEvent"))
    );
}

#[tokio::test]
async fn following_prints_what_is_added_until_the_server_says_why_it_ends() {
    const WATCH: &str = concat!(
        r#"{"type":"ADDED","object":{"kind":"Table","rows":[{"cells":["s-3","coder"],"object":{"metadata":{"resourceVersion":"8"}}}]}}"#,
        "\n",
        r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#,
        "\n"
    );
    let gateway = Gateway::start(
        "follow",
        &[
            ("watch=true&resourceVersion=7 ", 200, WATCH),
            ("/sessions?limit=500 ", 200, PAGE_2),
        ],
    )
    .await;
    let (result, out) = gateway.run(&["list", "-f"]).await;
    assert_eq!(out, "NAME   AGENT\ns-2    coder\ns-3    coder\n");
    assert_eq!(result.unwrap_err().to_string(), "too old");
}

#[tokio::test]
async fn the_end_of_a_command_is_told_by_its_exit_code() {
    const DENIED: &str = r#"{"kind":"Status","reason":"Forbidden","message":"not yours"}"#;
    let denied = Gateway::start("denied", &[("/sessions", 403, DENIED)]).await;
    let fault = denied.run(&["list"]).await.0.unwrap_err();
    assert_eq!((fault.to_string().as_str(), fault.exit()), ("not yours", Exit::Denied));

    let other = Gateway::start("other", &[("/", 404, "404 page not found")]).await;
    assert!(matches!(other.run(&["list"]).await.0, Err(Fault::NoGateway(_))));

    let signed_out = Gateway::start("signed-out", &[("/", 401, "{}")]).await;
    assert_eq!(signed_out.run(&["list"]).await.0.unwrap_err().exit(), Exit::NotSignedIn);

    assert_eq!(
        denied.run(&["show", "../secrets"]).await.0.unwrap_err().exit(),
        Exit::Usage
    );
}

const AGENTS: &str = r#"{"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Phase"},{"name":"By","priority":1}],
    "rows":[{"cells":["coder","Suspended","ops"]}]}"#;
const STAYS: &str = r#"{"kind":"Status","code":403,"reason":"Forbidden","message":"agent \"coder\" stays as it is"}"#;

#[tokio::test]
async fn an_agent_is_shown_and_stopped_and_what_the_gateway_refuses_is_an_exit_code() {
    let gateway = Gateway::start(
        "agents",
        &[
            (
                "POST /clusters/dev/apis/gate.mantlet.dev/v1alpha1/agents/coder/suspend ",
                201,
                "{}",
            ),
            (
                "POST /clusters/dev/apis/gate.mantlet.dev/v1alpha1/agents/coder/resume ",
                403,
                STAYS,
            ),
            (
                "POST /clusters/dev/apis/gate.mantlet.dev/v1alpha1/sessions/ses-1/end ",
                201,
                "{}",
            ),
            (
                "GET /clusters/dev/apis/gate.mantlet.dev/v1alpha1/agents/coder ",
                200,
                AGENTS,
            ),
            ("GET /clusters/dev/apis/gate.mantlet.dev/v1alpha1/agents ", 200, AGENTS),
        ],
    )
    .await;
    use crate::Exit;
    let shown = (Exit::Ok, String::from("NAME    PHASE\ncoder   Suspended\n"));
    assert_eq!(gateway.run_agent(&["list"]).await, shown);
    assert_eq!(gateway.run_agent(&["get", "coder"]).await, shown);
    let (exit, wide) = gateway.run_agent(&["list", "-o", "wide"]).await;
    assert!(exit == Exit::Ok && wide.contains("ops"), "{wide}");
    let stopped = gateway
        .run_agent(&["suspend", "coder", "--reason", "it wandered"])
        .await;
    assert_eq!(stopped, (Exit::Ok, String::from("agent/coder suspended\n")));
    assert_eq!(
        gateway.run_agent(&["resume", "coder"]).await,
        (Exit::Denied, String::new())
    );
    assert_eq!(
        gateway.run_agent(&["suspend", "a/../b"]).await,
        (Exit::Usage, String::new())
    );
    let (ended, out) = gateway.run(&["end", "ses-1"]).await;
    assert!(ended.is_ok() && out == "session/ses-1 ended\n", "{out}");
}
