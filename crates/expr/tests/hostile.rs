//! Expressions and values that try to take the process down, its time or its memory.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot compile its case must fail"
)]

use std::time::{Duration, Instant};

use mantlet_expr::{Bindings, Environment, EvalFault, Outcome, Program, Wants};
use proptest::prelude::*;
use serde_json::{Value, json};

fn env() -> Environment {
    Environment::new("a test", &["object", "request", "now"])
}

fn run(source: &str, object: &Value) -> Result<Outcome, EvalFault> {
    let program = Program::compile(&env(), source, Wants::Any).unwrap_or_else(|faults| panic!("{source}: {faults:?}"));
    let mut bindings = Bindings::new(None);
    bindings.bind("object", object);
    program.evaluate(&bindings)
}

/// What counts is to get here; `!!!!true` and long `&&` chains are fine.
fn survives(source: &str) {
    if let Ok(program) = Program::compile(&env(), source, Wants::Any) {
        let object = json!({"a": 1});
        let mut bindings = Bindings::new(None);
        bindings.bind("object", &object);
        let _ = program.evaluate(&bindings);
    }
}

fn refused(source: &str) -> String {
    Program::compile(&env(), source, Wants::Any)
        .map(|_| ())
        .expect_err("must be refused")[0]
        .message
        .clone()
}

#[test]
fn long_chains_and_deep_nests_do_not_abort() {
    for chain in [
        "1+", "1==", "true&&", "true||", "[1]+", "x.", "!", "-", "(", "[", "{1:", "a?b:", "f(", "a[", "a.?b", "'",
    ] {
        for times in [150, 600, 4096 / chain.len() - 1] {
            survives(&format!("{}1", chain.repeat(times)));
        }
    }
    let parens = format!("{}1{}", "(".repeat(2000), ")".repeat(2000));
    assert!(!refused(&parens).is_empty());
    let nested = format!("{}1{}", "[1].map(x,".repeat(200), ")".repeat(200));
    assert!(!refused(&nested).is_empty());
    assert!(refused(&"1+".repeat(2000)).contains("Syntax error"));
    assert!(refused(&format!("{}1", "1+".repeat(2000))).contains("nests 2001 levels deep"));
}

#[test]
fn a_source_over_four_kibibytes_is_refused_before_it_is_parsed() {
    let longest = format!("true{}", " ".repeat(4092));
    assert!(Program::compile(&env(), &longest, Wants::Bool).is_ok());
    assert!(refused(&format!("{longest} ")).contains("4097 bytes are too long"));
}

#[test]
fn the_deepest_tree_allowed_runs_on_a_small_stack() {
    let forms: [fn(usize) -> String; 5] = [
        |n| format!("{}object.a", "object.a + ".repeat(n)),
        |n| format!("{}object.a{}", "[".repeat(n), "]".repeat(n)),
        |n| format!("object.a{}", ".lowerAscii()".repeat(n)),
        |n| (0..n).fold("object.a".to_owned(), |inner, _| format!("[{inner}].map(x, x)")),
        |n| (0..n).fold("object.a".to_owned(), |inner, _| format!("[1].map(x, {inner})")),
    ];
    for form in forms {
        // Up to the deepest that is allowed, and each step where evaluation moves to a stack of its own.
        let allowed = |n: &usize| Program::compile(&env(), &form(*n), Wants::Any).is_ok();
        let deepest = (20..100).rev().find(allowed).unwrap();
        for n in (1..16).chain([deepest]) {
            let run = move || run(&form(n), &json!({"a": "x"})).is_ok();
            assert!(
                std::thread::Builder::new()
                    .stack_size(1 << 20)
                    .spawn(run)
                    .unwrap()
                    .join()
                    .unwrap()
            );
        }
    }
}

