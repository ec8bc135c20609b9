//! What a write left behind, beside what was judged: webhooks and defaults come in between, and a generated name is known only then.
//!
//! In: the object that was judged, and the cluster's answer. Out: [`Stored`]. Refuses nothing: the write has happened.
//! Deliberately does not: compare metadata and status, which controllers and clients fill as they like; or what stands in Secrets.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cut;
use crate::mask::Masked;

/// The object that a write left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stored {
    pub uid: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Fields that are not as they were judged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
}

/// What the judgment had before it.
#[derive(Debug, Clone, Copy)]
pub enum Judged<'a> {
    /// As the client sent it: the API server fills in defaults, so what it adds to an object is no difference.
    Submitted(&'a Masked<Value>),
    /// As a rehearsal showed it, defaults, webhooks and all.
    Rehearsed(&'a Masked<Value>),
}

const PATHS: usize = 16;
const PATH: usize = 256;

impl Stored {
    /// `None` where the answer is no object (a `Status`, an object that was deleted at once).
    pub fn of(judged: Option<Judged<'_>>, answer: &Masked<Value>) -> Option<Self> {
        let metadata = answer.get("metadata")?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default();
        let uid = Some(text("uid")).filter(|uid| !uid.is_empty())?;
        Some(Self {
            uid: cut(uid, PATH),
            name: cut(text("name"), PATH),
            namespace: cut(text("namespace"), PATH),
            differs: judged.map(|judged| differences(judged, answer)).unwrap_or_default(),
        })
    }
}

fn differences(judged: Judged<'_>, answer: &Value) -> Vec<String> {
    let (before, defaults) = match judged {
        Judged::Submitted(object) => (object, true),
        Judged::Rehearsed(object) => (object, false),
    };
    let mut found = Found {
        defaults,
        paths: Vec::new(),
    };
    let (Some(before), Some(after)) = (before.as_object(), answer.as_object()) else {
        return Vec::new();
    };
    found.fields(&weighed(before), &weighed(after), "");
    found.paths
}

/// What is compared. A Secret's values are placeholders of two kinds.
fn weighed(object: &Map<String, Value>) -> Map<String, Value> {
    let secret = object.get("kind").is_some_and(|kind| kind == "Secret");
    let left_out = |key: &str| {
        matches!(key, "apiVersion" | "kind" | "metadata" | "status") || (secret && matches!(key, "data" | "stringData"))
    };
    let kept = object.iter().filter(|(key, _)| !left_out(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

struct Found {
    defaults: bool,
    paths: Vec<String>,
}

impl Found {
    fn fields(&mut self, before: &Map<String, Value>, after: &Map<String, Value>, path: &str) {
        for (key, value) in before {
            self.value(value, after.get(key).unwrap_or(&Value::Null), &format!("{path}{key}"));
        }
        let added = after
            .iter()
            .filter(|(key, _)| !before.contains_key(*key) && !self.defaults);
        let added: Vec<_> = added.map(|(key, value)| (key.clone(), value.clone())).collect();
        for (key, value) in added {
            self.value(&Value::Null, &value, &format!("{path}{key}"));
        }
    }

    fn value(&mut self, before: &Value, after: &Value, path: &str) {
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => self.fields(before, after, &format!("{path}.")),
            (Value::Array(before), Value::Array(after)) => self.items(before, after, path),
            (before, after) if same(before, after) => {}
            (before, _) if self.defaults && is_open(before) => {}
            (_, _) => self.differs(path),
        }
    }

    fn items(&mut self, before: &[Value], after: &[Value], path: &str) {
        for (at, (before, after)) in before.iter().zip(after).enumerate() {
            self.value(before, after, &format!("{path}[{at}]"));
        }
        let added = after.get(before.len()..).unwrap_or_default();
        if before.len() > after.len() || !added.iter().all(|item| self.defaults && is_everybodys(item)) {
            self.differs(path);
        }
    }

    fn differs(&mut self, path: &str) {
        if self.paths.len() < PATHS {
            self.paths.push(cut(path, PATH));
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Left for the API server to fill in; `false` and `0` are answers.
fn is_open(value: &Value) -> bool {
    !matches!(value, Value::Bool(_) | Value::Number(_)) && is_empty(value)
}

/// Go leaves out what is empty, and writes a quantity in its shortest form.
fn same(before: &Value, after: &Value) -> bool {
    let quantities = || Some(quantity(before)? == quantity(after)?);
    before == after || (is_empty(before) && is_empty(after)) || quantities().unwrap_or_default()
}

/// In thousandths of thousandths (apimachinery `pkg/api/resource/quantity.go`), which is as fine as anybody asks for.
fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let digits = text.trim_start_matches(['+', '-']);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let factor: i128 = match suffix {
        "u" => 1,
        "m" => 1_000,
        "" => 1_000_000,
        "k" => 1_000_000_000,
        "M" => 1_000_000_000_000,
        "G" => 1_000_000_000_000_000,
        "T" => 1_000_000_000_000_000_000,
        "Ki" => 1_000_000 << 10,
        "Mi" => 1_000_000 << 20,
        "Gi" => 1_000_000 << 30,
        "Ti" => 1_000_000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = format!("{fraction:0<6}");
    if fraction.len() > 6 || number.len() > 18 || whole.is_empty() {
        return None;
    }
    let micros = whole
        .parse::<i128>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(fraction.parse().ok()?)?;
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Some(sign * micros.checked_mul(factor)? / 1_000_000)
}

/// What the API server puts into every pod: the volume of its token, where that is mounted, and how long it bears with a lost node
/// (kubernetes `plugin/pkg/admission/{serviceaccount,defaulttolerationseconds}`).
fn is_everybodys(item: &Value) -> bool {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    text("name").starts_with("kube-api-access-")
        || text("mountPath") == "/var/run/secrets/kubernetes.io/serviceaccount"
        || (matches!(
            text("key"),
            "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable"
        ) && item.get("tolerationSeconds").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mask::{self, Hint};

    fn stored(judged: Value, answer: Value, rehearsed: bool) -> Vec<String> {
        let (judged, answer) = (mask::value(judged, Hint::Other), mask::value(answer, Hint::Other));
        let judged = match rehearsed {
            true => Judged::Rehearsed(&judged),
            false => Judged::Submitted(&judged),
        };
        Stored::of(Some(judged), &answer).unwrap().differs
    }

    fn pod(spec: Value) -> Value {
        json!({ "kind": "Pod", "metadata": { "name": "web-x7", "uid": "u1", "labels": {} }, "spec": spec })
    }

    #[test]
    fn t48_a_generated_name_is_known_by_the_answer() {
        let answer = mask::value(pod(json!({})), Hint::Other);
        let stored = Stored::of(None, &answer).unwrap();
        assert_eq!((stored.name.as_str(), stored.uid.as_str()), ("web-x7", "u1"));
        let status = mask::value(json!({ "kind": "Status", "metadata": {} }), Hint::Other);
        assert_eq!(Stored::of(None, &status), None);
    }

    #[test]
    fn t48_what_a_webhook_changed_is_named() {
        let sent = pod(json!({ "containers": [{ "name": "web", "image": "a" }], "hostNetwork": false }));
        let kept =
            pod(json!({ "containers": [{ "name": "web", "image": "b" }, { "name": "sidecar" }], "hostNetwork": true }));
        let differs = stored(sent, kept, false);
        assert_eq!(
            differs,
            ["spec.containers[0].image", "spec.containers", "spec.hostNetwork"]
        );
    }

    #[test]
    fn defaults_are_no_difference_to_what_was_sent() {
        let sent = pod(json!({
            "containers": [{ "name": "web", "resources": { "limits": { "cpu": "0.5", "memory": "1024Mi" } }, "args": [], "volumeMounts": [] }],
            "volumes": [],
        }));
        let kept = pod(json!({
            "containers": [{ "name": "web", "resources": { "limits": { "cpu": "500m", "memory": "1Gi" } }, "imagePullPolicy": "Always",
                "volumeMounts": [{ "name": "kube-api-access-1", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }] }],
            "volumes": [{ "name": "kube-api-access-1" }],
            "tolerations": [{ "key": "node.kubernetes.io/not-ready", "tolerationSeconds": 300 }],
            "restartPolicy": "Always",
        }));
        assert_eq!(stored(sent, kept, false), Vec::<String>::new());
    }

    #[test]
    fn a_rehearsal_had_its_defaults_already() {
        let rehearsed = pod(json!({ "containers": [{ "name": "web" }] }));
        let kept = pod(json!({ "containers": [{ "name": "web", "tty": true }], "hostPID": true }));
        assert_eq!(
            stored(rehearsed.clone(), kept, true),
            ["spec.containers[0].tty", "spec.hostPID"]
        );
        assert_eq!(stored(rehearsed.clone(), rehearsed, true), Vec::<String>::new());
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        for (a, b, same) in [
            ("1000m", "1", true),
            ("1Gi", "1024Mi", true),
            ("1G", "1Gi", false),
            ("0.1", "100m", true),
            ("abc", "abd", false),
        ] {
            assert_eq!(super::same(&json!(a), &json!(b)), same, "{a} {b}");
        }
        assert!(super::same(&json!(1), &json!("1")));
    }
}
