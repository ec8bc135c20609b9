//! Cases that pass, fail and cannot be read.

use super::*;

/// A folder with these files in it, of its own for each test.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("mantlet-policy-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

const LAW: &str = "
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: no-pods }
spec:
  mode: enforce
  matchConstraints:
    resourceRules: [{ apiGroups: [''], resources: [pods], operations: [delete] }]
  validations: [{ expression: 'false', action: Deny, message: pods stay }]
---
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: few-replicas }
spec:
  mode: { agents: enforce, people: warn }
  matchConstraints:
    resourceRules: [{ apiGroups: [apps], resources: [deployments], operations: [patch] }]
  validations: [{ expression: 'object.spec.replicas < 10', action: RequireApproval, message: more than ten }]
";

const HEAD: &str = "
apiVersion: mantlet.dev/v1alpha1
kind: PolicyTest
metadata: { name: t }
policies: [law.yaml]
agents:
- apiVersion: mantlet.dev/v1alpha1
  kind: Agent
  metadata: { name: coder }
  spec: { match: [{ expression: claims.sub == 'coder' }], serviceAccount: { namespace: up, name: coder }, scope: { clusters: [prod], namespaces: [test] } }
callers:
  ada: { user: ada }
  by-claims: { claims: { sub: coder } }
  nobody: { claims: { sub: somebody } }
cases:
";

fn tried(name: &str, cases: &str) -> Vec<(String, String)> {
    let folder = folder(name, &[("law.yaml", LAW), ("test.yaml", &format!("{HEAD}{cases}"))]);
    let told = test(std::slice::from_ref(&folder), Form::Json).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let told: Value = serde_json::from_str(&told.text).unwrap();
    let cases = told["cases"].as_array().unwrap().iter();
    cases
        .map(|case| (case["case"].as_str().unwrap().to_owned(), case["differs"].to_string()))
        .collect()
}

#[test]
fn what_is_written_as_it_is_passes() {
    let tried = tried(
        "passes",
        "- { name: a, as: coder, kubectl: kubectl delete pod p -n test, expect: { verdict: deny, rule: 'policy:no-pods', says: [pods stay] } }
- { name: b, as: by-claims, action: { verb: delete, resource: pods, namespace: test, name: p }, expect: { verdict: deny, applied: ['policy:no-pods'] } }
- { name: c, as: nobody, request: GET /api/v1/namespaces/test/pods, expect: { verdict: notRecognized } }
- { name: d, as: coder, kubectl: 'kubectl scale deploy/w --replicas=3 -n test', expect: { verdict: allow } }
- { name: e, as: coder, request: PATCH /apis/apps/v1/namespaces/test/deployments/w, body: { spec: { replicas: 11 } }, facts: { object: { spec: { replicas: 11 } } }, expect: { verdict: hold, rule: 'policy:few-replicas' } }
- { name: f, as: ada, request: PATCH /apis/apps/v1/namespaces/test/deployments/w, body: { spec: { replicas: 11 } }, facts: { object: { spec: { replicas: 11 } } }, expect: { verdict: allow, warns: [would need human approval] } }
- { name: g, as: coder, request: PATCH /apis/apps/v1/namespaces/test/deployments/w, body: {}, refused: { object: { code: 422, message: no such field } }, expect: { verdict: upstream, says: [no such field] } }
- { name: h, as: coder, create: { apiVersion: v1, kind: ConfigMap, metadata: { name: c, namespace: prod } }, expect: { verdict: deny, rule: 'agent:coder' } }
- { name: i, as: coder, kubectl: 'kubectl delete pods --all -n test', expect: { verdict: deny, rule: 'policy:no-pods' } }
",
    );
    assert_eq!(tried.len(), 9);
    assert_eq!(
        tried.iter().filter(|(_, differs)| differs != "[]").collect::<Vec<_>>(),
        Vec::<&(String, String)>::new()
    );
}

