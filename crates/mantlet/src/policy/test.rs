//! `mantlet policy test`: the cases that people write, judged by the law itself.
//!
//! In: files of kind PolicyTest, and the agents and policies that they name. Out: for each case whether it ended as written, and if not, in what it differs.
//! Refuses: a case that names a rule, a caller or a fact that does not exist, or gives a fact that nothing asks for: it would pass for ever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantlet_api::policytest::{PolicyTest, TestCaller, TestCase, TestVerdict};
use mantlet_cli::kubectl::{self, Asked, Operation, Place as Typed};
use mantlet_core::action::Action;
use mantlet_core::identity::Population;
use mantlet_core::law::{ClusterRef, Conclusion, FACTS, Given, GivenFact, Law, Persona, Rehearsed};
use mantlet_core::time::Timestamp;
use serde_json::{Value, json};

use super::law::{Beside, beside, compile, read};
use super::report::{Told, xml};
use super::request::{by_hand, of_kubectl, understand};
use crate::config::Fault;
use crate::config::read::read as read_document;
use crate::config::tree::{self, Document};

/// When nothing else is said.
const NOW: &str = "2026-01-01T00:00:00Z";
/// Folders in folders that are looked into.
const DEEPEST: usize = 8;

/// How the outcome is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Table,
    Json,
    JUnit,
}

/// One case that was tried.
#[derive(Debug)]
struct Tried {
    file: PathBuf,
    test: String,
    case: String,
    line: u64,
    /// In what it differs from what is written; nothing if it passed.
    differs: Vec<String>,
}

/// Tries every case that is found at these paths. The error is what keeps them from being tried.
pub fn test(paths: &[PathBuf], form: Form) -> Result<Told, Vec<Fault>> {
    let (mut tried, mut faults) = (Vec::new(), Vec::new());
    for document in documents(paths)? {
        match read_document::<PolicyTest>(&document).and_then(|test| try_all(&document, &test)) {
            Ok(more) => tried.extend(more),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if tried.is_empty() {
        let first = paths.first().map_or(Path::new("."), PathBuf::as_path);
        return Err(vec![
            Fault::whole(first, "holds no PolicyTest").hint("docs/src/how-to-test-policies.md shows one"),
        ]);
    }
    let good = tried.iter().all(|case| case.differs.is_empty());
    let text = match form {
        Form::Table => table(&tried),
        Form::Json => format!("{:#}\n", as_json(&tried)),
        Form::JUnit => junit(&tried),
    };
    Ok(Told { text, good })
}

/// Every PolicyTest of these files, and of the files in these folders; other kinds are none of ours.
fn documents(paths: &[PathBuf]) -> Result<Vec<Document>, Vec<Fault>> {
    let mut files = BTreeSet::new();
    for path in paths {
        walk(path, DEEPEST, &mut files).map_err(|fault| vec![fault])?;
    }
    let (mut documents, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match tree::read_file(&file) {
            Ok(found) => documents.extend(found.into_iter().filter(|d| d.text("kind") == Some("PolicyTest"))),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(documents) } else { Err(faults) }
}

fn walk(path: &Path, deep: usize, files: &mut BTreeSet<PathBuf>) -> Result<(), Fault> {
    if !path.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    if deep == 0 {
        return Err(Fault::whole(path, format!("lies more than {DEEPEST} folders deep")));
    }
    let unreadable = |e: std::io::Error| Fault::whole(path, format!("cannot be read: {e}"));
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| ["yaml", "yml"].contains(&e));
        if !hidden && (yaml || path.is_dir()) {
            walk(&path, deep - 1, files)?;
        }
    }
    Ok(())
}

/// One file's world.
struct World<'a> {
    document: &'a Document,
    test: &'a PolicyTest,
    law: Law,
    now: Timestamp,
}

