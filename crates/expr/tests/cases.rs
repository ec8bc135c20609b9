//! Expressions and what becomes of them: the tables in `cases/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its table must fail")]

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use mantlet_expr::{Bindings, Environment, Program, Shape, Wants};
use serde_json::Value;

/// 2026-01-02T12:00:00Z, a Friday.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_355_200)
}

fn table(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn outcome(bindings: &Bindings<'_>, source: &str) -> Result<Value, String> {
    let env = Environment::new("a test", &["request", "claims", "object", "variables", "now", "absent"]);
    let program = Program::compile(&env, source, Wants::Any).map_err(|faults| format!("{source}: {faults:?}"))?;
    program
        .evaluate(bindings)
        .map(|outcome| outcome.into_json())
        .map_err(|fault| fault.to_string())
}

#[test]
fn every_expression_comes_to_what_its_table_says() {
    let table = table(include_str!("../cases/outcomes.json"));
    let roots = &table["bindings"];
    let mut bindings = Bindings::new(Some(noon()));
    for root in ["request", "claims", "object", "variables"] {
        bindings.bind(root, &roots[root]);
    }
    let wanted = |case: &Value| (case[0].as_str().unwrap().to_owned(), case[1].clone());
    let mut wrong = Vec::new();
    for (source, result) in table["cases"].as_array().unwrap().iter().map(wanted) {
        match outcome(&bindings, &source) {
            Ok(got) if got == result => {}
            got => wrong.push(format!("{source}: wanted {result}, got {got:?}")),
        }
    }
    for (source, fault) in table["faults"].as_array().unwrap().iter().map(wanted) {
        match outcome(&bindings, &source) {
            Err(got) if got == fault.as_str().unwrap() => {}
            got => wrong.push(format!("{source}: wanted the fault {fault}, got {got:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mistake_is_refused_when_it_is_loaded() {
    let env = Environment::new("a test", &["request", "claims", "object", "now"])
        .with_variables(["names", "count"].map(|name| (name.to_owned(), Shape::Any)));
    let wants = HashMap::from([("bool", Wants::Bool), ("text", Wants::Text)]);
    let mut wrong = Vec::new();
    for case in table(include_str!("../cases/refused.json")).as_array().unwrap() {
        let source = case[1].as_str().unwrap();
        let faults = Program::compile(&env, source, wants[case[0].as_str().unwrap()])
            .err()
            .unwrap_or_default();
        let place = |n: usize, at: usize| case.get(n).is_none_or(|v| v.as_u64() == Some(at as u64));
        let told = faults.iter().any(|f| {
            f.message.contains(case[2].as_str().unwrap()) && place(3, f.line) && place(4, f.column) && f.line > 0
        });
        if !told {
            wrong.push(format!("{source}: {faults:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let env = Environment::new("a test", &["claims"]);
    let faults = Program::compile(&env, "a == 1 &&\n b == 2 && c(3)", Wants::Bool).unwrap_err();
    let places: Vec<_> = faults.iter().map(|f| (f.line, f.column)).collect();
    assert_eq!(places, [(1, 1), (2, 2), (2, 13)], "{faults:?}");
}

#[test]
fn a_program_tells_the_fields_that_it_spells() {
    let env = Environment::new("a test", &["claims"]).with_escaped_fields();
    let source = "has(claims.a) && claims.?b.orValue(claims.c__dot__d) == claims['e'] && [1].all(x, claims.f == x)";
    let program = Program::compile(&env, source, Wants::Bool).unwrap();
    assert_eq!(
        program.fields_of("claims").into_iter().collect::<Vec<_>>(),
        ["a", "b", "c.d", "f"]
    );
}

#[test]
fn fields_may_be_escaped_where_the_environment_says_so() {
    let claims = serde_json::json!({"kubernetes.io": {"a-b": [{"in": 1}]}, "a__dot__b": 2});
    let mut bindings = Bindings::new(None);
    bindings.bind("claims", &claims);
    let plain = Environment::new("a test", &["claims"]);
    let escaped = plain.clone().with_escaped_fields();
    let evaluate = |env, source| {
        let program = Program::compile(env, source, Wants::Any).unwrap();
        program.evaluate(&bindings).map(|outcome| outcome.into_json())
    };
    let source = "claims.kubernetes__dot__io.a__dash__b[0].__in__";
    assert_eq!(evaluate(&escaped, source), Ok(Value::from(1)));
    assert_eq!(
        evaluate(&escaped, "claims.?kubernetes__dot__io.?a__dash__b.hasValue()"),
        Ok(Value::from(true))
    );
    assert_eq!(
        evaluate(&escaped, "has(claims.kubernetes__dot__io)"),
        Ok(Value::from(true))
    );
    assert!(evaluate(&plain, source).is_err());
    assert_eq!(evaluate(&plain, "claims.a__dot__b"), Ok(Value::from(2)));
    assert!(evaluate(&escaped, "claims.a__dot__b").is_err());
}

#[test]
fn a_program_tells_what_must_be_fetched_for_it() {
    let env = Environment::new("a test", &["request", "object", "oldObject", "variables"]);
    let source =
        "request.verb == 'get' && has(object.x) && [1].all(oldObject, oldObject == 1) && variables.a == variables.b";
    let program = Program::compile(&env, source, Wants::Bool).unwrap();
    assert_eq!(
        program.roots().iter().collect::<Vec<_>>(),
        ["object", "request", "variables"]
    );
    assert!(program.names("object") && !program.names("oldObject"));
    assert_eq!(program.variables_named().iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(program.source(), source);
}

#[test]
fn a_wrong_type_at_run_time_is_a_fault() {
    let env = Environment::new("a test", &["claims"]);
    let claims = serde_json::json!({"x": "true", "n": 1});
    let mut bindings = Bindings::new(None);
    bindings.bind("claims", &claims);
    let fault = |source, wants| {
        Program::compile(&env, source, wants)
            .unwrap()
            .evaluate(&bindings)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(fault("claims.x", Wants::Bool), "the result must be bool, it is string");
    assert_eq!(fault("claims.n", Wants::Text), "the result must be string, it is int");
    assert_eq!(
        fault("true ? claims.x : false", Wants::Bool),
        "the result must be bool, it is string"
    );
}

#[test]
fn now_that_nobody_bound_is_absent() {
    let env = Environment::new("a test", &["now"]);
    let program = Program::compile(&env, "now > timestamp('2026-01-01T00:00:00Z')", Wants::Bool).unwrap();
    assert_eq!(
        program.evaluate(&Bindings::new(None)).unwrap_err().to_string(),
        "`now` is not known for this request"
    );
    assert!(program.evaluate(&Bindings::new(Some(noon()))).is_ok());
}

#[test]
fn no_fault_repeats_a_value_of_the_request() {
    let object = serde_json::json!({"password": "hunter2", "list": ["hunter2"], "map": {"x": "hunter2"}});
    let mut bindings = Bindings::new(None);
    bindings.bind("object", &object);
    for source in [
        "object.password < 1",
        "object.password + 1",
        "1 + object.list",
        "1 < object",
        "object.password - 'x'",
        "int(object.password)",
        "object.map[object.password]",
        "{'a': 1}[object.password]",
        "timestamp(object.password)",
        "duration(object.password)",
        "object.list[object.password]",
        "object in object.map",
        "{object: 1}",
        "{object.list: 1}",
        "object.password.startsWith(object.map)",
        "object.list.join(1)",
        "[object.map].sort()",
        "object.password.value()",
        "'%d'.format([object.password])",
        "object.password.matches(object.password + '(')",
        "object.password ? 1 : 2",
        "!object.password",
        "-object.password",
        "object.password && true",
        "object.password.all(x, true)",
    ] {
        let env = Environment::new("a test", &["object"]);
        let Ok(program) = Program::compile(&env, source, Wants::Any) else {
            continue;
        };
        let fault = program.evaluate(&bindings).expect_err(source);
        assert!(
            !format!("{fault} {fault:?} {bindings:?}").contains("hunter2"),
            "{source}: {fault:?}"
        );
    }
}

#[test]
fn programs_and_bindings_may_be_shared_between_threads() {
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    shared::<Program>();
    shared::<Bindings<'static>>();
}

#[test]
fn the_page_on_expressions_names_every_function_and_no_other() {
    let page = include_str!("../../../docs/src/cel.md");
    let functions = page
        .split("\n## ")
        .find(|section| section.starts_with("Functions"))
        .unwrap();
    let first_columns = functions
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let named: BTreeSet<&str> = first_columns
        .flat_map(|column| column.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    assert_eq!(named, mantlet_expr::offered());
}
