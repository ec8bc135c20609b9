//! Masking of the errors of a masked kind.
//!
//! In: a `Status` with which the API server refused a request on Secrets. Out: the same refusal without what it quotes.
//!
//! A patch that no longer decodes is answered with the whole patched object in `message` and in `causes`
//! (apiserver pkg/endpoints/handlers/patch.go, `field.Invalid("patch", string(patchedObjJS))`), and admission may say
//! anything at all. So texts are kept only where they are exactly what the server says about names; of the rest the
//! reason, the code and the field paths remain.

use serde_json::{Map, Value, json};

use super::Masked;

/// Leaves of a `Status` on a masked kind what cannot hold a value. What is no `Status` becomes one that says nothing.
pub fn status(value: Value) -> Masked<Value> {
    let Value::Object(status) = value else {
        return Masked(withheld_whole());
    };
    if status.get("kind").and_then(Value::as_str) != Some("Status") {
        return Masked(withheld_whole());
    }
    let mut kept = pick(&status, &["kind", "apiVersion", "status", "reason", "code"]);
    let details = status.get("details").and_then(Value::as_object).map(details);
    if let Some(message) = status.get("message").and_then(Value::as_str) {
        kept.insert(
            "message".into(),
            Value::String(message_of(message, &status, details.as_ref())),
        );
    }
    if let Some(details) = details {
        kept.insert("details".into(), Value::Object(details));
    }
    kept.insert("metadata".into(), json!({}));
    Masked(Value::Object(kept))
}

fn withheld_whole() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the server's answer may hold secret values and is withheld"})
}

/// Scalars only: a nested value under a known name would carry anything.
fn pick(from: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let scalar = |value: &&Value| value.is_string() || value.is_number();
    names
        .iter()
        .filter_map(|name| Some((name.to_string(), from.get(*name).filter(scalar)?.clone())))
        .collect()
}

fn details(details: &Map<String, Value>) -> Map<String, Value> {
    let mut kept = pick(details, &["name", "group", "kind", "uid", "retryAfterSeconds"]);
    let causes: Vec<Value> = details
        .get("causes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(cause)
        .collect();
    if !causes.is_empty() {
        kept.insert("causes".into(), Value::Array(causes));
    }
    kept
}

fn cause(cause: &Value) -> Option<Value> {
    let cause = cause.as_object()?;
    let mut kept = pick(cause, &["reason"]);
    if let Some(field) = cause
        .get("field")
        .and_then(Value::as_str)
        .filter(|field| is_path(field))
    {
        kept.insert("field".into(), field.into());
    }
    let conflict = kept.get("reason").and_then(Value::as_str) == Some("FieldManagerConflict");
    let message = cause.get("message").and_then(Value::as_str).filter(|_| conflict);
    kept.insert(
        "message".into(),
        message.unwrap_or("withheld: may hold secret values").into(),
    );
    Some(Value::Object(kept))
}

// `data[tls.crt]`, `.stringData.a-b`, `metadata.annotations[example.dev/x]`.
fn is_path(field: &str) -> bool {
    field.len() <= 512
        && field
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_/[]()$\"'".contains(&b))
}

