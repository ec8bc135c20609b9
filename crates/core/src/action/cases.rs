//! Cases that a reviewer can add without Rust (`cases/action/*.jsonl`), and the API server's own answers (`vectors/requestinfo.jsonl`).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Action, Answer, Head, Target, Unreadable, UnreadableStatus, parse};
use crate::law::Terms;
use crate::wire::outgoing::outgoing;

/// One case: `send` is a request line; `accept`, `contentType`, `upgrade`, `body` (or `bodyBase64`) as needed; then `is` or `refused` with `says`.
fn understand(case: &Value) -> Result<Action, Unreadable> {
    let text = |name: &str| case.get(name).and_then(Value::as_str);
    let (method, url) = text("send").unwrap().split_once(' ').unwrap();
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let accept = text("accept");
    let head = Head {
        method,
        path,
        query,
        accept: accept.as_slice(),
        content_type: text("contentType"),
        upgrade: case["upgrade"] == true,
    };
    let body = match (case.get("body"), text("bodyBase64")) {
        (Some(Value::String(raw)), _) => Some(Bytes::from(raw.clone())),
        (Some(object), _) => Some(Bytes::from(object.to_string())),
        (None, encoded) => encoded.map(|encoded| Bytes::from(BASE64_STANDARD.decode(encoded).unwrap())),
    };
    parse(&head)?.complete(body)
}

/// Everything a case may ask about.
fn described(action: &Action) -> Value {
    let place = action.resource().cloned().unwrap_or_default();
    let options = action.options();
    let upstream = outgoing(action, &Terms::none());
    json!({
        "verb": action.verb().as_str(),
        "group": place.group, "version": place.version, "resource": place.resource, "subresource": place.subresource,
        "namespace": place.namespace, "name": place.name, "tail": action.tail(),
        "bare": match action.target() { Target::Path(path) => Some(path), Target::Resource(_) => None },
        "method": upstream.method,
        "upstream": upstream.path_and_query,
        "upstreamBody": String::from_utf8_lossy(&upstream.body),
        "accept": action.accept(),
        "answer": match action.answer() {
            Answer::Masked { secret: true } => "secret",
            Answer::Masked { secret: false } => "masked",
            Answer::Verbatim => "verbatim",
        },
        "upgrade": action.upgrade(),
        "dryRun": options.dry_run, "force": options.force, "fieldManager": options.field_manager,
        "propagationPolicy": options.propagation_policy, "gracePeriodSeconds": options.grace_period_seconds,
        "labelSelector": options.label_selector, "fieldSelector": options.field_selector, "endless": options.endless,
    })
}

fn number(status: UnreadableStatus) -> u16 {
    match status {
        UnreadableStatus::BadRequest => 400,
        UnreadableStatus::NotFound => 404,
        UnreadableStatus::MethodNotAllowed => 405,
        UnreadableStatus::NotAcceptable => 406,
        UnreadableStatus::TooLarge => 413,
        UnreadableStatus::UnsupportedMediaType => 415,
        UnreadableStatus::Unprocessable => 422,
    }
}

/// What is wrong with a case, or nothing.
fn fault(case: &Value) -> Option<String> {
    let wanted: Option<&Map<String, Value>> = case.get("is").and_then(Value::as_object);
    match (understand(case), wanted, case.get("refused")) {
        (Ok(action), Some(wanted), None) => {
            let described = described(&action);
            let wrong = wanted
                .iter()
                .find(|(name, value)| described.get(*name) != Some(value))?;
            Some(format!("{} is {}, should be {}", wrong.0, described[wrong.0], wrong.1))
        }
        (Err(why), None, Some(status)) => {
            let says = case["says"].as_str().unwrap_or_default();
            let right = *status == number(why.status) && why.message.contains(says);
            (!right).then(|| format!("refused with {}: {}", number(why.status), why.message))
        }
        (Ok(action), None, Some(_)) => Some(format!("understood as {}", described(&action))),
        (Err(why), Some(_), None) => Some(format!("refused: {}", why.message)),
        (_, Some(_), Some(_)) | (_, None, None) => Some("needs either `is` or `refused`".to_owned()),
    }
}

fn check(file: &str) {
    let path = format!("{}/cases/action/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut faults = Vec::new();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let case: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{file}:{}: {why}", at + 1));
        faults.extend(fault(&case).map(|fault| format!("{file}:{}: {}\n    {fault}", at + 1, case["send"])));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn requests_are_understood_as_the_api_server_understands_them() {
    check("understood.jsonl");
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    check("refused.jsonl");
}

#[test]
fn bodies_agree_with_the_path_and_deletes_with_their_body() {
    check("bodies.jsonl");
}