#[test]
fn what_is_not_as_written_fails_and_says_in_what() {
    let cases = [
        (
            "verdict: wanted allow, got deny",
            "as: coder, kubectl: kubectl delete pod p -n test, expect: { verdict: allow }",
        ),
        (
            "rule: wanted `policy:few-replicas`, got `policy:no-pods`",
            "as: coder, kubectl: kubectl delete pod p -n test, expect: { verdict: deny, rule: 'policy:few-replicas' }",
        ),
        (
            "the message does not say",
            "as: coder, kubectl: kubectl delete pod p -n test, expect: { verdict: deny, says: [pods go] }",
        ),
        (
            "`policy:no-such` is the name of no rule",
            "as: coder, kubectl: kubectl delete pod p -n test, expect: { verdict: deny, rule: 'policy:no-such' }",
        ),
        (
            "`zoe` is none of `callers`",
            "as: zoe, kubectl: kubectl delete pod p -n test, expect: { verdict: deny }",
        ),
        (
            "`shape` is no fact",
            "as: coder, kubectl: kubectl delete pod p -n test, facts: { shape: 1 }, expect: { verdict: deny }",
        ),
        (
            "`object` is given, and the law does not ask for it",
            "as: coder, kubectl: kubectl delete pod p -n test, facts: { object: {} }, expect: { verdict: deny }",
        ),
        (
            "the law asks for `object`",
            "as: coder, request: PATCH /apis/apps/v1/namespaces/test/deployments/w, body: {}, expect: { verdict: hold }",
        ),
        ("exactly one of", "as: coder, expect: { verdict: allow }"),
        (
            "is refused before it is judged",
            "as: coder, request: GET /api/v1/namespaces/test/pods?nonsense=1, expect: { verdict: allow }",
        ),
        (
            "`kubectl frob` is not understood",
            "as: coder, kubectl: kubectl frob, expect: { verdict: allow }",
        ),
        (
            "sends nothing",
            "as: coder, kubectl: kubectl delete pod p --dry-run=client, expect: { verdict: allow }",
        ),
        (
            "warnings: wanted",
            "as: coder, kubectl: kubectl get pods -n test, expect: { verdict: allow, warns: [x] }",
        ),
        (
            "rules that spoke",
            "as: coder, kubectl: kubectl delete pod p -n test, expect: { verdict: deny, applied: [] }",
        ),
    ];
    let written: String = cases
        .iter()
        .enumerate()
        .map(|(at, (_, case))| format!("- {{ name: c{at}, {case} }}\n"))
        .collect();
    for ((why, case), (_, differs)) in cases.iter().zip(tried("fails", &written)) {
        assert!(differs.contains(why), "{case}\n{differs}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_with_its_line() {
    for (cases, place, message) in [
        (
            "- { name: a, as: coder, wants: 1, expect: { verdict: allow } }",
            "16:",
            "unknown field `wants`",
        ),
        (
            "- { name: a, as: coder, expect: { verdict: maybe } }",
            "16:",
            "unknown `maybe`",
        ),
    ] {
        let folder = folder("broken", &[("law.yaml", LAW), ("test.yaml", &format!("{HEAD}{cases}"))]);
        let faults = test(std::slice::from_ref(&folder), Form::Table).unwrap_err();
        let text = faults[0].to_string();
        assert!(
            text.contains(&format!("test.yaml:{place}")) && text.contains(message),
            "{text}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
    let empty = folder("empty", &[("law.yaml", LAW)]);
    assert!(
        test(std::slice::from_ref(&empty), Form::Table).unwrap_err()[0]
            .to_string()
            .contains("holds no PolicyTest")
    );
    std::fs::remove_dir_all(empty).unwrap();
}

#[test]
fn junit_has_a_suite_for_each_test_and_no_text_of_a_case_leaves_it() {
    let case = "- { name: 'a<b>&\"', as: coder, kubectl: kubectl delete pod p -n test, expect: { verdict: allow } }\n- { name: fine, as: coder, kubectl: kubectl get pods -n test, expect: { verdict: allow } }";
    let folder = folder("junit", &[("law.yaml", LAW), ("test.yaml", &format!("{HEAD}{case}"))]);
    let told = test(std::slice::from_ref(&folder), Form::JUnit).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert!(!told.good);
    assert!(
        told.text.contains("<testsuites tests=\"2\" failures=\"1\">"),
        "{}",
        told.text
    );
    assert!(told.text.contains("name=\"a&lt;b&gt;&amp;&quot;\""), "{}", told.text);
    assert!(
        told.text
            .contains("<failure message=\"verdict: wanted allow, got deny\">"),
        "{}",
        told.text
    );
}

/// The packs are tested as their users test theirs.
#[test]
fn the_shipped_packs_do_what_their_tests_say() {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let told = test(std::slice::from_ref(&packs), Form::Table).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert!(told.good, "{}", told.text);
    for entry in std::fs::read_dir(&packs).unwrap() {
        let path = entry.unwrap().path();
        let pack = path.is_file() && std::fs::read_to_string(&path).unwrap().contains("\nkind: Policy\n");
        let tests = packs.join("tests").join(path.file_name().unwrap());
        assert!(
            !pack || tests.exists(),
            "{} has no tests at {}",
            path.display(),
            tests.display()
        );
    }
}