fn message_of(message: &str, status: &Map<String, Value>, details: Option<&Map<String, Value>>) -> String {
    let reason = status.get("reason").and_then(Value::as_str).unwrap_or_default();
    if names_only(message, reason, details) {
        return message.to_owned();
    }
    let fields: Vec<&str> = details
        .and_then(|d| d.get("causes"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|cause| cause.get("field").and_then(Value::as_str))
        .collect();
    let at = if fields.is_empty() {
        String::new()
    } else {
        format!(" (fields: {})", fields.join(", "))
    };
    format!("the server refused this{at}; its message is withheld because it may hold secret values")
}

/// Whether the text is the server's own sentence about the object's name (apimachinery pkg/api/errors).
fn names_only(message: &str, reason: &str, details: Option<&Map<String, Value>>) -> bool {
    let part = |name: &str| {
        details
            .and_then(|d| d.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (group, dot) = match part("group") {
        "" => ("", ""),
        group => (group, "."),
    };
    let object = format!("{}{dot}{group} \"{}\"", part("kind"), part("name"));
    match reason {
        "NotFound" => message == format!("{object} not found"),
        "AlreadyExists" => message == format!("{object} already exists"),
        "Conflict" => is_conflict(message, &object),
        "Forbidden" => forbidden_by_rbac(message, &object),
        "Expired"
        | "Gone"
        | "Unauthorized"
        | "TooManyRequests"
        | "MethodNotAllowed"
        | "NotAcceptable"
        | "UnsupportedMediaType" => !message.contains("denied") && !message.contains('{'),
        _ => false,
    }
}

fn is_conflict(message: &str, object: &str) -> bool {
    let modified = "the object has been modified; please apply your changes to the latest version and try again";
    message == format!("Operation cannot be fulfilled on {object}: {modified}")
        || (message.starts_with("Apply failed with ") && !message.contains('{'))
}

// `secrets "x" is forbidden: User "u" cannot get resource "secrets" in API group "" in the namespace "n"`
fn forbidden_by_rbac(message: &str, object: &str) -> bool {
    let Some(rest) = message
        .strip_prefix(object)
        .and_then(|m| m.strip_prefix(" is forbidden: User "))
    else {
        return object.ends_with("\"\"") && forbidden_by_rbac_unnamed(message);
    };
    is_rbac_clause(rest)
}

// Of a list the server says `secrets is forbidden: User …`, without a name.
fn forbidden_by_rbac_unnamed(message: &str) -> bool {
    message
        .strip_prefix("secrets is forbidden: User ")
        .is_some_and(is_rbac_clause)
}

fn is_rbac_clause(clause: &str) -> bool {
    let words: Vec<&str> = clause.split(' ').collect();
    let quoted = |word: &&str| word.len() >= 2 && word.starts_with('"') && word.ends_with('"');
    match words.as_slice() {
        [
            user,
            "cannot",
            verb,
            "resource",
            resource,
            "in",
            "API",
            "group",
            group,
            rest @ ..,
        ] => {
            let scope = matches!(rest, ["in", "the", "namespace", _] | ["at", "the", "cluster", "scope"]);
            quoted(user) && quoted(resource) && quoted(group) && verb.bytes().all(|b| b.is_ascii_lowercase()) && scope
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_error_loses_the_object_that_it_quotes() {
        let echoed = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "Secret in version \"v1\" cannot be handled: {\"data\":{\"p\":\"aHVudGVyMg==\"}}",
            "details": {"name": "n", "kind": "secrets", "causes": [
                {"reason": "FieldValueInvalid", "field": "patch", "message": "Invalid value: aHVudGVyMg=="},
                {"reason": "FieldValueInvalid", "field": "data[p] aHVudGVyMg==", "message": "x"}]}});
        let shown = status(echoed);
        let text = shown.to_string();
        assert!(!text.contains("aHVudGVyMg"), "{text}");
        assert_eq!(shown["code"], 422);
        assert_eq!(shown["details"]["causes"][0]["field"], "patch");
    }

    #[test]
    fn sentences_about_names_are_kept() {
        for (reason, message) in [
            ("NotFound", r#"secrets "n" not found"#),
            ("AlreadyExists", r#"secrets "n" already exists"#),
            (
                "Forbidden",
                r#"secrets "n" is forbidden: User "ada" cannot get resource "secrets" in API group "" in the namespace "a""#,
            ),
            (
                "Conflict",
                r#"Operation cannot be fulfilled on secrets "n": the object has been modified; please apply your changes to the latest version and try again"#,
            ),
        ] {
            let before = json!({"kind": "Status", "reason": reason, "message": message, "details": {"name": "n", "kind": "secrets"}});
            assert_eq!(status(before)["message"], message);
        }
    }

    #[test]
    fn admission_may_not_speak_under_a_known_reason() {
        for (reason, message) in [
            (
                "Forbidden",
                r#"secrets "n" is forbidden: ValidatingAdmissionPolicy 'a' with binding 'b' denied request: hunter2"#,
            ),
            ("NotFound", "hunter2 not found"),
            ("Unauthorized", r#"admission webhook "w" denied the request: hunter2"#),
        ] {
            let before = json!({"kind": "Status", "reason": reason, "message": message, "details": {"name": "n", "kind": "secrets"}});
            assert!(!status(before).to_string().contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn what_is_no_status_says_nothing() {
        assert!(
            !status(json!({"kind": "Secret", "data": {"p": "hunter2"}}))
                .to_string()
                .contains("hunter2")
        );
        assert!(!status(json!("hunter2")).to_string().contains("hunter2"));
    }
}
