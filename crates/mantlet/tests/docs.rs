//! Documents are kept true: every YAML in them is loaded as Mantlet would load it, every field is described, every link and path leads somewhere.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first thing that is wrong with it"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mantlet::config::{self, Fault};
use mantlet::policy;
use mantlet_core::law::Epoch;
use serde_json::{Value, json};

#[test]
fn every_yaml_loads() {
    let mut counted = BTreeSet::new();
    for document in documents() {
        for (line, text) in fences(&document.text, "yaml") {
            for object in parse(&text) {
                let at = format!("{}:{line}", document.name);
                let kind = object["kind"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{at}: no kind; a fragment is ```text"));
                let group = object["apiVersion"]
                    .as_str()
                    .unwrap_or_default()
                    .split('/')
                    .next()
                    .unwrap();
                match (group, kind) {
                    ("mantlet.dev", "PolicyTest") => passes(&object, &at),
                    ("mantlet.dev", _) | ("apiserver.config.k8s.io", _) | ("audit.k8s.io", _) => load(&object, &at),
                    // Objects of Kubernetes: applied as they stand, so that much can be said of them.
                    _ => assert!(!group.is_empty(), "{at}: no apiVersion"),
                }
                counted.insert(if group == "audit.k8s.io" { "audit" } else { kind }.to_owned());
            }
        }
    }
    for kind in [
        "Configuration",
        "AuthenticationConfiguration",
        "Agent",
        "Policy",
        "PolicyTest",
        "audit",
        "ClusterRole",
    ] {
        assert!(counted.contains(kind), "no document shows a {kind}");
    }
}

#[test]
fn every_field_is_described() {
    let mut seen = 0;
    let mut missing = BTreeSet::new();
    for (page, kind) in [
        ("configuration.md", "Configuration"),
        ("policy.md", "Agent"),
        ("policy.md", "Policy"),
        ("how-to-test-policies.md", "PolicyTest"),
    ] {
        let page = std::fs::read_to_string(root().join("docs/src").join(page)).unwrap();
        let shown = fences(&page, "yaml").into_iter().flat_map(|(_, text)| parse(&text));
        for field in shown
            .filter(|object| object["kind"] == kind && object["apiVersion"] != "audit.k8s.io/v1")
            .flat_map(|object| known_fields(&object))
        {
            let spellings = ["`F`", "`F.", ".F`", ".F.", ".F[", "`F[", "…F`"].map(|s| s.replace('F', &field));
            if !spellings.iter().any(|spelling| page.contains(spelling)) {
                missing.insert(format!("{kind}: {field}"));
            }
            seen += 1;
        }
    }
    assert_eq!(missing, BTreeSet::new(), "are described nowhere");
    assert!(seen > 50, "only {seen} fields were found");
}

#[test]
fn every_shipped_policy_is_described() {
    let page = std::fs::read_to_string(root().join("docs/src/policy.md")).unwrap();
    use mantlet::dev::{AGENT_DEPLOYER, AGENT_READONLY, GUARDRAILS, HUMAN_SRE};
    for object in [GUARDRAILS, AGENT_DEPLOYER, AGENT_READONLY, HUMAN_SRE]
        .into_iter()
        .flat_map(parse)
    {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(
            page.contains(&format!("| `{name}` |")),
            "`{name}` is not in docs/src/policy.md"
        );
    }
}

/// What names something outside of a namespace, as the gateway has it compiled in.
#[test]
fn the_table_of_references_is_shown_as_it_is() {
    let table = &parse(&std::fs::read_to_string(root().join("crates/core/src/law/references.yaml")).unwrap())[0];
    let words = |list: &Value| -> Vec<String> {
        let words = list
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().to_owned());
        words.collect()
    };
    let mut shown = String::from("| resource | field | names | why |\n|---|---|---|---|\n");
    for row in table["references"].as_array().unwrap() {
        let group = row["apiGroup"].as_str().unwrap();
        let dot = if group.is_empty() { "" } else { "." };
        let resources: Vec<_> = words(&row["resources"])
            .iter()
            .map(|resource| format!("{resource}{dot}{group}"))
            .collect();
        let only = row["only"].as_object().into_iter().flatten();
        let only = only.map(|(field, values)| format!(" (`{field}`: {})", words(values).join(", ")));
        let (at, only) = (words(&row["at"]).join(" "), only.collect::<String>());
        let (names, why) = (row["names"].as_str().unwrap(), row["why"].as_str().unwrap());
        shown.push_str(&format!(
            "| {} | `{at}`{only} | {names} | {why} |\n",
            resources.join(", ")
        ));
    }
    generated("references.md", &shown);
}

/// A page is what stands above its first table, and `text`. `MANTLET_BLESS=1` writes it.
fn generated(page: &str, text: &str) {
    let path = root().join("docs/src").join(page);
    let there = std::fs::read_to_string(&path).unwrap();
    let (above, _) = there.split_once("\n| ").unwrap_or((there.trim_end(), ""));
    let whole = format!("{}\n\n{text}", above.trim_end());
    if std::env::var_os("MANTLET_BLESS").is_some() {
        std::fs::write(&path, &whole).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        there, whole,
        "docs/src/{page} is out of date: run the tests with MANTLET_BLESS=1"
    );
}

#[test]
fn every_page_is_in_the_summary() {
    let folder = root().join("docs/src");
    let summary = std::fs::read_to_string(folder.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<_> = links(&summary).into_iter().map(|(_, link)| link).collect();
    let pages = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<_> = pages
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect();
    assert_eq!(listed, pages);
}

#[test]
fn every_link_leads_somewhere() {
    for document in documents() {
        for (line, link) in links(&document.text) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => document.path.clone(),
                path => document.path.parent().unwrap().join(path),
            };
            assert!(target.exists(), "{}:{line}: {link}", document.name);
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            assert!(
                anchor.is_empty() || anchors(&text).contains(anchor),
                "{}:{line}: {link}",
                document.name
            );
        }
    }
}

#[test]
fn every_path_and_task_that_is_named_exists() {
    let tasks = std::fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    for document in documents() {
        for word in document.text.split('`').skip(1).step_by(2) {
            let in_tree = ["crates/", "docs/", "policies/", "cluster/", "xtask/"]
                .iter()
                .any(|top| word.starts_with(top));
            // What the data directory holds is named alike, and the museum's own test misses its cases.
            let elsewhere = word.starts_with("cluster/audit/") || word.starts_with("crates/stories/cases/");
            if in_tree && !elsewhere && !word.contains(['*', ' ']) {
                assert!(root().join(word).exists(), "{}: `{word}` does not exist", document.name);
            }
        }
        for rest in document.text.split("cargo xtask ").skip(1) {
            let task: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            let known = task.is_empty() || tasks.contains(&format!("\"{task}\" =>"));
            assert!(known, "{}: there is no `cargo xtask {task}`", document.name);
        }
    }
}

#[derive(Debug)]
struct Document {
    name: String,
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Those at the top of the repository, and everything below `docs/`.
fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    for folder in ["", "docs/src", "docs/decisions"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Document { name, path, text });
            }
        }
    }
    assert!(found.len() > 15, "documents are missing");
    found
}

