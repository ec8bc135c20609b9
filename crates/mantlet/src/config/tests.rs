//! A complete configuration, spoiled in one place at a time.

use std::path::Path;

use super::*;

/// A folder with a complete configuration in it, to be spoiled by each test.
struct Folder(PathBuf);

const MANTLET: &str = "\
apiVersion: mantlet.dev/v1alpha1
kind: Configuration
listen: { address: 0.0.0.0:8443, tls: { certFile: tls.crt, keyFile: tls.key } }
clusters:
- name: prod
  kubeconfig: prod.kubeconfig
  default: true
authentication: authentication.yaml
issuers:
- { url: https://ci.example.com, population: agents }
- { url: https://login.example.com, population: people }
authorization:
  roles:
  - { role: auditor, group: sre, issuer: https://login.example.com, clusters: [prod] }
policies: policies/
storage:
  database: sqlite://data/mantlet.db
  recordings: file:///var/lib/mantlet/recordings
";

const AUTHENTICATION: &str = "\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: { url: https://ci.example.com, audiences: [mantlet] }
  claimMappings: { username: { claim: sub, prefix: \"ci:\" } }
- issuer: { url: https://login.example.com, audiences: [mantlet] }
  claimMappings: { username: { claim: email, prefix: \"\" }, groups: { claim: groups, prefix: \"\" } }
";

const AGENT: &str = "\
apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: { name: coder }
spec:
  match:
  - expression: claims.sub == 'coder'
  serviceAccount: { namespace: mantlet-agents, name: coder }
  scope: { clusters: [prod], namespaces: [test] }
";

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mantlet-config-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("policies")).unwrap();
        let folder = Self(path);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["localhost".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        folder.write("tls.crt", &cert.pem());
        folder.write("tls.key", &key.serialize_pem());
        folder.write("prod.kubeconfig", "");
        folder.write("authentication.yaml", AUTHENTICATION);
        folder.write("policies/coder.yaml", AGENT);
        folder.write("mantlet.yaml", MANTLET);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    /// The faults of this folder, one a line, without the folder's own path.
    fn faults(&self) -> Vec<String> {
        let faults = load(&self.0.join("mantlet.yaml"), Epoch::new(1))
            .map(|_| ())
            .unwrap_err();
        let folder = format!("{}/", self.0.display());
        faults.iter().map(|f| f.to_string().replace(&folder, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_good_file_becomes_absolute_paths_and_parsed_addresses() {
    let folder = Folder::new("good");
    let config = load(&folder.0.join("mantlet.yaml"), Epoch::new(1)).unwrap();
    assert_eq!(config.listen.address.port(), 8443);
    assert_eq!(config.telemetry.to_string(), "127.0.0.1:9090");
    assert_eq!(
        config.storage.database.as_str(),
        format!("sqlite://{}/data/mantlet.db", folder.0.display())
    );
    assert_eq!(config.storage.journal, JournalAt::Folder(folder.0.join("data/journal")));
    let recordings = Recordings::Folder(PathBuf::from("/var/lib/mantlet/recordings"));
    assert_eq!(config.storage.recordings, recordings);
    assert_eq!(config.clusters[0].name, "prod");
    assert_eq!(config.issuers.len(), 2);
    assert_eq!(config.law.agents().next().unwrap().name(), "coder");
    let files: Vec<_> = config
        .files
        .iter()
        .map(|f| f.strip_prefix(&folder.0).unwrap().display().to_string())
        .collect();
    assert_eq!(
        files,
        [
            "mantlet.yaml",
            "tls.crt",
            "tls.key",
            "prod.kubeconfig",
            "authentication.yaml",
            "policies",
            "policies/coder.yaml"
        ]
    );
}

#[test]
fn every_fault_of_a_file_is_told_at_once_with_its_place() {
    let folder = Folder::new("many");
    folder.write(
        "mantlet.yaml",
        &MANTLET
            .replace("listen: {", "listen: { adress: 1.2.3.4:5,")
            .replace("default: true", "default: yes")
            .replace("population: people", "population: humans")
            .replace("policies: policies/\n", "console: { address: 0.0.0.0:8444 }\n")
            .replace("recordings:", "database: sqlite:///other.db\n  recordings:"),
    );
    let expected = [
        "mantlet.yaml:1:1: missing field `policies`\nhint: add `policies: …`",
        "mantlet.yaml:3:11: unknown field `adress`, expected one of `address`, `tls`, `proxyProtocol`\nhint: write `address`",
        "mantlet.yaml:7:12: expected `true` or `false`, found the text `yes`",
        "mantlet.yaml:11:49: unknown `humans`, expected one of `agents`, `people`",
        "mantlet.yaml:15:1: unknown field `console`, expected one of `apiVersion`, `kind`, `listen`, `clusters`, \
         `authentication`, `issuers`, `authorization`, `policies`, `risk`, `recording`, `storage`, `telemetry`",
        "mantlet.yaml:18:3: `database` stands here a second time",
    ];
    assert_eq!(folder.faults(), expected);
}

#[test]
fn what_is_wrong_with_the_recording_is_told_with_its_place() {
    let folder = Folder::new("recording");
    let cases = [
        (
            "retention: {}",
            "mantlet.yaml:20:3: has neither `days` nor `bytes`\nhint: write `retention: { days: 90 }`, or leave it out to keep everything",
        ),
        (
            "retention: { days: 0 }",
            "mantlet.yaml:20:22: `days` is 0: nothing would be kept\nhint: write `days: 90`",
        ),
        (
            "retention: { bytes: 1000 }",
            "mantlet.yaml:20:23: `1000` is less than the journal needs to work\nhint: write at least 67108864",
        ),
        (
            "anchor: {}",
            "mantlet.yaml:20:3: needs exactly one of `file`, `webhook` and `s3`\nhint: write `anchor: { file: /mnt/elsewhere/checkpoints.jsonl }`",
        ),
        (
            "anchor: { file: data/journal/checkpoints.jsonl }",
            "mantlet.yaml:20:19: `data/journal/checkpoints.jsonl` lies in the journal that it is to vouch for\nhint: name a file on another volume",
        ),
        (
            "anchor: { webhook: nowhere.kubeconfig }",
            "mantlet.yaml:20:22: cannot read `nowhere.kubeconfig`: No such file or directory (os error 2)",
        ),
        (
            "anchor: { s3: { bucket: anchors, region: eu-1, endpoint: 'http://s3.example.com' } }",
            "mantlet.yaml:20:60: `http://s3.example.com` is no address of an S3 server\nhint: write `endpoint: https://HOST`; `http://` only on this machine",
        ),
        (
            "anchor: { s3: { bucket: a/b, region: eu-1 } }",
            "mantlet.yaml:20:27: `a/b` is not the name of a bucket",
        ),
        (
            "anchor: { s3: { bucket: anchors, region: eu-1, objectLock: { mode: COMPLIANCE, days: 0 } } }",
            "mantlet.yaml:20:88: `days` is not between 1 and 36500",
        ),
        (
            "anchor: { s3: { bucket: anchors, region: eu-1, objectLock: { mode: NONE, days: 1 } } }",
            "mantlet.yaml:20:70: unknown `NONE`, expected one of `GOVERNANCE`, `COMPLIANCE`",
        ),
    ];
    for (written, expected) in cases {
        folder.write("mantlet.yaml", &format!("{MANTLET}recording:\n  {written}\n"));
        assert_eq!(folder.faults(), [expected], "{written}");
    }
    let shared =
        MANTLET.replace("sqlite://data/mantlet.db", "postgres://mantlet@127.0.0.1/mantlet") + "  keyFile: key\n";
    folder.write(
        "mantlet.yaml",
        &format!("{shared}recording:\n  retention: {{ days: 90 }}\n"),
    );
    let expected = "mantlet.yaml:21:3: a journal in PostgreSQL cannot be pruned yet\nhint: leave `recording.retention` out, or name a folder in `storage.journal`";
    assert_eq!(folder.faults(), [expected]);
}

#[test]
fn a_recording_is_found_without_the_rest_of_the_configuration() {
    let folder = Folder::new("record");
    let recording =
        "recording:\n  retention: { days: 90 }\n  anchor: { s3: { bucket: anchors, prefix: /prod/, region: eu-1 } }\n";
    folder.write("mantlet.yaml", &format!("{MANTLET}{recording}"));
    for file in ["tls.crt", "authentication.yaml", "prod.kubeconfig"] {
        std::fs::remove_file(folder.0.join(file)).unwrap();
    }
    let (storage, proof) = record(&folder.0.join("mantlet.yaml")).unwrap();
    assert_eq!(storage.journal, JournalAt::Folder(folder.0.join("data/journal")));
    assert_eq!(proof.retention.unwrap().days, Some(90));
    let Some(AnchorPlace::S3(s3)) = proof.anchor else {
        panic!("an S3 anchor")
    };
    assert_eq!(
        (s3.prefix.as_str(), s3.endpoint.to_string().as_str()),
        ("prod", "https://s3.eu-1.amazonaws.com/")
    );
}

#[test]
fn what_does_not_fit_together_is_told_with_its_place() {
    let folder = Folder::new("together");
    folder.write(
        "mantlet.yaml",
        &MANTLET
            .replace("0.0.0.0:8443", "localhost")
            .replace(
                "- name: prod\n",
                "- { name: Prod, inCluster: true }\n- name: prod\n  inCluster: true\n",
            )
            .replace(
                "https://login.example.com, clusters: [prod]",
                "https://login.example.org, clusters: [dev]",
            )
            .replace("sqlite://data/mantlet.db", "mysql://mantlet:hunter2@db/mantlet"),
    );
    let faults = folder.faults();
    let begins = |start: &str| assert!(faults.iter().any(|f| f.starts_with(start)), "{start}\nin {faults:#?}");
    begins("mantlet.yaml:3:20: `localhost` is not an IP address and a port\nhint: write `address:");
    begins("mantlet.yaml:5:11: `Prod` cannot stand in a URL");
    begins("mantlet.yaml:6:3: has both `kubeconfig` and `inCluster`");
    begins("mantlet.yaml:16:42: `https://login.example.org` is not one of `issuers`");
    begins("mantlet.yaml:16:80: there is no cluster `dev`");
    begins("mantlet.yaml:19:13: `mysql://…`: it is not a database that can be used\nhint: write `sqlite:///");
    assert_eq!(faults.len(), 6, "{faults:#?}");
}

#[test]
fn a_journal_lies_in_postgres_unless_a_folder_is_named() {
    let folder = Folder::new("postgres");
    let url = "postgres://mantlet:hunter2@db.example.com/mantlet";
    let written = MANTLET.replace("sqlite://data/mantlet.db", url);
    folder.write("mantlet.yaml", &written);
    assert_eq!(
        folder.faults(),
        [
            "mantlet.yaml:16:1: has no `keyFile`, and a database on a server has no folder to put it beside\n\
          hint: add `keyFile: /var/lib/mantlet/keyring.key`"
        ]
    );
    let written = written.replace("recordings:", "keyFile: seal.key\n  recordings:");
    folder.write("mantlet.yaml", &written);
    let config = load(&folder.0.join("mantlet.yaml"), Epoch::new(1)).unwrap();
    assert_eq!(config.storage.journal, JournalAt::Database);
    assert_eq!(config.storage.key_file, folder.0.join("seal.key"));
    assert!(!format!("{config:?}").contains("hunter2"));
    folder.write(
        "mantlet.yaml",
        &written.replace("recordings:", "journal: journal\n  recordings:"),
    );
    let config = load(&folder.0.join("mantlet.yaml"), Epoch::new(1)).unwrap();
    assert_eq!(config.storage.journal, JournalAt::Folder(folder.0.join("journal")));
}

#[test]
fn postgres_on_another_machine_without_verified_tls_is_refused_without_its_password() {
    let folder = Folder::new("plaintext");
    let url = "postgres://mantlet:hunter2@db.example.com/mantlet?sslmode=require";
    folder.write(
        "mantlet.yaml",
        &MANTLET
            .replace("sqlite://data/mantlet.db", url)
            .replace("recordings:", "keyFile: seal.key\n  recordings:"),
    );
    assert_eq!(
        folder.faults(),
        [
            "mantlet.yaml:17:13: `postgres://…`: PostgreSQL on another machine is reached with `sslmode=verify-full` only\n\
          hint: leave `sslmode` out; for an authority of your own add `sslrootcert=/path/to/ca.crt`"
        ]
    );
}

#[test]
fn faults_of_all_files_come_together() {
    let folder = Folder::new("files");
    folder.write(
        "authentication.yaml",
        &AUTHENTICATION.replace(
            "audiences: [mantlet] }\n  claimMappings: { username: { claim: sub",
            "audiences: [mantlet] }\n  claimMappings: { username: { claim: 5",
        ),
    );
    folder.write(
        "policies/coder.yaml",
        &format!("{AGENT}---\n{}", AGENT.replace("  match:\n", "  owner: []\n  match:\n")),
    );
    folder.write("policies/other.yml", "kind: ConfigMap\n");
    folder.write("policies/README.md", "not read");
    assert_eq!(
        folder.faults(),
        [
            "authentication.yaml:5:39: expected a text, found the number `5`\nhint: write \"5\" in quotes",
            "policies/coder.yaml:14:3: unknown field `owner`, expected one of `match`, `owners`, `serviceAccount`, \
             `session`, `scope`, `limits`, `elevations`, `risk`, `expiresAt`\nhint: write `owners`",
            "policies/other.yml:1:7: unknown kind `ConfigMap`, expected one of `Agent`, `Policy`",
        ]
    );
}

#[test]
fn what_is_wrong_with_mappings_and_rules_has_its_place() {
    let folder = Folder::new("mappings");
    let rules = "  claimValidationRules:
  - { claim: hd, requiredValue: example.com, message: no }
  - expression: claims.hd = 'example.com'
  userValidationRules:
  - expression: user.name != 'root'
  - { expression: \"user.uid\" }
";
    let mappings = "  claimMappings:
    username: { expression: claims.email }
    groups: { expression: size(claims.groups), prefix: \"\" }
    extra:
    - { key: k8s.io/team, valueExpression: claims.team }
";
    folder.write(
        "authentication.yaml",
        &format!(
            "{}{mappings}{rules}",
            AUTHENTICATION.rsplit_once("  claimMappings").unwrap().0
        ),
    );
    let faults = folder.faults();
    let begins = |start: &str| assert!(faults.iter().any(|f| f.starts_with(start)), "{start}\nin {faults:#?}");
    begins("authentication.yaml:13:55: belongs to an expression, and this rule names a claim\nhint: remove it");
    begins("authentication.yaml:14:17: ");
    begins(
        "authentication.yaml:8:29: names `claims.email`, and no expression looks at `claims.email_verified`\nhint: add `- { expression:",
    );
    begins("authentication.yaml:9:56: cannot stand beside an expression, which makes the whole name\nhint: ");
    begins(
        "authentication.yaml:11:14: `k8s.io/team` belongs to Kubernetes itself\nhint: write it after a domain of yours",
    );
    begins(
        "authentication.yaml:16:17: `user` has no field `name`, it has `username`, `uid`, `groups` and `extra`\nhint: rules here read",
    );
    // The parser says two things of one `=`.
    assert_eq!(faults.len(), 7, "{faults:#?}");
}

#[test]
fn an_authority_that_is_none_has_its_place() {
    let folder = Folder::new("authority");
    folder.write(
        "authentication.yaml",
        &AUTHENTICATION.replacen(
            "audiences: [mantlet]",
            "audiences: [mantlet], certificateAuthority: ca.crt",
            1,
        ),
    );
    assert_eq!(
        folder.faults(),
        [
            "authentication.yaml:4:86: holds no certificate\nhint: put the PEM of the authority itself here, from \
             `-----BEGIN CERTIFICATE-----` on"
        ]
    );
}

#[test]
fn what_the_law_finds_wrong_has_its_place_too() {
    let folder = Folder::new("law");
    folder.write(
        "policies/coder.yaml",
        &AGENT
            .replace("claims.sub ==", "claim.sub ==")
            .replace("[prod]", "[dev]"),
    );
    let faults = folder.faults();
    assert!(
        faults.iter().any(|f| f.starts_with("policies/coder.yaml:6:17: ")),
        "{faults:#?}"
    );
    assert!(
        faults.iter().any(|f| f.starts_with("policies/coder.yaml:8:23: ")),
        "{faults:#?}"
    );
    assert_eq!(faults.len(), 2, "{faults:#?}");
}

#[test]
fn a_policy_never_goes_unread_in_silence() {
    let folder = Folder::new("unread");
    std::fs::create_dir(folder.0.join("policies/more")).unwrap();
    folder.write("elsewhere.yaml", AGENT);
    std::os::unix::fs::symlink("../elsewhere.yaml", folder.0.join("policies/link.yaml")).unwrap();
    let faults = folder.faults();
    assert!(
        faults.iter().any(|f| f.starts_with("policies/more: is a folder")),
        "{faults:#?}"
    );
    assert!(
        faults
            .iter()
            .any(|f| f.starts_with("policies/link.yaml: is a link that leads out")),
        "{faults:#?}"
    );
}

#[test]
fn tests_may_lie_beside_the_policies_and_nothing_else_beside_the_tests() {
    let folder = Folder::new("tests");
    std::fs::create_dir(folder.0.join("policies/tests")).unwrap();
    let test = "apiVersion: mantlet.dev/v1alpha1\nkind: PolicyTest\nmetadata: { name: t }\ncases: []\n";
    folder.write("policies/tests/t.yaml", test);
    assert!(load(&folder.0.join("mantlet.yaml"), Epoch::new(1)).is_ok());
    folder.write("policies/tests/more.yaml", AGENT);
    folder.write("policies/t.yaml", test);
    let faults = folder.faults();
    for expected in [
        "policies/tests/more.yaml:",
        "in a folder `tests` everything is a PolicyTest",
        "policies/t.yaml:2:7: a PolicyTest is no part of the law",
    ] {
        assert!(faults.iter().any(|f| f.contains(expected)), "{expected}: {faults:#?}");
    }
}

#[test]
fn a_mounted_config_map_is_read() {
    let folder = Folder::new("mounted");
    let version = folder.0.join("policies/..2026_01_01");
    std::fs::create_dir(&version).unwrap();
    std::fs::rename(folder.0.join("policies/coder.yaml"), version.join("coder.yaml")).unwrap();
    std::os::unix::fs::symlink("..2026_01_01", folder.0.join("policies/..data")).unwrap();
    std::os::unix::fs::symlink("..data/coder.yaml", folder.0.join("policies/coder.yaml")).unwrap();
    assert_eq!(
        load(&folder.0.join("mantlet.yaml"), Epoch::new(1))
            .unwrap()
            .law
            .agents()
            .count(),
        1
    );
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let folder = Folder::new("bomb");
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 10].join(",");
        bomb.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    folder.write("mantlet.yaml", &bomb);
    let faults = folder.faults();
    assert!(faults.len() == 1 && faults[0].contains("not valid YAML"), "{faults:#?}");
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    let folder = Folder::new("broken");
    folder.write("mantlet.yaml", "kind: Configuration\nlisten: { address: [\n");
    let faults = folder.faults();
    assert!(
        faults.len() == 1 && faults[0].starts_with("mantlet.yaml:2:20: not valid YAML: unclosed bracket"),
        "{faults:#?}"
    );
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let folder = Folder::new("key");
    folder.write("tls.key", &rcgen::KeyPair::generate().unwrap().serialize_pem());
    let faults = folder.faults();
    assert!(
        faults.len() == 1 && faults[0].starts_with("mantlet.yaml:3:69: `tls.key` is not the key"),
        "{faults:#?}"
    );
}

#[test]
fn every_shipped_pack_loads() {
    let folder = Folder::new("packs");
    for pack in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")).unwrap() {
        let path = pack.unwrap().path();
        // Beside the packs: their tests.
        if path.is_dir() {
            continue;
        }
        folder.write("policies/pack.yaml", &std::fs::read_to_string(&path).unwrap());
        let loaded = load(&folder.0.join("mantlet.yaml"), Epoch::new(1));
        assert!(loaded.is_ok(), "{}: {:#?}", path.display(), loaded.unwrap_err());
    }
}

/// One case of `cases/broken.yaml`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Broken {
    name: String,
    file: String,
    text: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

impl Broken {
    fn spoil(&self, folder: &Folder) {
        let good = std::fs::read_to_string(folder.0.join(&self.file)).unwrap_or_default();
        let mut text = self.text.clone().unwrap_or(good);
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            assert!(text.contains(from.as_str()), "{}: `{from}` is not in it", self.name);
            text = text.replacen(from.as_str(), to, 1);
        }
        folder.write(&self.file, &text);
    }
}

#[test]
fn what_is_said_of_broken_files_is_what_was_agreed() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let broken: Vec<Broken> =
        serde_saphyr::from_str(&std::fs::read_to_string(cases.join("broken.yaml")).unwrap()).unwrap();
    assert!(broken.len() >= 60, "{}", broken.len());
    let (mut said, mut loads) = (String::new(), Vec::new());
    for (n, case) in broken.iter().enumerate() {
        let folder = Folder::new(&format!("broken-{n}"));
        case.spoil(&folder);
        let faults = load(&folder.0.join("mantlet.yaml"), Epoch::new(1))
            .map(|_| loads.push(&case.name))
            .err()
            .unwrap_or_default();
        let folder = format!("{}/", folder.0.display());
        said.push_str(&format!("# {}\n", case.name));
        for fault in faults {
            said.push_str(&format!("{}\n", fault.to_string().replace(&folder, "")));
        }
        said.push('\n');
    }
    assert!(loads.is_empty(), "these load: {loads:#?}");
    let agreed = cases.join("broken.out");
    if std::env::var_os("MANTLET_BLESS").is_some() {
        std::fs::write(&agreed, &said).unwrap();
    }
    let agreed = std::fs::read_to_string(agreed).unwrap();
    for (said, agreed) in said.split("\n\n").zip(agreed.split("\n\n")) {
        assert_eq!(said, agreed);
    }
    assert_eq!(said, agreed);
}

#[test]
fn an_issuer_of_a_cluster_is_named_so_and_nothing_else_is_said_of_it() {
    let folder = Folder::new("own-issuer");
    let of_prod = MANTLET.replace(
        "- { url: https://ci.example.com, population: agents }",
        "- { url: https://ci.example.com, population: agents, cluster: prod }",
    );
    folder.write("mantlet.yaml", &of_prod);
    folder.write("authentication.yaml", &AUTHENTICATION.replace("\"ci:\"", "\"\""));
    let config = load(&folder.0.join("mantlet.yaml"), Epoch::new(1)).unwrap();
    let clusters: Vec<_> = config.issuers.iter().map(Issuer::cluster).collect();
    assert_eq!(clusters, [Some("prod"), None]);

    folder.write(
        "mantlet.yaml",
        &of_prod.replace("agents, cluster: prod", "people, cluster: dev"),
    );
    folder.write(
        "authentication.yaml",
        &AUTHENTICATION.replace(
            "audiences: [mantlet] }\n  claimMappings: { username: { claim: sub, prefix: \"ci:\" } }",
            "audiences: [https://ci.example.com], discoveryURL: https://a.example, certificateAuthority: x }\n  \
             claimMappings: { username: { claim: email, prefix: \"\" }, groups: { claim: g, prefix: \"\" } }",
        ),
    );
    let faults = folder.faults();
    let begins = |start: &str| assert!(faults.iter().any(|f| f.starts_with(start)), "{start}\nin {faults:#?}");
    begins("mantlet.yaml:10:63: there is no cluster `dev`\nhint: name one of `clusters`");
    begins("mantlet.yaml:10:46: a cluster's own issuer vouches for ServiceAccounts, which are not people");
    begins("authentication.yaml:4:54: `https://ci.example.com` is an audience of cluster `dev`");
    begins("authentication.yaml:4:93: `discoveryURL` is not used for a cluster's own issuer");
    begins("authentication.yaml:4:134: `certificateAuthority` is not used for a cluster's own issuer");
    begins(
        "authentication.yaml:5:20: `username` is not how a cluster's own issuer names anybody: the name is k8s:CLUSTER:NAMESPACE:NAME",
    );
    begins("authentication.yaml:5:60: a ServiceAccount has no groups here");
    assert_eq!(faults.len(), 7, "{faults:#?}");
}

#[test]
fn an_audit_policy_is_read_as_the_api_server_reads_it() {
    let folder = Folder::new("audit");
    let recording = "recording: { policy: audit.yaml, export: { file: { path: audit.jsonl, maxSizeMB: 100 }, webhook: hook.kubeconfig } }\nstorage:";
    folder.write("mantlet.yaml", &MANTLET.replace("storage:", recording));
    folder.write("hook.kubeconfig", "");
    folder.write(
        "audit.yaml",
        "apiVersion: audit.k8s.io/v1 # This is required.\nkind: Policy\nomitStages:\n  - \"RequestReceived\"\nrules:\n  - level: None\n    users: [\"system:kube-proxy\"]\n    resources:\n    - group: \"\" # core API group\n      resources: [\"endpoints\"]\n  - level: Metadata\n",
    );
    let config = load(&folder.0.join("mantlet.yaml"), Epoch::new(1)).unwrap();
    let file = config.recording.file.unwrap();
    assert_eq!(
        (file.path, file.max_size),
        (folder.0.join("audit.jsonl"), Some(100 << 20))
    );
    assert_eq!(config.recording.webhook, Some(folder.0.join("hook.kubeconfig")));
    assert_eq!(config.files.len(), 9);

    folder.write(
        "audit.yaml",
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n  user: [a]\n- level: Metadata\n  omitStages: [ResponseStart]\n",
    );
    let expected = [
        "audit.yaml:4:10: unknown `Everything`, expected one of `None`, `Metadata`, `Request`, `RequestResponse`",
        "audit.yaml:5:3: unknown field `user`, expected one of `level`, `users`, `userGroups`, `verbs`, `resources`, `namespaces`, `nonResourceURLs`, `omitStages`, `omitManagedFields`\nhint: write `users`",
        "audit.yaml:7:16: unknown `ResponseStart`, expected one of `RequestReceived`, `ResponseStarted`, `ResponseComplete`, `Panic`\nhint: write `ResponseStarted`",
    ];
    assert_eq!(folder.faults(), expected);
    folder.write(
        "audit.yaml",
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  resources: [{ group: apps/v1 }]\n  nonResourceURLs: [healthz]\n",
    );
    let faults = folder.faults();
    let begins = |start: &str| assert!(faults.iter().any(|f| f.starts_with(start)), "{start}\nin {faults:#?}");
    begins("audit.yaml:5:24: `apps/v1` is not the name of an API group\nhint: ");
    begins("audit.yaml:6:21: `healthz` does not begin with `/`\nhint: ");
    begins("audit.yaml:6:3: a rule is about resources or about non-resource URLs");
    assert_eq!(faults.len(), 3, "{faults:#?}");
}

#[test]
fn proxies_are_networks_and_nothing_that_could_mean_two() {
    let folder = Folder::new("proxies");
    let with = |written: &str| MANTLET.replace("listen: {", &format!("listen: {{ proxyProtocol: {written},"));
    folder.write(
        "mantlet.yaml",
        &with("{ trusted: [10.0.0.0/24, 192.0.2.7, \"2001:db8::/32\"] }"),
    );
    let config = load(&folder.0.join("mantlet.yaml"), Epoch::new(1)).unwrap();
    assert_eq!(config.listen.trusted.0.len(), 3);
    folder.write(
        "mantlet.yaml",
        &with("{ trusted: [10.0.0.1/24, balancer, 10.0.0.0/33] }"),
    );
    let hint = "hint: write an address or a network: `10.0.0.7`, `10.0.0.0/24`, `2001:db8::/32`";
    assert_eq!(
        folder.faults(),
        [
            format!("mantlet.yaml:3:38: `10.0.0.1/24` has bits behind its network: is it `10.0.0.0/24`?\n{hint}"),
            format!("mantlet.yaml:3:51: `balancer` is not a network\n{hint}"),
            format!("mantlet.yaml:3:61: `10.0.0.0/33` is not a network\n{hint}"),
        ]
    );
    folder.write("mantlet.yaml", &with("{ trusted: [] }"));
    assert_eq!(
        folder.faults(),
        [
            "mantlet.yaml:3:28: nobody is trusted\nhint: name the proxies, or leave `proxyProtocol` out: `proxyProtocol: { trusted: [10.0.0.0/24] }`"
        ]
    );
}
