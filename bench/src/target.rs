//! The gateway and its peers: how each is set up, started on CPU 0, and known to be ready.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::Options;
use crate::ground::{AUDIENCE, Ground, NAMESPACE, SUBJECT};
use crate::process;
use crate::stub::Stub;

const READY: Duration = Duration::from_secs(30);

/// What stands between the load and the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A TLS proxy, nothing else.
    Nginx,
    /// `httputil.ReverseProxy`, RS256 check, impersonation headers.
    Go,
    /// jwt_authn, 20 rbac rules, JSON access log.
    Envoy,
    /// `mantlet serve` as it is: token, 20 policies and an agent's scope, masking, journal, index, log.
    Mantlet,
}

/// One that runs; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Go => "go",
            Kind::Envoy => "envoy",
            Kind::Mantlet => "mantlet",
        }
    }
}

impl Target {
    pub(crate) fn start(kind: Kind, options: &Options, ground: &Ground, stub: &Stub) -> Result<Self> {
        let program = options.program(kind.name()).map_err(anyhow::Error::msg)?;
        let address = free()?;
        let mut ready = address;
        // CPU 0 alone: runtimes that count CPUs then count one.
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
        match kind {
            Kind::Nginx => nginx(&mut command, ground, stub, address)?,
            Kind::Go => go(&mut command, ground, stub, address)?,
            Kind::Envoy => envoy(&mut command, ground, stub, address)?,
            Kind::Mantlet => {
                ready = free()?;
                mantlet(&mut command, ground, stub, address, ready)?;
            }
        }
        let log = ground.dir.join(format!("{}.log", kind.name()));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(ground.dir.join(format!("{}.out", kind.name())))?)
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let mut target = Self { kind, address, child };
        target.wait_until_ready(ready, &log)?;
        Ok(target)
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        process::cpu(self.child.id())
    }

    pub(crate) fn threads(&self) -> Result<BTreeMap<String, Duration>> {
        process::threads(self.child.id())
    }

    /// In KiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        process::memory(self.child.id())
    }

    /// Returns once it has nothing left to do, such as an index that is behind: that is CPU time of the requests before.
    pub(crate) fn quiet(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(120);
        let mut before = self.cpu()?;
        while Instant::now() < until {
            sleep(Duration::from_millis(200));
            let now = self.cpu()?;
            if now - before <= Duration::from_millis(10) {
                return Ok(());
            }
            before = now;
        }
        bail!("{} does not come to rest", self.kind.name())
    }

    fn wait_until_ready(&mut self, at: SocketAddr, log: &Path) -> Result<()> {
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("{} ended ({status}): {said}", self.kind.name());
            }
            let ready = match self.kind {
                Kind::Mantlet => readyz(at).unwrap_or(false),
                Kind::Nginx | Kind::Go | Kind::Envoy => TcpStream::connect(at).is_ok(),
            };
            if ready {
                return Ok(());
            }
            sleep(Duration::from_millis(50));
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        bail!("{} is not ready after {} s: {said}", self.kind.name(), READY.as_secs())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // nginx's worker ends with its master, which is asked rather than killed for that reason.
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it is ready and has its issuer's keys.
fn readyz(at: SocketAddr) -> Result<bool> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page.starts_with("HTTP/1.1 200") && !page.contains("[!]"))
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn nginx(command: &mut Command, ground: &Ground, stub: &Stub, address: SocketAddr) -> Result<()> {
    let path = |path: &Path| path.display().to_string();
    let config = format!(
        "daemon off;
pid {dir}/nginx.pid;
error_log stderr error;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {dir}/nginx-body;
  proxy_temp_path {dir}/nginx-proxy;
  fastcgi_temp_path {dir}/nginx-fastcgi;
  uwsgi_temp_path {dir}/nginx-uwsgi;
  scgi_temp_path {dir}/nginx-scgi;
  keepalive_requests 1000000000;
  upstream api {{ server {stub}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen {address} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519;
    location / {{
      proxy_pass https://api;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_ssl_trusted_certificate {authority};
      proxy_read_timeout 1h;
    }}
  }}
}}
",
        dir = path(&ground.dir),
        stub = stub.address,
        certificate = path(&ground.certificate),
        key = path(&ground.key),
        authority = path(&ground.authority),
    );
    let file = ground.write("nginx.conf", &config)?;
    command
        .arg("-p")
        .arg(&ground.dir)
        .arg("-e")
        .arg("stderr")
        .arg("-c")
        .arg(file);
    Ok(())
}