/// Code blocks of one language, each with the line it begins at.
fn fences(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((index + 2, word.trim() == language, String::new())),
            (Some(_), Some((begin, wanted, body))) => {
                found.extend(wanted.then(|| (*begin, std::mem::take(body))));
                open = None;
            }
            (None, Some((_, _, body))) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a code block has no end");
    found
}

fn parse(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"))
}

fn links(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.starts_with("```");
        if !fenced {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| (index + 1, target.to_owned())));
        }
    }
    found
}

/// As GitHub and mdBook make them of headings: lower case, spaces to dashes, punctuation left out.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        line.strip_prefix('#')
            .map(|rest| rest.trim_start_matches('#').trim().to_lowercase())
    };
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    text.lines()
        .filter_map(heading)
        .map(|h| h.chars().filter_map(kept).collect())
        .collect()
}

/// Loads one object in the midst of a configuration that fits it.
fn load(object: &Value, at: &str) {
    if let Err(faults) = loaded(object) {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        panic!("{at}: {}", faults.join("\n"));
    }
}

/// A test that is shown passes as it stands.
fn passes(object: &Value, at: &str) {
    match tested(object) {
        Ok(told) => assert!(told.good, "{at}: {}", told.text),
        Err(faults) => panic!("{at}: {faults:#?}"),
    }
}

fn tested(object: &Value) -> Result<policy::Told, Vec<Fault>> {
    let folder = tempfolder();
    std::fs::write(folder.join("test.yaml"), object.to_string()).unwrap();
    let told = policy::test(std::slice::from_ref(&folder), policy::Form::Table);
    std::fs::remove_dir_all(&folder).unwrap();
    told
}

