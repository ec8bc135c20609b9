//! What must hold of any bytes whatever: one function for each fuzz target.
//!
//! The targets in `fuzz_targets/` call them with what libFuzzer invents; `crates/core/tests/corpora.rs` calls them with what it
//! has found so far. A property that does not hold panics.

use mantlet_core::action::{Action, Head, Outline, Target, parse};
use mantlet_core::mask::stream::Rewriter;
use mantlet_core::mask::{Hint, Masker};
use mantlet_core::record::Line;
use mantlet_core::wire::body::{self, Body};
use mantlet_core::wire::json;
use mantlet_expr::{Bindings, Environment, EvalFault, Program, Wants};

/// What a target does with bytes.
pub type Property = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Property); 9] = [
    ("url", url),
    ("query", query),
    ("accept", accept),
    ("json", json_body),
    ("yaml", yaml_body),
    ("protobuf", protobuf_body),
    ("mask", mask),
    ("line", line),
    ("expression", expression),
];

/// `METHOD SPACE TARGET`: what goes upstream means what was understood.
pub fn url(data: &[u8]) {
    let Some((method, target)) = text(data).and_then(|text| text.split_once(' ')) else {
        return;
    };
    let (path, query) = halves(target);
    if let Ok(outline) = head(method, path, query, &[]) {
        holds_its_meaning(outline);
    }
}

/// A query, on a path that its first byte picks.
pub fn query(data: &[u8]) {
    const PLACES: [(&str, &str); 16] = [
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/namespaces/a/pods/p"),
        ("GET", "/api/v1/namespaces/a/pods/p/log"),
        ("GET", "/api/v1/namespaces/a/secrets"),
        ("POST", "/api/v1/namespaces/a/pods"),
        ("PUT", "/api/v1/namespaces/a/pods/p"),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d"),
        ("DELETE", "/api/v1/namespaces/a/pods/p"),
        ("DELETE", "/api/v1/namespaces/a/pods"),
        ("POST", "/api/v1/namespaces/a/pods/p/exec"),
        ("POST", "/api/v1/namespaces/a/pods/p/attach"),
        ("POST", "/api/v1/namespaces/a/pods/p/portforward"),
        ("GET", "/api/v1/namespaces/a/services/s/proxy"),
        ("GET", "/apis"),
        ("GET", "/openapi/v3"),
        ("GET", "/readyz"),
    ];
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (method, path) = PLACES[usize::from(*first) % PLACES.len()];
    if let Some(outline) = text(rest).and_then(|query| head(method, path, Some(query), &[]).ok()) {
        holds_its_meaning(outline);
    }
}

/// An `Accept`, on a resource, on discovery and on OpenAPI: nothing that cannot be masked is left, and reducing it again changes nothing.
pub fn accept(data: &[u8]) {
    let Some(all) = text(data) else {
        return;
    };
    let values: Vec<&str> = all.split('\n').collect();
    for path in ["/api/v1/secrets", "/apis", "/openapi/v3"] {
        let Ok(action) = head("GET", path, None, &values).map(complete) else {
            continue;
        };
        let kept = action.accept().to_owned();
        assert!(
            path.starts_with("/openapi")
                || kept
                    .split(',')
                    .all(|clause| clause.split(';').next() == Some("application/json")),
            "{kept}"
        );
        assert!(kept.bytes().all(|b| (b' '..0x7f).contains(&b)), "{kept}");
        let again = head("GET", path, None, &[&kept]).map(complete);
        assert_eq!(again.ok().as_ref().map(Action::accept), Some(kept.as_str()));
    }
}

/// A JSON body: the tree is the one that serde builds, and written anew it reads the same.
pub fn json_body(data: &[u8]) {
    for content_type in [
        "application/json",
        "application/merge-patch+json",
        "application/json-patch+json",
    ] {
        let patch = content_type != "application/json";
        if let Ok(body) = body::read(Some(content_type), patch, data, Hint::Other) {
            let theirs: serde_json::Value = serde_json::from_slice(data).expect("accepted, but not JSON");
            assert_eq!(tree(&body), theirs);
            reads_the_same(&body, content_type, patch);
        }
    }
}

/// An apply patch: written anew it is JSON that means the same, to readers of YAML too.
pub fn yaml_body(data: &[u8]) {
    const APPLY: &str = "application/apply-patch+yaml";
    let Ok(body) = body::read(Some(APPLY), true, data, Hint::Other) else {
        return;
    };
    let sent = String::from_utf8(body.outgoing()).expect("UTF-8 goes upstream");
    let broken = |c: char| matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    assert!(
        !sent.contains(broken),
        "a reader of YAML takes this for a line break: {sent:?}"
    );
    reads_the_same(&body, APPLY, true);
}

/// A protobuf body: what it is read as is an object, whose JSON is JSON.
pub fn protobuf_body(data: &[u8]) {
    if let Ok(body) = body::read(Some("application/vnd.kubernetes.protobuf"), false, data, Hint::Other) {
        let tree = tree(&body);
        assert!(tree["kind"].is_string() && tree["apiVersion"].is_string());
    }
}

