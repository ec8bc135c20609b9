//! A request that somebody wrote down, as the gateway would understand it.

use std::sync::Arc;

use bytes::Bytes;
use mantlet_cli::kubectl::{self, Asked, Place};
use mantlet_core::action::{self, Action, Head};
use serde_json::Value;

/// Understood by the same rules as if it had arrived; the error is what the gateway would answer.
pub(crate) fn understand(asked: &Asked) -> Result<Arc<Action>, String> {
    let (path, query) = match asked.uri.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.uri.as_str(), None),
    };
    let head = Head {
        method: asked.method,
        path,
        query,
        accept: &["application/json"],
        content_type: asked.content_type,
        upgrade: asked.upgrade,
    };
    let body = asked.body.as_ref().map(|body| Bytes::from(body.to_string()));
    let understood = action::parse(&head).and_then(|outline| outline.complete(body));
    understood.map(Arc::new).map_err(|unreadable| unreadable.message)
}

/// `METHOD PATH?QUERY`, with what is sent.
pub(crate) fn by_hand(line: &str, body: Option<&Value>, content_type: Option<&str>) -> Result<Asked, String> {
    let (method, uri) = line
        .trim()
        .split_once(' ')
        .ok_or("a request is written `METHOD PATH?QUERY`")?;
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let method = methods
        .into_iter()
        .find(|known| *known == method)
        .ok_or_else(|| format!("`{method}` is none of {}", methods.join(", ")))?;
    let types = [
        "application/json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/json-patch+json",
        "application/apply-patch+yaml",
    ];
    let content_type = match content_type {
        Some(written) => Some(
            types
                .into_iter()
                .find(|known| *known == written)
                .ok_or_else(|| format!("`{written}` is none of {}", types.join(", ")))?,
        ),
        None if method == "PATCH" => Some(types[1]),
        None => body.map(|_| types[0]),
    };
    let upgrade = ["/exec", "/attach", "/portforward"]
        .iter()
        .any(|end| uri.split('?').next().is_some_and(|path| path.ends_with(end)));
    Ok(Asked {
        method,
        uri: uri.to_owned(),
        content_type,
        body: body.cloned(),
        upgrade,
        note: None,
    })
}

/// The words of a command line as a shell would part them: blanks, quotes, backslashes. Nothing else of a shell.
pub(crate) fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut begun, mut quote) = (Vec::new(), String::new(), false, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('"') | None, '\\') => {
                word.extend(letters.next());
                begun = true;
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                begun = true;
            }
            (None, letter) if letter.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, '|' | '>' | '<' | ';' | '&' | '$' | '`') => {
                return Err(format!("`{letter}` is for a shell, and this is none"));
            }
            (_, letter) => {
                word.push(letter);
                begun = true;
            }
        }
    }
    match quote {
        Some(open) => Err(format!("a quote {open} is never closed")),
        None => {
            words.extend(begun.then_some(word));
            Ok(words)
        }
    }
}

/// The requests of a command line in one text.
pub(crate) fn of_kubectl(line: &str, place: Place<'_>) -> Result<Vec<Asked>, String> {
    kubectl::requests(&words(line)?, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_as_by_a_shell_and_a_shells_own_signs_are_refused() {
        assert_eq!(
            words(r#"kubectl patch  po a -p '{"a": "b"}' --x="c d" e\ f ''"#).unwrap(),
            [
                "kubectl",
                "patch",
                "po",
                "a",
                "-p",
                r#"{"a": "b"}"#,
                "--x=c d",
                "e f",
                ""
            ]
        );
        assert!(words("kubectl get pods | head").is_err());
        assert!(words("kubectl get 'pods").is_err());
    }
}