fn loaded(object: &Value) -> Result<(), Vec<Fault>> {
    let folder = tempfolder();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let (configuration, authentication) = surroundings(object);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    write("tls.crt", &certificate.pem());
    write("tls.key", &key.serialize_pem());
    write("prod.kubeconfig", "");
    write("authentication.yaml", &authentication.to_string());
    write("mantlet.yaml", &configuration.to_string());
    let audit = object["apiVersion"] == "audit.k8s.io/v1";
    let metadata = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]});
    let policy = if audit { object } else { &metadata };
    write("audit-policy.yaml", &policy.to_string());
    write("audit-webhook.kubeconfig", "");
    if !audit && ["Agent", "Policy"].iter().any(|kind| object["kind"] == *kind) {
        write("policies/shown.yaml", &object.to_string());
    }
    let loaded = config::load(&folder.join("mantlet.yaml"), Epoch::new(1)).map(|_| ());
    std::fs::remove_dir_all(&folder).unwrap();
    loaded
}

fn tempfolder() -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("mantlet-docs-{}-{number}", std::process::id()));
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    folder
}

/// The object itself where it is one of the two files, and what goes with it.
fn surroundings(object: &Value) -> (Value, Value) {
    let people = "https://login.example.com";
    let authentication = |urls: &[Value]| {
        let issuer = |url: &Value| json!({"issuer": {"url": url, "audiences": ["mantlet"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}});
        let issuers: Vec<_> = urls.iter().map(issuer).collect();
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": issuers})
    };
    let configuration = |urls: &[Value]| {
        let issuers: Vec<_> = urls
            .iter()
            .map(|url| json!({"url": url, "population": "people"}))
            .collect();
        json!({
            "apiVersion": "mantlet.dev/v1alpha1", "kind": "Configuration",
            "listen": {"address": "127.0.0.1:8443", "tls": {"certFile": "tls.crt", "keyFile": "tls.key"}},
            "clusters": [{"name": "prod", "kubeconfig": "prod.kubeconfig"}],
            "authentication": "authentication.yaml", "issuers": issuers, "policies": "policies",
            "recording": {"policy": "audit-policy.yaml"},
            "storage": {"database": "sqlite://mantlet.db"},
        })
    };
    let urls = |list: &Value, at: &str| -> Vec<Value> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|item| item.pointer(at).unwrap().clone())
            .collect()
    };
    match object["kind"].as_str() {
        Some("Configuration") => (object.clone(), authentication(&urls(&object["issuers"], "/url"))),
        Some("AuthenticationConfiguration") => (configuration(&urls(&object["jwt"], "/issuer/url")), object.clone()),
        _ => (configuration(&[json!(people)]), authentication(&[json!(people)])),
    }
}

/// Every field that may stand in any map of the object: an unknown one is put into each, and the loader says what it knows.
fn known_fields(object: &Value) -> BTreeSet<String> {
    let mut maps = Vec::new();
    find_maps(object, String::new(), &mut maps);
    let mut fields = BTreeSet::new();
    // The agents in a test are those of another page.
    let elsewhere = |map: &String| object["kind"] == "PolicyTest" && map.starts_with("/agents");
    for map in maps.into_iter().filter(|map| !elsewhere(map)) {
        let mut spoiled = object.clone();
        spoiled.pointer_mut(&map).unwrap()["nosuch"] = json!(1);
        let faults = match object["kind"] == "PolicyTest" {
            // Of a test, what is sent and what is known may be anything.
            true if tested(&spoiled).is_ok() => continue,
            true => tested(&spoiled).map(|_| ()).expect_err(&map),
            false => loaded(&spoiled).expect_err(&map),
        };
        let unknown = faults
            .iter()
            .map(ToString::to_string)
            .find(|f| f.contains("unknown field `nosuch`"));
        // What may be a word or a map (`mode`) is refused as a whole, without a list.
        let Some(text) = unknown else { continue };
        let known = text
            .lines()
            .next()
            .unwrap()
            .split_once("expected")
            .map_or("", |(_, known)| known);
        fields.extend(known.split('`').skip(1).step_by(2).map(ToOwned::to_owned));
    }
    fields
}

fn find_maps(value: &Value, path: String, maps: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                find_maps(field, format!("{path}/{name}"), maps);
            }
            maps.push(path);
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_maps(item, format!("{path}/{index}"), maps);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
