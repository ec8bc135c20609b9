//! Hostile expressions stop within their budget, and within a memory that is a small multiple of it. A file of its own, so that no other test is in the process that is measured.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot read its case must fail"
)]

use mantlet_expr::{Bindings, Environment, EvalFault, Outcome, Program, Wants};
use serde_json::{Value, json};

/// What the process may hold at its highest, in KiB: the object and several times the 32 MiB that one evaluation may touch.
const MOST: u64 = 256 << 10;

/// The most memory that the process ever held, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn run(source: &str, object: &Value) -> Result<Outcome, EvalFault> {
    let env = Environment::new("a test", &["object"]);
    let program = Program::compile(&env, source, Wants::Any).unwrap_or_else(|faults| panic!("{source}: {faults:?}"));
    let mut bindings = Bindings::new(None);
    bindings.bind("object", object);
    program.evaluate(&bindings)
}

#[test]
fn hostile_expressions_stop_within_budget_and_memory() {
    let megabyte = 1 << 20;
    let many: Vec<u64> = (0..9_999).collect();
    let object = json!({
        "a": "a".repeat(megabyte),
        "digits": "9".repeat(megabyte),
        "upper": "A".repeat(megabyte),
        "version": format!("1.0.0-{}", "a.".repeat(megabyte / 2) + "a"),
        "url": format!("http://h/{}", "%41".repeat(megabyte / 3)),
        "odd": format!("http://h/{}", "|".repeat(megabyte)),
        "query": format!("/p?{}", "a&".repeat(megabyte / 2)),
        "escaped": format!("http://h/{}%zz", "\"".repeat(megabyte)),
        "label": "a".repeat(megabyte),
        "slashes": "a/".repeat(megabyte / 2),
        "many": many,
        "texts": vec!["x".repeat(10_000); 300],
        "pattern": "(((a{0,99}){0,99}){0,99}){0,99}",
    });
    for source in [
        // One call on a megabyte may be paid for; many are not.
        "object.many.all(i, isSemver(object.version) || true)",
        "object.many.map(i, semver(object.version))",
        "object.many.map(i, url(object.url))",
        "object.many.map(i, url(object.odd))",
        "object.many.map(i, url(object.query).getQuery())",
        "object.many.all(i, isURL(object.url))",
        "object.many.map(i, url(object.odd).getEscapedPath())",
        "object.many.map(i, format.uri().validate(object.escaped))",
        "object.many.map(i, format.qualifiedName().validate(object.slashes))",
        "object.many.map(i, format.dns1123Label().validate(object.label))",
        "object.many.all(i, isQuantity(object.digits) || true)",
        "object.many.all(i, isIP(object.a) || true)",
        "object.many.all(i, isCIDR(object.a) || true)",
        "object.many.map(i, strings.quote(object.a))",
        "[url(object.odd)].all(u, object.many.all(i, u == u))",
        "[semver(object.version)].all(v, object.many.all(i, v == v || true))",
        "object.many.all(i, semver(object.version).isLessThan(semver(object.version)) || true)",
        // Searches.
        "object.a.findAll('a').size() > 0",
        "object.upper.findAll('.*[^A-Z]|[A-Z]').size() > 0",
        "object.a.findAll('').size() > 0",
        "object.many.map(i, object.a.find('a*'))",
        "object.a.find('^(a?){99}a{99}$') == ''",
        "object.many.all(i, 'x'.find('x' + string(i)) == '' || true)",
        // Lists and sets.
        "sets.contains(object.many, object.many)",
        "sets.equivalent(object.texts, object.texts)",
        "sets.intersects(object.texts.map(t, t + 'y'), object.texts)",
        "object.many.all(i, object.many.indexOf(-1) == -1)",
        "object.many.all(i, object.many.sum() > 0)",
        "object.many.all(i, object.many.isSorted())",
        "object.many.all(i, object.many.max() > 0)",
        "object.many.map(i, lists.range(10000))",
        "object.texts.sortBy(t, t + object.a)",
        // Comprehensions on two variables, one in the other.
        "object.many.all(i, v, object.many.all(j, w, true))",
        "object.many.transformList(i, v, object.many.transformList(j, w, 1))",
        "object.many.transformMap(i, v, object.many.transformMap(j, w, 1))",
        "object.many.transformMapEntry(i, v, {string(v): object.a + 'x'})",
        "object.many.transformMap(i, v, object.a + 'x')",
        "object.many.transformList(i, v, object.texts)[0].join(object.a)",
        // Texts that double.
        "[object.a + object.a].map(b, b + b).map(c, c + c).map(d, d + d).map(e, e + e).map(f, f + f)[0].size() > 0",
        "[0, 0].transformList(i, v, [object.a + 'x', object.a + 'y']).map(l, l + l).map(l, l + l).map(l, l + l).map(l, l.join('') + l.join(''))",
        "[quantity('1')].map(q, object.many.map(i, object.a + 'x'))",
    ] {
        assert_eq!(run(source, &object), Err(EvalFault::OverBudget), "{source}");
        assert!(peak() < MOST, "{source}: {} MiB at the highest", peak() >> 10);
    }
    for (source, fault) in [
        (
            "quantity(object.digits)",
            "a quantity of more than 512 digits has no value here",
        ),
        (
            "quantity('1e999999999')",
            "a quantity of more than 512 digits has no value here",
        ),
        (
            "quantity('1e99999999999999999999')",
            "`quantity` was given what is none",
        ),
        ("semver(object.a)", "`semver` was given what is no version"),
        ("url(object.a)", "`url` was given what is no URL"),
        ("ip(object.a)", "what should be an IP address is none"),
        ("cidr(object.a)", "what should be a network in CIDR notation is none"),
        (
            "lists.range(9223372036854775807)",
            "`lists.range` makes 10000 elements at most",
        ),
        ("'a'.find(object.a)", "a computed pattern of `find` may have 256 bytes"),
        (
            "'a'.findAll(object.pattern)",
            "`findAll` was given what is not a pattern",
        ),
    ] {
        assert_eq!(run(source, &object), Err(EvalFault::Failed(fault.into())), "{source}");
        assert!(peak() < MOST, "{source}: {} MiB at the highest", peak() >> 10);
    }
}

#[test]
fn hostile_sources_are_refused_when_they_are_loaded() {
    let env = Environment::new("a test", &["object"]);
    for source in [
        "[1].all(i, v, ".repeat(60) + "true" + &")".repeat(60),
        format!("{}1", "1+".repeat(2000)),
        "'a'.find('(((a{0,999}){0,999}){0,999}){0,999}')".to_owned(),
        r"'a'.matches('(\\pL{1,999}){1,99}')".to_owned(),
        format!("'a'.matches('{}')", "(".repeat(2000)),
        format!("quantity('{}')", "9".repeat(4096)),
        "[[".repeat(1000),
    ] {
        assert!(Program::compile(&env, &source, Wants::Any).is_err(), "{source}");
    }
}