fn try_all(document: &Document, test: &PolicyTest) -> Result<Vec<Tried>, Vec<Fault>> {
    let paths: Vec<PathBuf> = test
        .policies
        .iter()
        .map(|named| beside(&document.file, named))
        .collect();
    let prod = [String::from("prod")];
    let clusters = if test.clusters.is_empty() {
        &prod[..]
    } else {
        &test.clusters
    };
    let loaded = compile(
        read(&paths)?,
        &Beside {
            clusters,
            agents: &test.agents,
            risk: test.risk,
        },
    );
    let law = match loaded {
        Ok(loaded) => loaded.law,
        Err((loose, mut faults)) => {
            faults.extend(loose.into_iter().map(|text| document.fault("agents", text)));
            return Err(faults);
        }
    };
    let now = test.now.as_deref().unwrap_or(NOW);
    let now = Timestamp::parse(now).ok_or_else(|| {
        vec![
            document
                .fault("now", format!("`{now}` is no point in time"))
                .hint(format!("write it like `{NOW}`")),
        ]
    })?;
    let world = World {
        document,
        test,
        law,
        now,
    };
    Ok(test
        .cases
        .iter()
        .enumerate()
        .map(|(at, case)| world.tried(at, case))
        .collect())
}

impl World<'_> {
    fn tried(&self, at: usize, case: &TestCase) -> Tried {
        Tried {
            file: self.document.file.clone(),
            test: self.test.metadata.name.clone(),
            case: case.name.clone(),
            line: self.document.place(&format!("cases[{at}].name")).line,
            differs: self.differs(case).unwrap_or_else(|why| vec![why]),
        }
    }

    /// What is not as written; the error is a case that cannot be tried.
    fn differs(&self, case: &TestCase) -> Result<Vec<String>, String> {
        for rule in case.expect.rule.iter().chain(case.expect.applied.iter().flatten()) {
            if !self.law.has_rule(rule) {
                return Err(format!(
                    "`{rule}` is the name of no rule here; write it like `policy:NAME`, `agent:NAME` or `built-in:self-protection`"
                ));
            }
        }
        let who = self.who(&case.caller)?;
        let given = given(case)?;
        let cluster = case
            .cluster
            .as_ref()
            .or(self.test.clusters.first())
            .map_or("prod", String::as_str);
        let cluster = ClusterRef {
            name: cluster.to_owned(),
            uid: String::from("uid-of-kube-system"),
        };
        let actions = self.actions(case)?;
        let ends: Vec<Rehearsed> = actions
            .iter()
            .map(|action| self.law.rehearse(&who, &cluster, action, &given, self.now))
            .collect();
        let mut differs = facts_that_differ(&given, &ends);
        // The strictest speaks for a command line of several requests; of equals the first.
        match ends.iter().rev().max_by_key(|end| end.conclusion) {
            Some(end) => differs.extend(ends_that_differ(case, end)),
            None => return Err(String::from("the command sends nothing to a cluster")),
        }
        Ok(differs)
    }

    fn who(&self, name: &str) -> Result<Persona, String> {
        let named = TestCaller {
            agent: Some(name.to_owned()),
            ..TestCaller::default()
        };
        let caller = match self.test.callers.get(name) {
            Some(caller) => caller,
            None if self.law.agents().any(|agent| agent.name() == name) => &named,
            None => return Err(format!("`{name}` is none of `callers`, and no agent")),
        };
        let population = match (&caller.agent, &caller.user) {
            (Some(_), Some(_)) => return Err(format!("caller `{name}` is an agent or a person (`user`), not both")),
            (_, None) => Population::Agents,
            (None, Some(_)) => Population::People,
        };
        let username = caller
            .user
            .clone()
            .or(caller.agent.clone())
            .or(caller.subject.clone())
            .unwrap_or_default();
        Ok(Persona {
            population,
            issuer: caller
                .issuer
                .clone()
                .unwrap_or_else(|| String::from("https://issuer.test")),
            subject: caller.subject.clone().unwrap_or_else(|| username.clone()),
            username,
            groups: caller.groups.clone(),
            claims: caller.claims.clone().unwrap_or_else(|| json!({})),
            agent: caller.agent.clone(),
        })
    }

    fn actions(&self, case: &TestCase) -> Result<Vec<Arc<Action>>, String> {
        let asked = self.asked(case)?;
        let understood = |asked: &Asked| {
            understand(asked)
                .map_err(|why| format!("{} {} is refused before it is judged: {why}", asked.method, asked.uri))
        };
        asked.iter().map(understood).collect()
    }

    fn asked(&self, case: &TestCase) -> Result<Vec<Asked>, String> {
        let written = [
            case.request.is_some(),
            case.kubectl.is_some(),
            case.action.is_some(),
            case.create.is_some(),
            case.apply.is_some(),
            case.update.is_some(),
        ];
        if written.into_iter().filter(|is| *is).count() != 1 {
            return Err(String::from(
                "exactly one of `request`, `kubectl`, `action`, `create`, `apply`, `update` says what is asked",
            ));
        }
        if let Some(line) = &case.request {
            return by_hand(line, case.body.as_ref(), case.content_type.as_deref()).map(|asked| vec![asked]);
        }
        if case.body.is_some() || case.content_type.is_some() {
            return Err(String::from("`body` and `contentType` belong to a `request`"));
        }
        if let Some(line) = &case.kubectl {
            let file = |named: &str| {
                let path = beside(&self.document.file, named);
                std::fs::read_to_string(&path).map_err(|e| format!("`{}` cannot be read: {e}", path.display()))
            };
            return of_kubectl(
                line,
                Typed {
                    namespace: "default",
                    read: &file,
                },
            );
        }
        if let Some(action) = &case.action {
            let operation = Operation {
                verb: &action.verb,
                resource: &action.resource,
                namespace: &action.namespace,
                name: &action.name,
                body: action.body.as_ref(),
            };
            return kubectl::of_operation(operation).map(|asked| vec![asked]);
        }
        let manifests = [
            ("create", &case.create),
            ("apply", &case.apply),
            ("update", &case.update),
        ];
        let found = manifests
            .into_iter()
            .find_map(|(verb, object)| Some((verb, object.as_ref()?)));
        let (verb, object) = found.ok_or("nothing says what is asked")?;
        kubectl::of_manifest(verb, &object.to_string(), "default")
    }
}

