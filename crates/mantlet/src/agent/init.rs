//! `mantlet agent init`: everything that lets a new agent in, as files.
//!
//! In: what was typed. Out: files in a new folder, or their text; and what to type next. Refuses: names that no loader would take, an Agent that
//! does not compile, a file that is there already. Deliberately does not: talk to a cluster, or write over anything.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mantlet_cli::InitArgs;
use mantlet_core::law::{Epoch, Law, Source, Written};
use serde_json::Value;

use super::files::{File, Plan, Server, files};
use crate::dev::home;

/// Where `mantlet dev` listens, if nothing else was said.
const DEV: &str = "https://127.0.0.1:8443";

/// What was written, or would be, and what to do with it.
pub fn init(args: &InitArgs) -> Result<String> {
    let cluster = cluster(args)?;
    check(args, &cluster)?;
    let plan = Plan {
        args,
        cluster: &cluster,
        server: server(args, &cluster)?,
        authority: authority(args)?,
    };
    let files = files(&plan);
    compiles(&files, &cluster)?;
    if args.dry_run {
        return Ok(files
            .iter()
            .map(|file| format!("# ==> {} <==\n{}\n", file.name, file.text))
            .collect());
    }
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    write(&folder, &files)?;
    Ok(next(args, &cluster, &folder, &files))
}

/// As written in the gateway's configuration, of which nothing else has to be at hand.
fn cluster(args: &InitArgs) -> Result<String> {
    if let Some(name) = &args.cluster {
        return Ok(name.clone());
    }
    let hint = "hint: --cluster NAME, as `clusters[].name` of the gateway's mantlet.yaml";
    let Ok(text) = std::fs::read_to_string(&args.config) else {
        bail!(
            "there is no `{}` to tell which cluster this is for\n{hint}",
            args.config.display()
        );
    };
    let written: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("cannot read `{}`", args.config.display()))?;
    let clusters = written["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
    match clusters {
        [only] => Ok(only["name"].as_str().unwrap_or_default().to_owned()),
        _ => bail!("`{}` has {} clusters\n{hint}", args.config.display(), clusters.len()),
    }
}

fn check(args: &InitArgs, cluster: &str) -> Result<()> {
    let named = [("the agent", &args.name), ("the namespace of accounts", &args.accounts)];
    let namespaces = args.namespace.iter().map(|namespace| ("a namespace", namespace));
    for (what, name) in named.into_iter().chain(namespaces) {
        if !is_label(name) {
            bail!("`{name}` cannot be the name of {what}\nhint: use a-z, 0-9 and -, at most 63 characters");
        }
    }
    if !is_label(cluster) {
        bail!(
            "`{cluster}` cannot be the name of a cluster\nhint: --cluster NAME, as `clusters[].name` of mantlet.yaml"
        );
    }
    let namespaces: BTreeSet<_> = args.namespace.iter().collect();
    if namespaces.len() != args.namespace.len() {
        bail!("a namespace is named twice\nhint: leave one out");
    }
    if namespaces.contains(&args.accounts) {
        bail!(
            "an agent that works in `{0}` could start a pod as its own account there, and be around the gateway\nhint: keep accounts of agents in a namespace of their own: --accounts NAME",
            args.accounts
        );
    }
    for cidr in args.gateway_address.iter().chain(&args.api_server) {
        if !is_cidr(cidr) {
            bail!("`{cidr}` is no network\nhint: write 10.0.0.7/32, or 2001:db8::7/128");
        }
    }
    Ok(())
}

