//! Case files (`cases/policy/*.yaml`): agents, policies, callers and requests as people write them, and what each must come to.
//! A reviewer adds a case without Rust; `cases/policy/README.md` says how.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mantlet_api::policy as written;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ClusterRef, DenialReason, Epoch, Fact, Facts, Fault, Judgment, Law, Lookup, LookupKind, Precondition, Rule, Source,
    Step, Verdict, Written,
};
use crate::action::{self, Action, Head};
use crate::identity::{Population, Verified};
use crate::mask::{self, Hint};
use crate::time::Timestamp;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    /// Names of packs in the folder `policies` of the repository.
    packs: Vec<String>,
    /// Names of other case files, whose agents, policies and callers are taken.
    with: Vec<String>,
    agents: Vec<written::Agent>,
    policies: Vec<written::Policy>,
    roles: Vec<written::RoleGrant>,
    risk: Option<written::RiskThresholds>,
    own_namespaces: Vec<String>,
    callers: BTreeMap<String, Who>,
    cases: Vec<Case>,
    /// Each makes the law impossible to compile; the faults that must be found.
    faults: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Who {
    population: Population,
    #[serde(default = "issuer")]
    issuer: String,
    subject: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    claims: Value,
}

fn issuer() -> String {
    String::from("https://issuer.test")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "as")]
    caller: String,
    #[serde(default = "prod")]
    cluster: String,
    #[serde(default)]
    request: String,
    /// JSON or YAML; sent as JSON.
    body: Option<Value>,
    content_type: Option<String>,
    /// The answer to the dry-run: that of `facts` whose name is `dryRun`.
    dry_run: Option<Found>,
    /// By the name of the look-up. A case with one must ask for it, a case without must not.
    #[serde(default)]
    facts: BTreeMap<String, Found>,
    verdict: Expected,
    /// The rule that decides: `policy:NAME`, `agent:NAME`, `built-in:self-protection`.
    by: Option<String>,
    /// Texts that the message to the caller contains.
    #[serde(default)]
    says: Vec<String>,
    session: Option<String>,
    /// Texts, one for each warning, in order.
    #[serde(default)]
    warns: Vec<String>,
    /// Every rule that applied, in order, if given.
    applied: Option<Vec<String>>,
    not_judged: Option<Vec<String>>,
    /// Text in the detail for the operator's log.
    detail: Option<String>,
    /// What an allowed change is bound to: `UID@VERSION`, `absent`, `torn`; with `facts` and without this, nothing.
    binds: Option<String>,
    risk: Option<u8>,
    shadow_risk: Option<u8>,
    /// Of the risk: points and reason, in order, `(points)` for the shadow.
    reasons: Option<Vec<String>>,
    /// What policies write into the event.
    annotations: Option<BTreeMap<String, String>>,
    /// Texts, one for each rule that applied whose message the caller may not read, in order.
    #[serde(default)]
    withheld: Vec<String>,
}