#[test]
fn what_costs_too_much_is_cut_off_soon() {
    let numbers: Vec<u64> = (0..300).collect();
    let many: Vec<u64> = (0..20_000).collect();
    let object = json!({
        "l": numbers, "many": many, "text": "a".repeat(2_000_000), "half": format!("{}b", "a".repeat(1_000_000)),
        "texts": vec!["x".repeat(10_000); 300], "m": {"k": vec!["x"; 100]},
    });
    let doubled = |start: &str, step: &str, times: usize| {
        let open: String = (0..times)
            .map(|n| {
                format!(
                    "[{}].map(v{n},",
                    step.replace('_', &if n == 0 { start.into() } else { format!("v{}", n - 1) })
                )
            })
            .collect();
        format!("{open}v{}{} == [1]", times - 1, ")".repeat(times))
    };
    for source in [
        "object.l.all(a, object.l.all(b, object.l.all(c, true)))",
        "object.l.map(a, object.l.map(b, object.l.map(c, 1)))",
        "object.l.filter(a, object.l.exists_one(b, object.l.exists(c, c == -1)))",
        "object.l.all(a, object.l.all(b, true)) || true",
        "true || object.l.all(a, object.l.all(b, true)) ? object.l.all(a, object.l.all(b, true)) || true : false",
        "object.many.all(a, true)",
        "object.many.map(a, a).size() > 0",
        "object.l.all(a, object.text == object.text + 'b' || true)",
        "object.l.map(a, object.text + object.text).size()",
        "object.l.map(a, object.text).join('')",
        "object.l.map(a, 'x').join(object.text)",
        "object.text.replace('a', object.text)",
        "object.text.replace('', object.text)",
        "object.text.split('')",
        "object.l.all(a, object.text.contains('b') || true)",
        "object.l.all(a, object.text.indexOf(object.half) == -1)",
        "object.l.all(a, object.text.lastIndexOf(object.half) == -1)",
        "object.l.all(a, object.text.matches('^(a|aa)+$'))",
        "object.l.all(a, 'x'.matches('x' + string(a)) || true)",
        "object.l.all(a, object.text in object.texts || true)",
        "object.l.all(a, object.texts.sort() != [])",
        "object.texts.distinct()",
        "object.l.all(a, 1 < object || true)",
        "object.l.all(a, object + 1 == 1 || true)",
        "object.l.all(a, object in {'a': 1} || true)",
        "object.l.all(a, object.l[object.text] == 1 || true)",
        "object.l.all(a, size(object.text) > 0)",
        "object.l.all(a, object.text.lowerAscii() != '')",
        "object.l.all(a, '%s'.format([object.text]) != '')",
        "object.l.all(a, [object.text + 'x'] != [])",
        "object.l.map(a, {'k': object.text + 'x'})",
        "object.l.map(a, object.text + 'x')[0]",
        "[object.text + 'x'].all(t, object.l.all(a, optional.of(t).hasValue() && [t.reverse()] != []))",
        &doubled("object.text", "_ + _", 16),
        &doubled("object.m", "[_, _]", 16),
        &doubled("object.m", "{'a': _, 'b': _}", 16),
        &doubled("object.text", "[_ + _, _ + _][0]", 8),
    ] {
        let began = Instant::now();
        let fault = run(source, &object);
        let spent = began.elapsed();
        assert!(fault == Err(EvalFault::OverBudget), "{source}: {:?}", fault.map(|_| ()));
        assert!(spent < Duration::from_secs(10), "{source}: {spent:?}");
    }
}

#[test]
fn a_spent_budget_is_never_swallowed() {
    let object = json!({"l": (0..300).collect::<Vec<u64>>()});
    let blow = "object.l.all(a, object.l.all(b, true))";
    for source in [
        format!("{blow} || true"),
        format!("!({blow} && false)"),
        format!("[1, 2].exists(x, {blow} || x == 2)"),
        format!("object.?l.hasValue() || {blow}").replace("hasValue() ||", "hasValue() &&"),
        format!("[?{{'a': {blow}}}.?a].size() == 0"),
    ] {
        assert_eq!(run(&source, &object), Err(EvalFault::OverBudget), "{source}");
    }
}

#[test]
fn each_evaluation_has_a_budget_of_its_own() {
    let object = json!({"l": (0..90).collect::<Vec<u64>>()});
    let program = Program::compile(&env(), "object.l.all(a, object.l.all(b, true))", Wants::Bool).unwrap();
    let mut bindings = Bindings::new(None);
    bindings.bind("object", &object);
    for _ in 0..5 {
        assert_eq!(program.evaluate(&bindings), Ok(Outcome::Bool(true)));
    }
}

#[test]
fn map_and_filter_stay_linear() {
    let object = json!({"l": (0..9_999).collect::<Vec<u64>>()});
    let began = Instant::now();
    assert_eq!(
        run("object.l.map(a, a).size() == 9999", &object),
        Ok(Outcome::Bool(true))
    );
    assert_eq!(
        run("object.l.filter(a, a >= 0).size() == 9999", &object),
        Ok(Outcome::Bool(true))
    );
    // Appending by copying takes 100 million clones here, minutes without optimization.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn json_nested_deeper_than_a_parser_gives_is_a_fault() {
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let (fine, deep) = (nested(128), nested(129));
    assert_eq!(run("object == object", &fine), Ok(Outcome::Bool(true)));
    assert_eq!(
        run("object == object", &deep),
        Err(EvalFault::Failed("`object` nests too deep".into()))
    );
    assert_eq!(
        run("true || object == object", &deep),
        Err(EvalFault::Failed("`object` nests too deep".into()))
    );
}