/// An answer of the API server, cut into pieces: however it is cut, the same comes out, and what was JSON stays JSON.
pub fn mask(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let hint = if first & 1 == 0 { Hint::Other } else { Hint::Secrets };
    let whole = rewritten(bytes, hint, bytes.len().max(1));
    let pieces = rewritten(bytes, hint, usize::from(first >> 1) + 1);
    assert_eq!(whole, pieces);
    if let (Ok(_), Ok(out)) = (json::parse(bytes), &whole) {
        serde_json::from_slice::<serde_json::Value>(out).expect("no JSON after masking");
    }
}

/// A line of a journal: read or refused; what was read is written and read again as the same.
pub fn line(data: &[u8]) {
    if let Ok(line) = serde_json::from_slice::<Line>(data) {
        let written = serde_json::to_vec(&line).expect("a line that was read can be written");
        let again: Line = serde_json::from_slice(&written).expect("a line that was written can be read");
        assert_eq!(again, line);
    }
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

fn halves(target: &str) -> (&str, Option<&str>) {
    target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)))
}

fn head(
    method: &str,
    path: &str,
    query: Option<&str>,
    accept: &[&str],
) -> Result<Outline, mantlet_core::action::Unreadable> {
    parse(&Head {
        method,
        path,
        query,
        accept,
        content_type: None,
        upgrade: false,
    })
}

/// With the smallest body that fits.
fn complete(outline: Outline) -> Action {
    let (verb, wants) = (outline.verb(), outline.wants_body());
    let bytes: &'static [u8] = match &outline.target() {
        Target::Resource(place) if wants && verb.sort() == mantlet_core::action::Sort::Stores => format!(
            "{{\"metadata\":{{\"name\":{}}}}}",
            serde_json::Value::from(place.name.as_str())
        )
        .leak()
        .as_bytes(),
        Target::Resource(_) | Target::Path(_) => b"",
    };
    outline
        .complete(Some(bytes.into()))
        .unwrap_or_else(|why| panic!("{verb:?}: {}", why.message))
}

fn holds_its_meaning(outline: Outline) {
    let (target, verb) = (outline.target().clone(), outline.verb());
    let Ok(action) = outline.complete(None) else {
        return; // a write wants a body
    };
    let uri = action.request_uri();
    assert!(uri.bytes().all(|b| (b'!'..0x7f).contains(&b)), "{uri}");
    let (path, query) = halves(&uri);
    let hostile = ["//", "/./", "/../", "%2F", "%25", "%5C", "%00"];
    assert!(!hostile.iter().any(|piece| path.contains(piece)), "{path}");
    let again = head(action.method().as_str(), path, query, &[]).unwrap_or_else(|why| panic!("{uri}: {}", why.message));
    assert_eq!((again.target(), again.verb()), (&target, verb), "{uri}");
    let again = again
        .complete(None)
        .unwrap_or_else(|why| panic!("{uri}: {}", why.message));
    assert_eq!(again.options(), action.options());
    assert_eq!(again.request_uri(), uri);
    assert_eq!(again.request_info(), action.request_info());
}

fn tree(body: &Body) -> serde_json::Value {
    serde_json::from_slice(&body.outgoing()).expect("what goes upstream is JSON")
}

fn reads_the_same(body: &Body, content_type: &str, patch: bool) {
    let again = body::read(Some(content_type), patch, &body.outgoing(), Hint::Other);
    let again = again.unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(tree(&again), tree(body));
    assert_eq!(again.outgoing(), body.outgoing());
}

fn rewritten(bytes: &[u8], hint: Hint, piece: usize) -> Result<Vec<u8>, ()> {
    let mut rewriter = Rewriter::new(&Masker::blind(), hint);
    let mut out = Vec::new();
    for chunk in bytes.chunks(piece) {
        rewriter.push(chunk, &mut out).map_err(drop)?;
    }
    rewriter.finish(&mut out).map_err(drop).map(|()| out)
}

/// An expression, a zero byte, and the JSON that is its `object`: it is refused with a place, or comes to the same each time.
pub fn expression(data: &[u8]) {
    let Some((source, object)) = text(data).and_then(|text| text.split_once('\0')) else {
        return;
    };
    let Ok(object) = serde_json::from_str(object) else {
        return;
    };
    let environment = Environment::new("a fuzzer", &["object", "now"]);
    let program = match Program::compile(&environment, source, Wants::Any) {
        Ok(program) => program,
        Err(faults) => {
            assert!(
                faults.iter().all(|fault| fault.line > 0 && fault.column > 0),
                "{faults:?}"
            );
            return;
        }
    };
    let mut bindings = Bindings::new(Some(std::time::SystemTime::UNIX_EPOCH));
    bindings.bind("object", &object);
    let first = program.evaluate(&bindings);
    let panicked = |fault: &EvalFault| fault.to_string().starts_with("the evaluator");
    assert!(!first.as_ref().is_err_and(panicked), "{source}");
    assert_eq!(first, program.evaluate(&bindings), "{source}");
}