fn prod() -> String {
    String::from("prod")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Found {
    Known(Value),
    Absent,
    Refused {
        code: u16,
        message: String,
    },
    /// The caller has no right to the request.
    Forbidden,
    Failed(String),
    /// The gateway comes back without an answer.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Expected {
    NotRecognized,
    Allow,
    Hold,
    Deny,
    /// The API server's own refusal of the dry-run.
    Upstream,
}

/// What a case came to.
#[derive(Debug)]
struct Outcome {
    verdict: Expected,
    by: Option<String>,
    message: String,
    session: String,
    detail: Option<String>,
    warnings: Vec<String>,
    applied: Vec<String>,
    not_judged: Vec<String>,
    binds: Option<String>,
    risk: super::Risk,
    annotations: BTreeMap<String, String>,
    withheld: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/policy")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn load(name: &str) -> File {
    let mut file: File = serde_saphyr::from_str(&read(&folder().join(name))).unwrap_or_else(|e| panic!("{name}: {e}"));
    for other in std::mem::take(&mut file.with) {
        let other = load(&other);
        file.packs.extend(other.packs);
        file.agents.extend(other.agents);
        file.policies.extend(other.policies);
        file.own_namespaces.extend(other.own_namespaces);
        file.callers.extend(other.callers);
    }
    for pack in std::mem::take(&mut file.packs) {
        file.policies.extend(load_pack(&pack));
    }
    file
}

fn load_pack(name: &str) -> Vec<written::Policy> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../policies")
        .join(format!("{name}.yaml"));
    serde_saphyr::from_multiple(&read(&path)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn compile(file: &File) -> Result<Law, Vec<Fault>> {
    let numbered = |at: usize| Source::Document(at);
    let written = Written {
        agents: file
            .agents
            .iter()
            .cloned()
            .enumerate()
            .map(|(at, a)| (numbered(at), a))
            .collect(),
        policies: file
            .policies
            .iter()
            .cloned()
            .enumerate()
            .map(|(at, p)| (numbered(at), p))
            .collect(),
        risk: file.risk,
        roles: file.roles.clone(),
        own_namespaces: file.own_namespaces.iter().cloned().collect(),
        clusters: ["prod", "staging"].map(String::from).into(),
    };
    Law::compile(written, Epoch::new(7))
}

/// Every case of the file. Also with the policies in reverse: their order must not matter.
fn check(name: &str) {
    let mut file = load(name);
    assert!(!file.cases.is_empty(), "{name} has no cases");
    let mut wrong = Vec::new();
    for _ in ["as written", "in reverse"] {
        let law = compile(&file).unwrap_or_else(|faults| panic!("{name}: {}", joined(&faults)));
        wrong.extend(file.cases.iter().flat_map(|case| differences(case, &law, &file)));
        file.policies.reverse();
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

fn check_faults(name: &str) {
    let file = load(name);
    let found = compile(&file).expect_err("the law compiles");
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    let found: Vec<_> = found.iter().map(|f| f.lines().next().unwrap_or_default()).collect();
    let unexpected: Vec<_> = found
        .iter()
        .filter(|f| !file.faults.iter().any(|e| f.contains(e.as_str())))
        .collect();
    let missing: Vec<_> = file
        .faults
        .iter()
        .filter(|e| !found.iter().any(|f| f.contains(e.as_str())))
        .collect();
    assert!(
        unexpected.is_empty() && missing.is_empty(),
        "unexpected: {unexpected:#?}\nmissing: {missing:#?}"
    );
}

fn joined(faults: &[Fault]) -> String {
    faults
        .iter()
        .map(|f| format!("{:?} {f}", f.source))
        .collect::<Vec<_>>()
        .join("\n")
}

fn differences(case: &Case, law: &Law, file: &File) -> Vec<String> {
    let outcome = run(case, law, file);
    let mut wrong = Vec::new();
    let mut differ = |what: &str, wanted: String, got: String| {
        if wanted != got {
            wrong.push(format!(
                "- {}: {what}: wanted {wanted}, got {got}\n    {}",
                case.name, outcome.message
            ));
        }
    };
    differ(
        "verdict",
        format!("{:?}", case.verdict),
        format!("{:?}", outcome.verdict),
    );
    let rule = |rule: &Option<String>| rule.clone().unwrap_or_default();
    differ("rule", rule(&case.by), rule(&outcome.by));
    if case.binds.is_some() || !case.facts.is_empty() {
        differ("binds", rule(&case.binds), rule(&outcome.binds));
    }
    for text in &case.says {
        differ(
            "message says",
            format!("{text:?}"),
            if outcome.message.contains(text) {
                format!("{text:?}")
            } else {
                "nothing of it".into()
            },
        );
    }
    differ(
        "number of warnings",
        case.warns.len().to_string(),
        format!("{}", outcome.warnings.len()),
    );
    for (wanted, got) in case.warns.iter().zip(&outcome.warnings) {
        differ(
            "warning",
            wanted.clone(),
            if got.contains(wanted.as_str()) {
                wanted.clone()
            } else {
                got.clone()
            },
        );
    }
    if let Some(session) = &case.session {
        differ("session", session.clone(), outcome.session.clone());
    }
    if let Some(applied) = &case.applied {
        differ("applied", applied.join(", "), outcome.applied.join(", "));
    }
    if let Some(names) = &case.not_judged {
        differ("not judged", names.join(", "), outcome.not_judged.join(", "));
    }
    if let Some(detail) = &case.detail {
        let got = outcome.detail.clone().unwrap_or_default();
        differ(
            "detail",
            detail.clone(),
            if got.contains(detail.as_str()) {
                detail.clone()
            } else {
                got
            },
        );
    }
    differences_of_risk(case, &outcome, &mut differ);
    if let Some(annotations) = &case.annotations {
        differ(
            "annotations",
            format!("{annotations:?}"),
            format!("{:?}", outcome.annotations),
        );
    }
    differ("withheld", case.withheld.join("; "), outcome.withheld.join("; "));
    let lines = outcome.message.lines().count();
    differ("at most three lines", String::from("true"), (lines <= 3).to_string());
    wrong
}

fn differences_of_risk(case: &Case, outcome: &Outcome, differ: &mut impl FnMut(&str, String, String)) {
    for (what, wanted, got) in [
        ("risk", case.risk, outcome.risk.score),
        ("shadow risk", case.shadow_risk, outcome.risk.shadow),
    ] {
        if let Some(wanted) = wanted {
            differ(what, wanted.to_string(), got.to_string());
        }
    }
    if let Some(reasons) = &case.reasons {
        let said = |r: &super::RiskReason| match r.shadow {
            true => format!("({}) {}", r.points, r.reason),
            false => format!("{} {}", r.points, r.reason),
        };
        let got: Vec<_> = outcome.risk.reasons.iter().map(said).collect();
        differ("reasons", reasons.join("; "), got.join("; "));
    }
}

fn run(case: &Case, law: &Law, file: &File) -> Outcome {
    let who = file
        .callers
        .get(&case.caller)
        .unwrap_or_else(|| panic!("{}: no caller `{}`", case.name, case.caller));
    let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
    let caller = match law.recognize(Arc::new(verified(who)), &case.cluster, now) {
        Ok(caller) => Arc::new(caller),
        Err(denial) => {
            return Outcome {
                verdict: Expected::NotRecognized,
                by: denial.rule.as_ref().map(Rule::to_string),
                message: denial.message,
                session: String::new(),
                detail: denial.detail,
                warnings: Vec::new(),
                applied: Vec::new(),
                not_judged: Vec::new(),
                binds: None,
                risk: super::Risk::default(),
                annotations: BTreeMap::new(),
                withheld: Vec::new(),
            };
        }
    };
    let cluster = ClusterRef {
        name: case.cluster.clone(),
        uid: String::from("uid-of-kube-system"),
    };
    let action = Arc::new(understand(case));
    let mut given: BTreeMap<&str, &Found> = case.facts.iter().map(|(name, found)| (name.as_str(), found)).collect();
    given.extend(case.dry_run.as_ref().map(|found| ("dryRun", found)));
    let mut facts = Facts::default();
    let mut asked = BTreeSet::new();
    let judgment = loop {
        match law.evaluate(&cluster, &caller, &action, &facts, now) {
            Step::Done(judgment) => break judgment,
            Step::Need(lookups) => {
                let answers = lookups.iter().flat_map(|lookup| {
                    let kind = lookup.kind().as_str();
                    assert!(asked.insert(kind), "{}: asks twice for {kind}", case.name);
                    let found = given
                        .get(kind)
                        .unwrap_or_else(|| panic!("{}: asks for {kind}", case.name));
                    check_queries(lookup, &case.name);
                    fact(found, &action).map(|fact| lookup.learned(fact))
                });
                let answers = answers.collect();
                facts.learn(&lookups, answers);
            }
        }
    };
    let given: BTreeSet<_> = given.into_keys().collect();
    assert_eq!(asked, given, "{}: asked for", case.name);
    outcome(*judgment, caller.session_key().to_owned())
}

/// A look-up changes nothing: it reads, or is a dry-run.
fn check_queries(lookup: &Lookup, name: &str) {
    let queries = lookup.queries();
    assert!(!queries.is_empty(), "{name}: {:?} asks nothing", lookup.kind());
    for query in queries {
        let outgoing = query.outgoing();
        let dry_runs = outgoing.path_and_query.matches("dryRun=All").count();
        match lookup.kind() {
            LookupKind::DryRun => assert_eq!(dry_runs, 1, "{name}: {outgoing:?}"),
            LookupKind::OldObject
            | LookupKind::Target
            | LookupKind::NamespaceObject
            | LookupKind::Dependents
            | LookupKind::Members
            | LookupKind::Rights => assert_eq!(outgoing.method, "GET", "{name}: {outgoing:?}"),
        }
    }
}

fn outcome(judgment: Judgment, session: String) -> Outcome {
    let mut binds = None;
    let (verdict, by, message, detail) = match judgment.verdict {
        Verdict::Allow(permit) => {
            binds = permit.terms().precondition().map(|precondition| match precondition {
                Precondition::Exactly { uid, resource_version } => format!("{uid}@{resource_version}"),
                Precondition::Absent => String::from("absent"),
                Precondition::Torn => String::from("torn"),
            });
            assert_eq!(permit.epoch(), Epoch::new(7));
            (Expected::Allow, None, String::new(), None)
        }
        Verdict::Hold(question) => (Expected::Hold, Some(question.rule.to_string()), question.message, None),
        Verdict::Deny(denial) => {
            let verdict = match denial.reason {
                DenialReason::Upstream { .. } => Expected::Upstream,
                DenialReason::NotRecognized => Expected::NotRecognized,
                DenialReason::ScopeDenied | DenialReason::SelfProtection | DenialReason::PolicyDenied => Expected::Deny,
                DenialReason::Suspended | DenialReason::SessionEnded | DenialReason::LimitReached => {
                    panic!("the law itself keeps no state: {:?}", denial.reason)
                }
            };
            (
                verdict,
                denial.rule.map(|r| r.to_string()),
                denial.message,
                denial.detail,
            )
        }
    };
    let applied = judgment.applied.iter().map(|a| a.rule.to_string()).collect();
    let withheld = judgment.applied.iter().filter_map(|a| a.withheld.clone()).collect();
    let (warnings, not_judged) = (judgment.warnings, judgment.not_judged);
    Outcome {
        verdict,
        by,
        message,
        session,
        detail,
        warnings,
        applied,
        not_judged,
        binds,
        risk: judgment.risk,
        annotations: judgment.annotations,
        withheld,
    }
}

fn verified(who: &Who) -> Verified {
    Verified {
        issuer: who.issuer.clone(),
        subject: who.subject.clone(),
        population: who.population,
        username: if who.username.is_empty() {
            who.subject.clone()
        } else {
            who.username.clone()
        },
        groups: who.groups.clone(),
        uid: String::new(),
        extra: BTreeMap::new(),
        claims: who.claims.clone(),
        expires: Timestamp::from_seconds(i64::from(u32::MAX)),
    }
}

fn understand(case: &Case) -> Action {
    let (method, url) = case
        .request
        .trim()
        .split_once(' ')
        .unwrap_or_else(|| panic!("{}: no request", case.name));
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let json = (case.body.is_some() && method != "PATCH").then_some("application/json");
    let patch = (method == "PATCH").then_some("application/merge-patch+json");
    let content_type = case.content_type.as_deref().or(json).or(patch);
    let head = Head {
        method,
        path,
        query,
        accept: &["application/json"],
        content_type,
        upgrade: false,
    };
    let body = case.body.as_ref().map(|b| Bytes::from(b.to_string()));
    let outline = action::parse(&head).unwrap_or_else(|e| panic!("{}: {}", case.name, e.message));
    outline
        .complete(body)
        .unwrap_or_else(|e| panic!("{}: {}", case.name, e.message))
}

fn fact(found: &Found, action: &Action) -> Option<Fact<Arc<mask::Masked<Value>>>> {
    let secrets = action.resource().is_some_and(|r| r.resource == "secrets");
    let hint = if secrets { Hint::Secrets } else { Hint::Other };
    match found {
        Found::Known(object) => Some(Fact::Known(Arc::new(mask::value(object.clone(), hint)))),
        Found::Absent => Some(Fact::Absent),
        Found::Refused { code, message } => {
            let status =
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message });
            Some(Fact::Refused {
                code: *code,
                status: Arc::new(mask::value(status, Hint::Other)),
            })
        }
        Found::Forbidden => Some(Fact::Forbidden {
            status: Arc::new(mask::value(
                json!({ "code": 403, "message": "User cannot do this" }),
                Hint::Other,
            )),
        }),
        Found::Failed(why) => Some(Fact::Failed(why.clone())),
        Found::Silent => None,
    }
}

#[test]
fn identities_are_recognized_as_one_agent_or_as_a_person() {
    check("recognize.yaml");
}

#[test]
fn an_agent_acts_only_within_its_scope() {
    check("scope.yaml");
}

#[test]
fn secrets_in_scope_follow_the_names_that_the_agent_may_use() {
    check("secrets.yaml");
}

#[test]
fn nobody_changes_what_belongs_to_the_gateway() {
    check("self-protection.yaml");
}

#[test]
fn deny_wins_whatever_the_order() {
    check("precedence.yaml");
}

#[test]
fn a_mode_holds_for_each_population() {
    check("modes.yaml");
}

#[test]
fn what_a_patch_would_store_is_judged() {
    check("dry-run.yaml");
}

#[test]
fn a_fact_is_asked_for_only_by_a_rule_that_needs_it() {
    check("facts.yaml");
}

#[test]
fn risk_is_the_sum_of_its_reasons_and_decides_at_thresholds() {
    check("risk.yaml");
}

#[test]
fn policies_word_their_messages_and_annotate_events() {
    check("words.yaml");
}

#[test]
fn an_expression_that_errs_never_passes() {
    check("errors.yaml");
}

#[test]
fn rules_match_by_cluster_subject_resource_and_name() {
    check("matching.yaml");
}

#[test]
fn the_guardrails_hold_agents_and_warn_people() {
    check("guardrails.yaml");
}

#[test]
fn a_deployer_changes_applications_and_asks_for_the_rest() {
    check("agent-deployer.yaml");
}

#[test]
fn a_reader_looks_and_does_nothing_else() {
    check("agent-readonly.yaml");
}

#[test]
fn people_who_run_the_cluster_are_held_where_one_is_not_enough() {
    check("human-sre.yaml");
}

#[test]
fn every_fault_of_the_written_law_is_found_at_once() {
    check_faults("faults.yaml");
}

#[test]
fn roles_are_granted_by_issuer_name_and_cluster() {
    let file = load("roles.yaml");
    let law = compile(&file).unwrap_or_else(|faults| panic!("{}", joined(&faults)));
    let roles = |who: &str, cluster: &str| law.roles(&verified(&file.callers[who]), cluster);
    let (viewer, auditor) = (written::Role::Viewer, written::Role::Auditor);
    assert!(roles("sre", "prod").has(viewer) && !roles("sre", "prod").has(auditor));
    assert!(!roles("sre", "staging").has(viewer));
    assert!(roles("auditor", "staging").has(auditor) && roles("auditor", "prod").has(auditor));
    assert!(!roles("sre-of-another-issuer", "prod").has(viewer));
    assert_eq!(roles("nobody", "prod"), super::Roles::default());
}
