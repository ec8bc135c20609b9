//! What a request or an answer held, as far as the record keeps it.
//!
//! In: the masked body of an action, or the bytes of an answer that was masked for its caller. Out: a [`Body`], `Masked`, or a text that has to be
//! stored first. Whatever becomes of a body, the record says so: what is not kept is [`Body::LeftOut`], with the reason.
//! Secrets are masked once more, without their MACs: from the record not even equality can be read. Free text in any field goes
//! through [`mask::text`] as well, since a manifest can hold a command line.

use mantlet_api::audit::Level;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::Recording;
use crate::action::{Action, Answer, Target};
use crate::mask::{self, Hint, Masked};

/// Bodies up to here lie in the journal itself.
pub const INLINE_MAX: usize = 32 * 1024;
/// Answers larger than this are not kept. Requests cannot be: the API server reads no more than 3 MiB.
pub const ANSWER_MAX: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    Inline(Value),
    /// In the store of recordings, by the SHA-256 of its JSON text.
    #[serde(rename_all = "camelCase")]
    Stored {
        sha256: String,
        bytes: u64,
    },
    /// There was one, and it is not kept.
    #[serde(rename_all = "camelCase")]
    LeftOut {
        why: String,
    },
}

/// Why a body is not kept. The words stand in the record, so they are a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    TooLarge,
    TooMany,
    NotWhole,
    NotJson,
    /// The store of recordings failed after the request had been sent.
    NotStored,
    /// The request ended before its body could be stored.
    Ended,
}

impl LeftOut {
    pub fn as_str(self) -> &'static str {
        match self {
            LeftOut::TooLarge => "larger than 1 MiB",
            LeftOut::TooMany => "too many large answers at once",
            LeftOut::NotWhole => "the answer was not sent whole",
            LeftOut::NotJson => "not JSON",
            LeftOut::NotStored => "the store of recordings failed",
            LeftOut::Ended => "the request ended before it was stored",
        }
    }
}

/// A body that is ready for the record, or has to be stored first.
#[derive(Debug)]
pub enum Weighed {
    Light(Masked<Body>),
    Heavy(Masked<String>),
}

impl Body {
    /// Hash and length tell nothing that was masked.
    pub fn stored(sha256: String, bytes: u64) -> Masked<Body> {
        Masked::mint(Body::Stored { sha256, bytes })
    }

    pub fn left_out(why: LeftOut) -> Masked<Body> {
        Masked::mint(Body::LeftOut {
            why: why.as_str().to_owned(),
        })
    }
}

/// What is recorded of what was submitted; none where the policy says so, or nothing was.
///
/// k8s.io/apiserver `pkg/audit/request.go`, LogRequestObject: for resources alone, from level Request on.
pub fn of_request(action: &Action, recording: &Recording) -> Option<Weighed> {
    if recording.level < Level::Request || matches!(action.target(), Target::Path(_)) {
        return None;
    }
    let submitted = action.submitted()?.clone();
    Some(weigh(submitted, recording))
}

/// Whether the answer to this is kept: resources alone, no logs, no watches.
pub fn keeps_answer(action: &Action, recording: &Recording) -> bool {
    let answers_with_object = matches!(
        (action.target(), action.answer()),
        (Target::Resource(_), Answer::Masked { .. })
    );
    recording.level >= Level::RequestResponse && answers_with_object && !action.options().endless
}

/// What is recorded of an answer. `secret`: the resource is `secrets`.
pub fn of_answer(bytes: &[u8], secret: bool, recording: &Recording) -> Weighed {
    if bytes.len() > ANSWER_MAX {
        return Weighed::Light(Body::left_out(LeftOut::TooLarge));
    }
    let hint = if secret { Hint::Secrets } else { Hint::Other };
    match serde_json::from_slice(bytes) {
        Ok(value) => weigh(mask::value(value, hint), recording),
        Err(_) => Weighed::Light(Body::left_out(LeftOut::NotJson)),
    }
}

fn weigh(masked: Masked<Value>, recording: &Recording) -> Weighed {
    let mut value = masked.into_inner();
    if recording.omit_managed_fields {
        omit_managed_fields(&mut value);
    }
    mask_texts(&mut value);
    let text = value.to_string();
    match text.len() <= INLINE_MAX {
        true => Weighed::Light(Masked::mint(Body::Inline(value))),
        false => Weighed::Heavy(Masked::mint(text)),
    }
}