/// Each line: method, url and of the oracle's `info` what is not empty; `plain` marks what honest clients send, which must be understood.
#[test]
fn the_real_request_info_says_the_same_of_every_request_that_is_not_refused() {
    let text = include_str!("../../vectors/requestinfo.jsonl");
    let (mut same, mut refused, mut faults) = (0, 0, Vec::new());
    for line in text.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let send = format!(
            "{} {}",
            vector["method"].as_str().unwrap(),
            vector["url"].as_str().unwrap()
        );
        match understand_head(&send) {
            Err(why) if vector["plain"] == true => faults.push(format!("{send}\n    refused: {}", why.message)),
            Err(_) => refused += 1,
            Ok(action) => match differs(&action.request_info(), &vector["info"]) {
                None => same += 1,
                Some(fault) => faults.push(format!("{send}\n    {fault}")),
            },
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(
        same >= 2500 && refused >= 2000 && same + refused >= 5000,
        "{same} understood alike, {refused} refused: the vectors have lost their meaning"
    );
}

fn understand_head(send: &str) -> Result<Action, Unreadable> {
    let (method, url) = send.split_once(' ').unwrap();
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let head = Head {
        method,
        path,
        query,
        accept: &[],
        content_type: None,
        upgrade: false,
    };
    Ok(parse(&head)?.action)
}

fn differs(ours: &Value, theirs: &Value) -> Option<String> {
    // An oracle that refuses (a broken request line) has no info; we must have refused as well.
    let theirs = theirs
        .as_object()
        .map_or_else(|| Err("the API server cannot read it".to_owned()), Ok);
    let theirs = match theirs {
        Ok(theirs) => theirs,
        Err(why) => return Some(why),
    };
    if let Some(unknown) = theirs.keys().find(|name| ours.get(*name).is_none()) {
        return Some(format!("{unknown} is not compared"));
    }
    let wrong = ours.as_object().unwrap().iter().find(|(name, value)| {
        let other = theirs.get(*name);
        match (name.as_str(), value) {
            ("Path", _) => {
                other
                    .and_then(Value::as_str)
                    .map(|path| path.strip_suffix('/').unwrap_or(path))
                    != value.as_str()
            }
            (_, Value::Null | Value::Bool(false)) => other.is_some(),
            (_, Value::String(text)) if text.is_empty() => other.is_some(),
            (_, _) => other != Some(*value),
        }
    })?;
    Some(format!(
        "{}: ours {}, theirs {}",
        wrong.0,
        wrong.1,
        theirs.get(wrong.0).unwrap_or(&Value::Null)
    ))
}

proptest! {
    #[test]
    fn no_head_makes_the_parser_panic(
        method in "GET|POST|PUT|PATCH|DELETE|.{0,5}",
        path in "(/(api|apis|v1|apps|namespaces|pods|a|status|%2[0-9a-zA-Z]|%..|\\.\\.|.{0,4})){0,9}/?|.{0,40}",
        query in proptest::option::of("((watch|limit|fieldSelector|dryRun|command|.{0,3})(=(metadata.name=a|1|All|%..|.{0,6}))?[&;]?){0,5}"),
        accept in proptest::collection::vec("(application/json|\\*/\\*|.{0,8})(;(as|g|v|q)=.{0,5}){0,3},?", 0..3),
        body in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
    ) {
        let accept: Vec<&str> = accept.iter().map(String::as_str).collect();
        let head = Head { method: &method, path: &path, query: query.as_deref(), accept: &accept, content_type: None, upgrade: false };
        if let Ok(outline) = parse(&head) {
            let _ = outline.complete(body.map(Bytes::from));
        }
    }

    /// The request that goes upstream means what was judged: read again, it is the same.
    #[test]
    fn what_goes_upstream_reads_as_what_was_judged(
        method in "GET|POST|DELETE",
        path in "/(api|apis/apps)/v1(/namespaces/[a-c ]{1,2})?/(pods|secrets)(/[a-z:~ +é]{1,3}(/(status|scale|log))?)?/?",
        query in proptest::option::of("((watch|limit|pretty|labelSelector|resourceVersion)=(1|0|a b|a%2Bb|é|x%26y%3Dz)&?){0,3}"),
    ) {
        let send = |path: &str, query: Option<&str>| {
            parse(&Head { method: &method, path, query, accept: &[], content_type: None, upgrade: false }).map(|outline| outline.action)
        };
        if let Ok(first) = send(&path, query.as_deref()) {
            let uri = first.request_uri();
            let (path, query) = uri.split_once('?').map_or((uri.as_str(), None), |(path, query)| (path, Some(query)));
            let second = send(path, query).unwrap();
            prop_assert_eq!(first.target(), second.target());
            prop_assert_eq!(first.verb(), second.verb());
            prop_assert_eq!(first.options(), second.options());
            prop_assert_eq!(second.request_uri(), uri);
        }
    }
}