fn go(command: &mut Command, ground: &Ground, stub: &Stub, address: SocketAddr) -> Result<()> {
    let keys = ground.write("jwks.json", &ground.jwks().to_string())?;
    command
        .args(["-listen", &address.to_string(), "-upstream", &stub.issuer()])
        .args(["-issuer", &stub.issuer(), "-audience", AUDIENCE])
        .arg("-cert")
        .arg(&ground.certificate)
        .arg("-key")
        .arg(&ground.key)
        .arg("-ca")
        .arg(&ground.authority)
        .arg("-jwks")
        .arg(keys);
    Ok(())
}

fn envoy(command: &mut Command, ground: &Ground, stub: &Stub, address: SocketAddr) -> Result<()> {
    let typed = |name: &str, value: Value| {
        let mut value = value;
        value["@type"] = format!("type.googleapis.com/envoy.{name}").into();
        value
    };
    let endpoint =
        |address: SocketAddr| json!({"socket_address": {"address": address.ip(), "port_value": address.port()}});
    let parameters = json!({"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3", "ecdh_curves": ["X25519"]});
    let authn = typed(
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": {"bench": {
                "issuer": stub.issuer(), "audiences": [AUDIENCE], "payload_in_metadata": "jwt",
                "local_jwks": {"inline_string": ground.jwks().to_string()},
                "claim_to_headers": [{"header_name": "impersonate-user", "claim_name": "sub"}],
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        }),
    );
    let log = typed(
        "extensions.access_loggers.file.v3.FileAccessLog",
        json!({
            "path": ground.dir.join("envoy-access.log"),
            "log_format": {"json_format": {
                "at": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%", "bytes": "%BYTES_SENT%",
                "ms": "%DURATION%", "from": "%DOWNSTREAM_REMOTE_ADDRESS%", "id": "%REQ(X-REQUEST-ID)%", "agent": "%REQ(USER-AGENT)%",
                "user": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:jwt:sub)%",
            }},
        }),
    );
    let manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "bench", "codec_type": "AUTO", "access_log": [{"name": "file", "typed_config": log}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "0s"}}]}]},
            "http_filters": [
                {"name": "envoy.filters.http.jwt_authn", "typed_config": authn},
                {"name": "envoy.filters.http.rbac", "typed_config": typed("extensions.filters.http.rbac.v3.RBAC", json!({"rules": rules()}))},
                {"name": "envoy.filters.http.router", "typed_config": typed("extensions.filters.http.router.v3.Router", json!({}))},
            ],
        }),
    );
    let down = typed(
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"], "tls_params": parameters,
            "tls_certificates": [{"certificate_chain": {"filename": ground.certificate}, "private_key": {"filename": ground.key}}],
        }}),
    );
    let up = typed(
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        json!({"sni": "localhost", "common_tls_context": {
            "tls_params": parameters, "validation_context": {"trusted_ca": {"filename": ground.authority}},
        }}),
    );
    // h2 up: measured, the better of the two for it.
    let h2 = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        json!({"explicit_http_config": {"http2_protocol_options": {}}}),
    );
    let config = json!({"static_resources": {
        "listeners": [{"name": "in", "address": endpoint(address), "filter_chains": [{
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": down},
        }]}],
        "clusters": [{"name": "api", "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint(stub.address)}}]}]},
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": up},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": h2},
        }],
    }});
    let file = ground.write("envoy.json", &config.to_string())?;
    command
        .args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "-c",
        ])
        .arg(file);
    Ok(())
}