/// RFC 1123 label, as Kubernetes' `IsDNS1123Label`.
fn is_label(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn server(args: &InitArgs, cluster: &str) -> Result<Server> {
    let written = match args.dev && args.server == InitArgs::SERVER {
        true => DEV,
        false => args.server.trim_end_matches('/'),
    };
    let bad = || format!("`{written}` is no address of a gateway\nhint: --server https://mantlet.example.com");
    let uri: http::Uri = written.parse().with_context(bad)?;
    let (Some("https"), Some(host), None) = (uri.scheme_str(), uri.host(), uri.query()) else {
        bail!(bad());
    };
    let url = match uri.path() {
        "" | "/" => format!("{written}/clusters/{cluster}"),
        _ => written.to_owned(),
    };
    Ok(Server {
        url,
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: uri.port_u16().unwrap_or(443),
    })
}

fn authority(args: &InitArgs) -> Result<Option<String>> {
    let file = match (&args.certificate_authority, args.dev) {
        (Some(file), _) => file.clone(),
        (None, true) => home::default_dir()?.join("ca.crt"),
        (None, false) => return Ok(None),
    };
    let pem = std::fs::read(&file).with_context(|| {
        format!(
            "cannot read `{}`\nhint: --certificate-authority FILE; with `--dev`, start `mantlet dev` first",
            file.display()
        )
    })?;
    Ok(Some(STANDARD.encode(pem)))
}

/// The Agent is what a gateway would take up, or nothing is written.
fn compiles(files: &[File], cluster: &str) -> Result<()> {
    let text = files
        .iter()
        .find(|file| file.name == "agent.yaml")
        .map_or("", |file| file.text.as_str());
    let agent = serde_saphyr::from_str(text).context("the Agent cannot be read")?;
    let written = Written {
        agents: vec![(Source::Configuration, agent)],
        clusters: BTreeSet::from([cluster.to_owned()]),
        ..Written::default()
    };
    match Law::compile(written, Epoch::new(1)) {
        Ok(_) => Ok(()),
        Err(faults) => {
            let lines = faults.iter().map(|fault| {
                let hint = fault
                    .hint
                    .as_ref()
                    .map_or_else(String::new, |hint| format!("\nhint: {hint}"));
                format!("{}: {}{hint}", fault.path, fault.message)
            });
            bail!(lines.collect::<Vec<_>>().join("\n"))
        }
    }
}

/// All of them or none: what is there already stays as it is.
fn write(folder: &Path, files: &[File]) -> Result<()> {
    let there: Vec<_> = files
        .iter()
        .map(|file| folder.join(file.name))
        .filter(|path| path.exists())
        .collect();
    if let Some(first) = there.first() {
        bail!(
            "`{}` is there already, and nothing is written over\nhint: --out FOLDER, or --dry-run",
            first.display()
        );
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    for file in files {
        let path = folder.join(file.name);
        let cannot = || format!("cannot write `{}`", path.display());
        let mut open = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(cannot)?;
        open.write_all(file.text.as_bytes()).with_context(cannot)?;
    }
    Ok(())
}

fn next(args: &InitArgs, cluster: &str, folder: &Path, files: &[File]) -> String {
    let folder = folder.display();
    let names: Vec<_> = files.iter().map(|file| file.name).collect();
    let token = match args.dev {
        true => "its tokens come from `mantlet dev`".to_owned(),
        false => format!("a token for the gateway's audience in {}", args.token_file.display()),
    };
    format!(
        "Wrote {folder}/: {}

As an administrator of the cluster, not through the gateway:
  kubectl create namespace {}    # if it is not there
  kubectl apply -f {folder}/cluster.yaml
  kubectl apply -f {folder}/network-policy.yaml    # read it first: it cuts off pods that are there already

At the gateway:
  cp {folder}/agent.yaml policies/{}.yaml    # taken up within seconds
  mantlet agent rbac --config mantlet.yaml --cluster {cluster} | kubectl apply -f -

For the agent: {folder}/kubeconfig.yaml, {token}, and AGENTS.md beside its own.
",
        names.join(", "),
        args.accounts,
        args.name
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use mantlet_cli::{AgentArgs, AgentCommand, Command, Mantlet};

    use super::*;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mantlet-init-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> String {
            self.0.join(name).display().to_string()
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn typed(line: &str) -> Box<InitArgs> {
        let words = ["mantlet", "agent", "init"].into_iter().chain(line.split_whitespace());
        match Mantlet::try_parse_from(words).unwrap().command {
            Command::Agent(AgentArgs {
                command: AgentCommand::Init(args),
            }) => args,
            other => panic!("{other:?}"),
        }
    }

    fn fault(line: &str) -> String {
        format!("{:#}", init(&typed(line)).unwrap_err())
    }

    fn documents(text: &str) -> Vec<Value> {
        let parts = text.split("\n---\n");
        parts.map(|part| serde_saphyr::from_str(part).unwrap()).collect()
    }

    /// The authority of some gateway.
    fn authority(folder: &Folder) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let path = folder.path("ca.crt");
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        path
    }

    #[tokio::test]
    async fn what_is_written_is_read_by_the_loaders_that_it_is_for() {
        let folder = Folder::new("loaders");
        std::fs::write(folder.path("token"), "abc.def").unwrap();
        let (ca, token) = (authority(&folder), folder.path("token"));
        for (n, flags) in [
            "--template readonly",
            "--template deployer --exec --secret shop-* --secret web",
            "--template deployer --via token --issuer https://ci.example.com --match claims.sub.startsWith('repo:acme/')",
            "--namespace other --owner issuer=https://login.example.com,group=team --owner issuer=https://login.example.com,user=ana@example.com",
            "--api-server 10.0.0.1/32 --api-server 2001:db8::1/128 --server https://[::1]:8443/clusters/prod",
        ]
        .into_iter()
        .enumerate()
        {
            let out = folder.path(&format!("out-{n}"));
            let line = format!(
                "coder -n shop --cluster prod --certificate-authority {ca} --token-file {token} --out {out} {flags}"
            );
            let said = init(&typed(&line)).unwrap();
            assert!(said.contains("kubectl apply -f") && said.contains("mantlet agent rbac"), "{said}");
            let kubeconfig = mantlet_kubeconfig::Source::File {
                path: Path::new(&out).join("kubeconfig.yaml"),
                context: None,
            };
            let credential = mantlet_kubeconfig::load(kubeconfig).await.unwrap();
            assert_eq!(credential.path_prefix(), "/clusters/prod");
            assert!(credential.authorization().await.unwrap().is_some(), "the file's token");
            let objects = documents(&folder.read(&format!("out-{n}/cluster.yaml")));
            let namespaces = 1 + usize::from(flags.contains("--namespace"));
            assert_eq!(objects.len(), 1 + 2 * namespaces);
            assert_eq!(documents(&folder.read(&format!("out-{n}/network-policy.yaml"))).len(), namespaces);
            assert!(folder.read(&format!("out-{n}/AGENTS.md")).contains("do not look for another way"));
        }
    }

    #[test]
    fn no_template_holds_a_right_with_which_others_are_had() {
        let folder = Folder::new("least");
        for (template, secrets) in [("readonly", false), ("deployer", true)] {
            for exec in ["", "--exec"] {
                let out = folder.path(&format!("{template}{exec}"));
                init(&typed(&format!(
                    "coder -n shop --cluster prod --template {template} {exec} --out {out}"
                )))
                .unwrap();
                let role = &documents(&folder.read(&format!("{template}{exec}/cluster.yaml")))[1];
                assert_eq!(
                    (&role["kind"], &role["metadata"]["namespace"]),
                    (&"Role".into(), &"shop".into())
                );
                let (mut seen, mut grouped) = (BTreeSet::new(), BTreeSet::new());
                for rule in role["rules"].as_array().unwrap() {
                    for resource in rule["resources"].as_array().unwrap() {
                        for verb in rule["verbs"].as_array().unwrap() {
                            let right = format!("{} {}", verb.as_str().unwrap(), resource.as_str().unwrap());
                            assert!(
                                grouped.insert((rule["apiGroups"].to_string(), right.clone())),
                                "{right} stands there twice"
                            );
                            seen.insert(right);
                        }
                    }
                }
                for right in &seen {
                    let (verb, resource) = right.split_once(' ').unwrap();
                    assert!(
                        ["get", "list", "watch", "create", "update", "patch", "delete"].contains(&verb),
                        "{right}"
                    );
                    let never = [
                        "roles",
                        "rolebindings",
                        "serviceaccounts/token",
                        "pods/portforward",
                        "pods/attach",
                        "pods/proxy",
                        "services/proxy",
                        "pods/ephemeralcontainers",
                        "*",
                    ];
                    assert!(!never.contains(&resource), "{right}");
                    assert!(
                        template == "deployer" || ["get", "list", "watch"].contains(&verb) || resource == "pods/exec",
                        "{right}"
                    );
                }
                assert_eq!(seen.contains("get secrets"), secrets);
                for right in ["get pods/exec", "create pods/exec"] {
                    assert_eq!(seen.contains(right), !exec.is_empty(), "{right}");
                }
                assert!(
                    !seen.contains("create networkpolicies"),
                    "it could open its own way out"
                );
            }
        }
    }

    #[test]
    fn what_no_gateway_would_take_is_refused_and_nothing_is_written() {
        let folder = Folder::new("refused");
        let out = folder.path("out");
        for (flags, part) in [
            ("-n shop --match claims.sub.nothing(", "spec.match[0].expression"),
            ("-n shop -n shop", "named twice"),
            ("-n mantlet-agents", "around the gateway"),
            ("-n Shop", "`Shop`"),
            ("-n mantlet-system", "mantlet-system"),
            ("-n shop --accounts a/b", "`a/b`"),
            ("-n shop --server http://mantlet.example.com", "no address"),
            ("-n shop --api-server 10.0.0.1", "no network"),
            ("-n shop --gateway-address 10.0.0.1/33", "no network"),
            ("-n shop --certificate-authority /nonexistent", "cannot read"),
        ] {
            let said = fault(&format!("coder --cluster prod --out {out} {flags}"));
            assert!(said.contains(part), "{flags}: {said}");
        }
        assert!(fault(&format!("co_der --cluster prod -n shop --out {out}")).contains("`co_der`"));
        let nowhere = folder.path("none.yaml");
        assert!(fault(&format!("coder -n shop --config {nowhere} --out {out}")).contains("--cluster NAME"));
        assert!(!Path::new(&out).exists());
    }

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let folder = Folder::new("there");
        let out = folder.path("coder");
        std::fs::create_dir(&out).unwrap();
        std::fs::write(folder.path("coder/AGENTS.md"), "mine").unwrap();
        let said = fault(&format!("coder --cluster prod -n shop --out {out}"));
        assert!(said.contains("nothing is written over"), "{said}");
        assert_eq!(folder.read("coder/AGENTS.md"), "mine");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    }

    #[test]
    fn a_dry_run_prints_every_file_and_writes_none() {
        let folder = Folder::new("dry");
        let config = folder.path("mantlet.yaml");
        std::fs::write(&config, "clusters: [ { name: prod, kubeconfig: x } ]\n").unwrap();
        let out = folder.path("out");
        let said = init(&typed(&format!(
            "coder -n shop --config {config} --out {out} --dry-run"
        )))
        .unwrap();
        for name in [
            "cluster.yaml",
            "network-policy.yaml",
            "agent.yaml",
            "kubeconfig.yaml",
            "AGENTS.md",
        ] {
            assert!(said.contains(&format!("# ==> {name} <==")), "{said}");
        }
        assert!(
            said.contains("clusters: [prod]") && said.contains("https://mantlet.mantlet-system.svc:8443/clusters/prod")
        );
        assert!(!Path::new(&out).exists());
    }

    #[test]
    fn pods_reach_the_gateway_and_not_the_api_server() {
        let folder = Folder::new("egress");
        let egress = |name: &str, flags: &str| -> Value {
            let out = folder.path(name);
            init(&typed(&format!("coder -n shop --cluster prod --out {out} {flags}"))).unwrap();
            documents(&folder.read(&format!("{name}/network-policy.yaml")))[0]["spec"].clone()
        };
        let inside = egress("inside", "");
        assert_eq!(inside["podSelector"], serde_json::json!({}));
        assert_eq!(inside["egress"].as_array().unwrap().len(), 3, "{inside}");
        assert_eq!(
            inside["egress"][2],
            serde_json::json!({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mantlet-system"}}}],
                "ports": [{"protocol": "TCP", "port": 8443}]})
        );
        let named = egress("named", "--server https://mantlet.example.com");
        assert_eq!(
            named["egress"].as_array().unwrap().len(),
            2,
            "a name is no address: {named}"
        );
        let all = egress(
            "all",
            "--server https://10.1.2.3:8443 --api-server 10.0.0.1/32 --api-server 10.96.0.1/32",
        );
        assert_eq!(all["egress"][2]["to"][0]["ipBlock"]["cidr"], "10.1.2.3/32");
        assert_eq!(
            all["egress"][3],
            serde_json::json!({"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.1/32", "10.96.0.1/32"]}}]})
        );
        assert_eq!(all["egress"].as_array().unwrap().len(), 4, "nothing over IPv6: {all}");
    }
}
