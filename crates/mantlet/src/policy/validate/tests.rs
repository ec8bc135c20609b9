//! What is found in policies, and where.

use super::*;

fn folder(name: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("mantlet-validate-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("law.yaml"), text).unwrap();
    folder
}

/// What is said about a policy whose `spec` holds this besides rules and validations.
fn said(name: &str, text: &str) -> String {
    let folder = folder(name, text);
    let told = validate(std::slice::from_ref(&folder), Form::Text, false);
    std::fs::remove_dir_all(&folder).unwrap();
    told.text.replace(&format!("{}/", folder.display()), "")
}

fn policy(name: &str, rule: &str, rest: &str) -> String {
    format!(
        "apiVersion: mantlet.dev/v1alpha1\nkind: Policy\nmetadata: {{ name: {name} }}\nspec:\n  mode: enforce\n  matchConstraints:\n    resourceRules:\n{rule}{rest}---\n"
    )
}

const PODS: &str = "    - { apiGroups: [''], resources: [pods], operations: [delete] }\n";
const NEVER: &str = "  validations: [{ expression: 'false', action: Deny, message: no }]\n";

#[test]
fn what_can_hardly_be_meant_is_a_warning_at_its_place() {
    for (name, rule, rest, expected) in [
        (
            "reached",
            PODS,
            "  validations:\n  - { expression: 'false', action: Warn, message: a }\n  - { expression: request.name != 'x', action: Deny, message: b }\n",
            "law.yaml:11:5: warning: never reached: validations[0] always acts",
        ),
        (
            "always",
            PODS,
            "  validations: [{ expression: '1 < 2', action: Deny, message: a }]\n",
            "law.yaml:9:31: warning: `expression` is always true: the validation never acts",
        ),
        (
            "same",
            PODS,
            "  validations:\n  - { expression: request.dryRun, action: Warn, message: a }\n  - { expression: request.dryRun, action: Deny, message: b }\n",
            "law.yaml:11:19: warning: the same as in validations[0], which acts first",
        ),
        (
            "silent",
            PODS,
            "  matchConditions: [{ name: a, expression: '1 > 2' }]\n  validations: [{ expression: 'false', action: Deny, message: a }]\n",
            "law.yaml:9:44: warning: `expression` is always false: the policy never speaks",
        ),
        (
            "nowhere",
            "    - { apiGroups: [apps], resources: [pods], operations: [delete] }\n",
            NEVER,
            "law.yaml:8:40: warning: no API group of [\"apps\"] serves `pods`",
        ),
        (
            "method",
            "    - { apiGroups: [''], resources: [pods/exec], operations: [create] }\n",
            NEVER,
            "law.yaml:8:38: warning: `pods/exec` is never asked for by these operations, whatever method it comes by\nhint: write `operations: [exec]`",
        ),
        (
            "verb",
            "    - { apiGroups: [''], resources: [pods], operations: [get, exec] }\n",
            NEVER,
            "law.yaml:8:63: warning: no resource of this rule is ever asked for by it\nhint: name the subresource: `pods/exec`",
        ),
        (
            "covered",
            "    - { apiGroups: ['*'], resources: ['*'], operations: ['*'] }\n    - { apiGroups: [''], resources: [pods], operations: [get] }\n",
            NEVER,
            "law.yaml:9:7: warning: resourceRules[0] speaks about all of this already",
        ),
    ] {
        let said = said(name, &policy(name, rule, rest));
        assert!(said.starts_with(expected), "{name}:\n{said}");
        assert!(
            said.ends_with("valid: 0 agents, 1 policies, 1 warning\n"),
            "{name}:\n{said}"
        );
    }
}

#[test]
fn two_policies_are_compared() {
    let twins = said("twins", &[policy("a", PODS, NEVER), policy("b", PODS, NEVER)].concat());
    assert!(
        twins.contains("law.yaml:13:19: warning: says the same as policy `a`"),
        "{twins}"
    );
    let wide = "    - { apiGroups: [''], resources: ['*'], operations: [delete] }\n";
    let shadow = said(
        "shadow",
        &[
            policy(
                "a",
                PODS,
                "  validations: [{ expression: 'false', action: RequireApproval, message: ask }]\n",
            ),
            policy("z", wide, NEVER),
        ]
        .concat(),
    );
    assert!(
        shadow.contains("law.yaml:3:19: warning: never decides: policy `z` denies all of this to everybody"),
        "{shadow}"
    );
    assert!(!shadow.contains("policy `a` denies"), "{shadow}");
}

#[test]
fn a_subject_that_no_agent_is_is_named_once_there_are_agents() {
    let agent = "apiVersion: mantlet.dev/v1alpha1\nkind: Agent\nmetadata: { name: coder }\nspec: { match: [{ expression: claims.sub == 'c' }], serviceAccount: { namespace: up, name: coder }, scope: { clusters: [prod] } }\n---\n";
    let about = |name: &str| {
        policy("p", PODS, NEVER).replace(
            "    resourceRules",
            &format!("    subjects: [{{ agent: {name} }}]\n    resourceRules"),
        )
    };
    assert!(
        said("nobody", &format!("{agent}{}", about("codre")))
            .contains("warning: no agent has such a name\nhint: agents are `coder`")
    );
    assert!(said("somebody", &format!("{agent}{}", about("'cod*'"))).contains("0 warnings"));
    assert!(said("unknown", &about("codre")).contains("0 warnings"));
}

#[test]
fn a_fault_is_no_warning_and_strict_knows_no_difference() {
    let text = policy(
        "p",
        PODS,
        "  validations: [{ expression: 'objekt.x', action: Deny, message: a }]\n",
    );
    let folder = folder("fault", &text);
    let told = validate(std::slice::from_ref(&folder), Form::Json, false);
    assert!(!told.good);
    let told: Value = serde_json::from_str(&told.text).unwrap();
    assert_eq!(
        (told["valid"].clone(), told["faults"][0]["line"].clone()),
        (json!(false), json!(9))
    );
    std::fs::write(
        folder.join("law.yaml"),
        policy(
            "p",
            PODS,
            "  validations: [{ expression: 'true', action: Deny, message: a }]\n",
        ),
    )
    .unwrap();
    assert!(validate(std::slice::from_ref(&folder), Form::Text, false).good);
    assert!(!validate(std::slice::from_ref(&folder), Form::Text, true).good);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_shipped_packs_are_beyond_doubt() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies")).unwrap();
    let is_pack =
        |path: &PathBuf| path.is_file() && std::fs::read_to_string(path).unwrap().contains("\nkind: Policy\n");
    let packs: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).filter(is_pack).collect();
    assert!(!packs.is_empty());
    let told = validate(&packs, Form::Text, true);
    assert!(told.good, "{}", told.text);
}