fn mask_texts(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            let masked = mask::text(text);
            if *masked != *text {
                *text = masked.into_inner();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_texts),
        Value::Object(map) => map.values_mut().for_each(mask_texts),
    }
}

/// Of an object, of the items of a list, of the objects in the rows of a Table (apiserver `pkg/audit/request.go`, copyWithoutManagedFields).
fn omit_managed_fields(value: &mut Value) {
    omit(value);
    for (list, within) in [("items", None), ("rows", Some("object"))] {
        let Some(Value::Array(items)) = value.get_mut(list) else {
            continue;
        };
        for item in items {
            match within {
                None => omit(item),
                Some(key) => item.get_mut(key).into_iter().for_each(omit),
            }
        }
    }
}

fn omit(object: &mut Value) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recording(omit_managed_fields: bool) -> Recording {
        Recording {
            level: Level::RequestResponse,
            omit_managed_fields,
            omit_stages: Vec::new(),
        }
    }

    fn kept(value: &Value, omit: bool) -> Value {
        match of_answer(value.to_string().as_bytes(), false, &recording(omit)) {
            Weighed::Light(body) => match body.into_inner() {
                Body::Inline(value) => value,
                other => panic!("{other:?}"),
            },
            Weighed::Heavy(text) => serde_json::from_str(&text).unwrap(),
        }
    }

    #[test]
    fn no_secret_of_an_answer_is_kept_wherever_it_stands() {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{
            "args": ["--header", "Authorization: Bearer abcdefghijklmnop"], "env": [{"value": "password=hunter2hunter2"}]}]}});
        let secret = json!({"kind": "Secret", "apiVersion": "v1", "data": {"p": "aHVudGVyMg=="}});
        let list = json!({"kind": "List", "apiVersion": "v1", "items": [pod, secret]});
        let text = kept(&list, false).to_string();
        for gone in ["abcdefghijklmnop", "hunter2", "aHVudGVyMg"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        assert!(text.contains("--header"));
    }

    #[test]
    fn placeholders_in_the_record_do_not_tell_equal_values_from_others() {
        let secret = |value: &str| json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"p": value}});
        assert_eq!(kept(&secret("YQ=="), false), kept(&secret("Yg=="), false));
    }

    #[test]
    fn managed_fields_are_left_out_of_objects_lists_and_tables() {
        let object = json!({"metadata": {"name": "a", "managedFields": [{"manager": "kubectl"}]}});
        for (value, name) in [
            (object.clone(), "/metadata/name"),
            (json!({"items": [object]}), "/items/0/metadata/name"),
            (json!({"rows": [{"object": object}]}), "/rows/0/object/metadata/name"),
        ] {
            assert!(kept(&value, false).to_string().contains("managedFields"));
            let without = kept(&value, true);
            assert!(!without.to_string().contains("managedFields"), "{without}");
            assert_eq!(without.pointer(name), Some(&json!("a")));
        }
    }

    #[test]
    fn what_is_too_large_for_the_journal_has_to_be_stored_and_what_is_larger_is_left_out_and_says_so() {
        let of = |length: usize| {
            of_answer(
                json!({"a": "x".repeat(length)}).to_string().as_bytes(),
                false,
                &recording(true),
            )
        };
        assert!(matches!(of(INLINE_MAX - 100), Weighed::Light(body) if matches!(*body, Body::Inline(_))));
        assert!(matches!(of(INLINE_MAX), Weighed::Heavy(_)));
        let Weighed::Light(body) = of(ANSWER_MAX) else {
            panic!("too large")
        };
        let said = serde_json::to_value(&*body).unwrap();
        assert_eq!(said, json!({"leftOut": {"why": "larger than 1 MiB"}}));
    }

    #[test]
    fn an_answer_that_is_no_json_is_left_out() {
        let Weighed::Light(body) = of_answer(b"404 page not found", false, &recording(true)) else {
            panic!("heavy")
        };
        assert_eq!(*body, *Body::left_out(LeftOut::NotJson));
    }
}