#[test]
fn strange_numbers_and_times_are_faults_and_not_panics() {
    let object = json!({"min": i64::MIN, "max": i64::MAX, "big": u64::MAX, "f": 1e308, "zero": 0});
    for source in [
        "-object.min",
        "object.min / -1",
        "object.min % -1",
        "object.max + 1",
        "object.big + 1u",
        "object.big - 18446744073709551615u - 1u",
        "int(object.f * 1e300)",
        "int(object.big)",
        "uint(-1)",
        "timestamp(object.max)",
        "timestamp('9999-12-31T23:59:59Z') + duration('9000000h')",
        "duration('99999999999999h')",
        "timestamp('2026-01-01T00:00:00Z').getHours('No/Where')",
        "timestamp('2026-01-01T00:00:00Z').getHours('+99:99')",
        "'abc'.substring(2, 1)",
        "'abc'.charAt(-1)",
        "'abc'.indexOf('a', -1)",
        "'abc'.lastIndexOf('a', 9223372036854775807)",
        "'ä'.substring(0, 99)",
        "[1, 2].slice(2, 1)",
        "[1][object.max]",
        "[0.0 / 0.0, 1.0].sort()",
        "[1, 'a'].sort()",
        "'%d %s'.format(['x'])",
        "'%.999f'.format([1.0])",
        "optional.none().value()",
    ] {
        let fault = run(source, &object).expect_err(source).to_string();
        assert!(!fault.contains("the evaluator failed"), "{source}: {fault}");
    }
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "object",
        "object.s",
        "object.n",
        "object.l",
        "object.m",
        "object.m.k",
        "object.d",
        "object.nope",
        "1",
        "-1",
        "0u",
        "1.5",
        "'a'",
        "''",
        "b'x'",
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[1, 'a']",
        "{'k': 1}",
        "now",
        "duration('1h')",
        "x",
        "int",
        "9223372036854775807",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 40, 3, |inner| {
        let form = prop::sample::select(vec![
            "(A + B)",
            "(A - B)",
            "A == B",
            "(A < B)",
            "A in B",
            "(A && B)",
            "(A || B)",
            "!A",
            "-A",
            "A ? B : C",
            "A[B]",
            "A[?B]",
            "A.k",
            "A.?k",
            "has(A.k)",
            "[A, B]",
            "[?A]",
            "{A: B}",
            "size(A)",
            "string(A)",
            "int(A)",
            "type(A)",
            "timestamp(A)",
            "A.all(x, B)",
            "A.exists(x, B)",
            "A.exists_one(x, B)",
            "A.map(x, B)",
            "A.map(x, B, C)",
            "A.filter(x, B)",
            "A.optMap(x, B)",
            "A.orValue(B)",
            "optional.of(A)",
            "A.value()",
            "A.contains(B)",
            "A.startsWith(B)",
            "A.matches(B)",
            "A.replace(B, C)",
            "A.split(B)",
            "A.join(B)",
            "A.indexOf(B)",
            "A.lastIndexOf(B, C)",
            "A.substring(B)",
            "A.sort()",
            "A.distinct()",
            "A.flatten()",
            "A.reverse()",
            "A.slice(B, C)",
            "A.format(B)",
            "A.lowerAscii()",
            "A.getHours()",
            "dyn(A)",
            "[1, 2].map(x, A)",
        ]);
        (form, inner.clone(), inner.clone(), inner).prop_map(|(form, a, b, c)| {
            // Letters of a form stand alone; `(` keeps precedence out of it.
            form.split_inclusive(|_: char| true)
                .map(|c1| match c1 {
                    "A" => format!("({a})"),
                    "B" => b.clone(),
                    "C" => c.clone(),
                    other => other.to_owned(),
                })
                .collect()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_expression_panics_or_runs_on(source in expression()) {
        let wrapped = format!("[0].map(x, dyn({source}))");
        let object = json!({"s": "aäb", "n": 3, "l": [1, "a", null, [2]], "m": {"k": {"k": 1}}, "d": 0.5});
        if let Ok(program) = Program::compile(&env(), &wrapped, Wants::Any) {
            let mut bindings = Bindings::new(Some(std::time::SystemTime::UNIX_EPOCH));
            bindings.bind("object", &object);
            let first = program.evaluate(&bindings);
            prop_assert_ne!(&first, &Err(EvalFault::Failed("the evaluator failed on this expression".into())), "{}", wrapped);
            prop_assert_eq!(first, program.evaluate(&bindings));
        }
    }

    #[test]
    fn no_text_panics_the_compiler(source in "[ -~\\n]{0,60}|(object|\\.|\\(|\\)|'|\\[|\\]|\\?|==|&&|has|map|x|,| |ä|\u{0}){0,40}") {
        if let Err(faults) = Program::compile(&env(), &source, Wants::Any) {
            prop_assert!(!faults.is_empty());
            prop_assert!(faults.iter().all(|f| f.line > 0 && f.column > 0 && !f.message.starts_with("the compiler")), "{:?}", faults);
        }
    }
}