fn given(case: &TestCase) -> Result<Given, String> {
    let known = case
        .facts
        .iter()
        .map(|(name, value)| (name, GivenFact::Known(value.clone())));
    let absent = case.absent.iter().map(|name| (name, GivenFact::Absent));
    let failed = case
        .failed
        .iter()
        .map(|name| (name, GivenFact::Failed(String::from("it cannot be had"))));
    let refused = case.refused.iter().map(|(name, said)| {
        (
            name,
            GivenFact::Refused {
                code: said.code,
                message: said.message.clone(),
            },
        )
    });
    let (mut given, mut names) = (Given::default(), BTreeSet::new());
    for (name, fact) in known.chain(absent).chain(failed).chain(refused) {
        if !names.insert(name) {
            return Err(format!("the fact `{name}` is given twice"));
        }
        if !given.add(name, fact) {
            return Err(format!("`{name}` is no fact; there are `{}`", FACTS.join("`, `")));
        }
    }
    Ok(given)
}

/// What is asked for must be given, and what is given asked for: else the case says nothing about it.
fn facts_that_differ(given: &Given, ends: &[Rehearsed]) -> Vec<String> {
    let missing: BTreeSet<&str> = ends.iter().flat_map(|end| end.missing.iter().copied()).collect();
    let asked: BTreeSet<&str> = ends.iter().flat_map(|end| end.asked.iter().copied()).collect();
    let missing = missing
        .iter()
        .map(|name| format!("the law asks for `{name}`, and the case does not say what that is"));
    let unused = given
        .names()
        .filter(|name| !asked.contains(name))
        .map(|name| format!("`{name}` is given, and the law does not ask for it"));
    missing.chain(unused).collect()
}