/// 19 that do not fit and the one that does, tried in the order of their names.
fn rules() -> Value {
    let claim = |name: &str, value: &str| {
        json!({"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "jwt"}, {"key": name}],
            "value": {"string_match": {"exact": value}}}})
    };
    let rule = |method: &str, path: &str, who: Value| {
        json!({"permissions": [{"and_rules": {"rules": [
                {"header": {"name": ":method", "string_match": {"safe_regex": {"regex": method}}}},
                {"url_path": {"path": {"prefix": path}}},
            ]}}], "principals": [who]})
    };
    let mut rules: serde_json::Map<String, Value> = (0..19)
        .map(|at| {
            (
                format!("rule-{at:02}"),
                rule(
                    "GET|POST",
                    &format!("/api/v1/namespaces/team-{at}/"),
                    claim("sub", SUBJECT),
                ),
            )
        })
        .collect();
    rules.insert(
        "rule-19".into(),
        rule("GET|POST", "/api/v1/namespaces/bench/", claim("sub", SUBJECT)),
    );
    json!({"action": "ALLOW", "policies": rules})
}

fn mantlet(
    command: &mut Command,
    ground: &Ground,
    stub: &Stub,
    address: SocketAddr,
    telemetry: SocketAddr,
) -> Result<()> {
    let ca = fs::read_to_string(&ground.authority)?;
    // Whatever an earlier row left in journal and index is not this one's.
    let data = ground.dir.join("mantlet");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    ground.write("mantlet/cluster.kubeconfig", &json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stub",
        "clusters": [{"name": "stub", "cluster": {"server": stub.issuer(), "certificate-authority": ground.authority}}],
        "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "gateway"}}],
        "users": [{"name": "gateway", "user": {"token": "the-gateways-own"}}],
    }).to_string())?;
    ground.write("mantlet/authentication.yaml", &json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": {"url": stub.issuer(), "certificateAuthority": ca, "audiences": [AUDIENCE]},
            "claimMappings": {"username": {"claim": "sub", "prefix": "agent:"}, "groups": {"claim": "groups", "prefix": ""}}}],
    }).to_string())?;
    ground.write(
        "mantlet/policies/guardrails.yaml",
        include_str!("../../policies/guardrails.yaml"),
    )?;
    ground.write("mantlet/policies/own.yaml", &own_policies())?;
    let config = ground.write(
        "mantlet/mantlet.yaml",
        &json!({
            "apiVersion": "mantlet.dev/v1alpha1", "kind": "Configuration",
            "listen": {"address": address, "tls": {"certFile": ground.certificate, "keyFile": ground.key}},
            "clusters": [{"name": "bench", "kubeconfig": "cluster.kubeconfig", "default": true}],
            "authentication": "authentication.yaml",
            "issuers": [{"url": stub.issuer(), "population": "agents"}],
            "policies": "policies",
            "storage": {"database": format!("sqlite://{}", data.join("mantlet.db").display())},
            "telemetry": {"address": telemetry},
        })
        .to_string(),
    )?;
    command.args(["serve", "--config"]).arg(config).env_remove("RUST_LOG");
    Ok(())
}

/// The agent, and as many policies as make 20 with the shipped pack: four about other namespaces, one whose expression is evaluated for every
/// request here.
fn own_policies() -> String {
    let agent = json!({"apiVersion": "mantlet.dev/v1alpha1", "kind": "Agent", "metadata": {"name": SUBJECT}, "spec": {
        "match": [{"expression": format!("claims.sub == '{SUBJECT}'")}],
        "serviceAccount": {"namespace": "mantlet-agents", "name": SUBJECT},
        "scope": {"clusters": ["bench"], "namespaces": [NAMESPACE]},
    }});
    let policy = |at: usize, namespaces: &str, expression: &str| {
        json!({"apiVersion": "mantlet.dev/v1alpha1", "kind": "Policy", "metadata": {"name": format!("own-{at}")}, "spec": {
            "mode": "enforce",
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "resources": ["pods", "configmaps"], "operations": ["*"], "namespaces": [namespaces]},
            ]},
            "validations": [{"expression": expression, "action": "Deny", "message": "that one is closed"}],
        }})
    };
    let elsewhere = (0..4).map(|at| policy(at, &format!("team-{at}-*"), "false"));
    let here = policy(4, "*", "!request.name.startsWith('closed-')");
    let documents = std::iter::once(agent).chain(elsewhere).chain([here]);
    documents
        .map(|document| document.to_string())
        .collect::<Vec<_>>()
        .join("\n---\n")
}
