//! What `core::action` makes of requests: JSON lines in, JSON lines out, in the words of the API server's own parser.
//!
//! `{"method":"GET","url":"/api/v1/pods?watch=1","headers":{"Accept":["application/json"]},"body":""}`
//! → `{"info":{"Verb":"watch",...},"verb":"watch","upstream":"/api/v1/pods?watch=true"}` or `{"refused":"...","status":"BadRequest"}`.

use std::io::{BufRead, Write};

use mantlet_core::action::{Action, Head, Unreadable, parse};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let mut answer = match understand(&asked) {
            Ok(action) => {
                json!({ "info": action.request_info(), "verb": action.verb().as_str(), "upstream": action.request_uri(), "accept": action.accept() })
            }
            Err(why) => json!({ "refused": why.message, "status": format!("{:?}", why.status) }),
        };
        if let (Some(id), Some(answer)) = (asked.get("id"), answer.as_object_mut()) {
            answer.insert("id".to_owned(), id.clone());
        }
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn understand(asked: &Value) -> Result<Action, Unreadable> {
    let text = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
    let (path, query) = match text("url").split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text("url"), None),
    };
    let accept = headers(asked, "accept");
    let head = Head {
        method: asked.get("method").and_then(Value::as_str).unwrap_or("GET"),
        path,
        query,
        accept: &accept,
        content_type: headers(asked, "content-type").first().copied(),
        upgrade: !headers(asked, "upgrade").is_empty(),
    };
    let outline = parse(&head)?;
    let body = outline.wants_body().then(|| text("body").to_owned().into());
    outline.complete(body)
}

fn headers<'a>(asked: &'a Value, wanted: &str) -> Vec<&'a str> {
    let Some(all) = asked.get("headers").and_then(Value::as_object) else {
        return Vec::new();
    };
    let values = all
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value);
    values
        .flat_map(|value| match value {
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            one => Vec::from_iter(one.as_str()),
        })
        .collect()
}