fn ends_that_differ(case: &TestCase, end: &Rehearsed) -> Vec<String> {
    let (wanted, mut differs) = (&case.expect, Vec::new());
    let mut compare = |what: &str, wanted: String, got: String| {
        if wanted != got {
            differs.push(format!("{what}: wanted {wanted}, got {got}"));
        }
    };
    compare("verdict", word(conclusion(wanted.verdict)), word(end.conclusion));
    let or_none = |rule: Option<&String>| rule.map_or_else(|| String::from("none"), |rule| format!("`{rule}`"));
    if wanted.rule.is_some() {
        compare("rule", or_none(wanted.rule.as_ref()), or_none(end.rule.as_ref()));
    }
    if let Some(applied) = &wanted.applied {
        let got: Vec<_> = end.applied.iter().map(|a| a.rule.to_string()).collect();
        compare("rules that spoke", applied.join(", "), got.join(", "));
    }
    if let Some(risk) = wanted.risk {
        compare("risk", risk.to_string(), end.risk.score.to_string());
    }
    for text in wanted.says.iter().filter(|text| !end.message.contains(text.as_str())) {
        differs.push(format!("the message does not say \"{text}\": {}", end.message));
    }
    if let Some(warns) = &wanted.warns {
        let fits = warns.len() == end.warnings.len()
            && warns
                .iter()
                .zip(&end.warnings)
                .all(|(text, warning)| warning.contains(text.as_str()));
        if !fits {
            differs.push(format!("warnings: wanted {warns:?}, got {:?}", end.warnings));
        }
    }
    if !differs.is_empty() && !end.message.is_empty() {
        differs.push(format!("message: {}", end.message));
    }
    differs
}

fn conclusion(written: TestVerdict) -> Conclusion {
    match written {
        TestVerdict::Allow => Conclusion::Allow,
        TestVerdict::Hold => Conclusion::Hold,
        TestVerdict::Deny => Conclusion::Deny,
        TestVerdict::Upstream => Conclusion::Upstream,
        TestVerdict::NotRecognized => Conclusion::NotRecognized,
    }
}

fn word(conclusion: Conclusion) -> String {
    let word = match conclusion {
        Conclusion::Allow => "allow",
        Conclusion::Hold => "hold",
        Conclusion::Deny => "deny",
        Conclusion::Upstream => "upstream",
        Conclusion::NotRecognized => "notRecognized",
    };
    word.to_owned()
}

fn table(tried: &[Tried]) -> String {
    let widest = tried.iter().map(|t| t.test.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("RESULT   {:widest$}   CASE\n", "TEST");
    for Tried {
        file,
        test,
        case,
        line,
        differs,
    } in tried
    {
        let result = if differs.is_empty() { "PASS" } else { "FAIL" };
        text.push_str(&format!("{result:6}   {test:widest$}   {case}\n"));
        if !differs.is_empty() {
            text.push_str(&format!("         {}:{line}\n", file.display()));
        }
        for line in differs.iter().flat_map(|d| d.lines()) {
            text.push_str(&format!("         {line}\n"));
        }
    }
    let failed = tried.iter().filter(|t| !t.differs.is_empty()).count();
    text.push_str(&format!("\n{} passed, {failed} failed\n", tried.len() - failed));
    text
}

fn as_json(tried: &[Tried]) -> Value {
    let one = |t: &Tried| json!({"file": t.file, "line": t.line, "test": t.test, "case": t.case, "passed": t.differs.is_empty(), "differs": t.differs});
    let failed = tried.iter().filter(|t| !t.differs.is_empty()).count();
    json!({"passed": tried.len() - failed, "failed": failed, "cases": tried.iter().map(one).collect::<Vec<_>>()})
}

/// As CI systems read it: a suite for each test, a failure with what differs.
fn junit(tried: &[Tried]) -> String {
    let failures = |cases: &[&Tried]| cases.iter().filter(|t| !t.differs.is_empty()).count();
    let all: Vec<&Tried> = tried.iter().collect();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{}\" failures=\"{}\">\n",
        tried.len(),
        failures(&all)
    );
    let mut rest = all.as_slice();
    while let Some(first) = rest.first() {
        let ends = rest
            .iter()
            .position(|t| (&t.file, &t.test) != (&first.file, &first.test))
            .unwrap_or(rest.len());
        let (suite, after) = rest.split_at(ends);
        rest = after;
        let (name, file) = (xml(&first.test), xml(&first.file.display().to_string()));
        text.push_str(&format!(
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\">\n",
            suite.len(),
            failures(suite)
        ));
        for case in suite {
            let head = format!(
                "    <testcase classname=\"{name}\" name=\"{}\" file=\"{file}\" line=\"{}\"",
                xml(&case.case),
                case.line
            );
            match case.differs.first() {
                None => text.push_str(&format!("{head}/>\n")),
                Some(first) => text.push_str(&format!(
                    "{head}><failure message=\"{}\">{}</failure></testcase>\n",
                    xml(first),
                    xml(&case.differs.join("\n"))
                )),
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

#[cfg(test)]
mod tests;
