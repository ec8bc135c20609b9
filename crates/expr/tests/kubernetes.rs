//! What Kubernetes makes of an expression, this crate makes of it too: `cases/kubernetes.jsonl`, which Kubernetes' own CEL wrote.

use std::time::SystemTime;

use mantlet_expr::{Bindings, Environment, EvalFault, Program, Wants};
use serde_json::Value;

/// What became of an expression: a value, the name of the type of a value that JSON has no form for, or a fault.
#[derive(Debug)]
enum Came {
    To(Value),
    ToA(String),
    Failed(String),
}

fn came(source: &str, object: &Value) -> Came {
    let env = Environment::new("a test", &["object", "now"]);
    let program = match Program::compile(&env, source, Wants::Any) {
        Ok(program) => program,
        Err(faults) => return Came::Failed(format!("at load: {}", faults[0])),
    };
    let mut bindings = Bindings::new(Some(SystemTime::UNIX_EPOCH));
    bindings.bind("object", object);
    match program.evaluate(&bindings) {
        Ok(outcome) => Came::To(outcome.into_json()),
        Err(EvalFault::WrongType {
            wanted: "a JSON value",
            got,
        }) => Came::ToA(got),
        Err(fault) => Came::Failed(fault.to_string()),
    }
}

/// Go writes a whole double as JSON writes an integer.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn an_expression_comes_to_what_it_comes_to_in_kubernetes() {
    let object: Value = serde_json::from_str(include_str!("../cases/kubernetes.json")).unwrap();
    let lines = include_str!("../cases/kubernetes.jsonl").lines();
    let cases: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() >= 300, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let source = case["expression"].as_str().unwrap();
        let came = came(source, &object);
        let agrees = match &came {
            Came::To(_) if case.get("laxer").is_some() => case.get("fault").is_some(),
            _ if case.get("laxer").is_some() => false,
            Came::To(value) => case.get("value").is_some_and(|wanted| same(value, wanted)),
            Came::ToA(named) => case.get("type").is_some_and(|wanted| wanted.as_str() == Some(named)),
            Came::Failed(why) => case.get("fault").is_some() && !why.is_empty(),
        };
        if !agrees {
            wrong.push(format!("{case}\n    here: {came:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_table_is_of_the_expressions_as_written() {
    let written = include_str!("../cases/kubernetes.txt").lines();
    let written: Vec<_> = written
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let lines = include_str!("../cases/kubernetes.jsonl").lines();
    let answered: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered: Vec<_> = answered
        .iter()
        .map(|case| {
            let mark = if case.get("laxer").is_some() { "~ " } else { "" };
            format!("{mark}{}", case["expression"].as_str().unwrap())
        })
        .collect();
    assert_eq!(written, answered, "write the table anew: cargo xtask vectors");
}
