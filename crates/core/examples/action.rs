//! What `core::action` makes of requests: JSON lines in, JSON lines out, in the words of the API server's own parser.
//!
//! `{"method":"GET","url":"/api/v1/pods?watch=1","headers":{"Accept":["application/json"]},"body":""}`
//! → `{"info":{"Verb":"watch",...},"verb":"watch","upstream":"/api/v1/pods?watch=true",...}` or `{"refused":"...","status":"BadRequest"}`.
//! `verb` is Mantlet's own: `exec`, `attach`, `portforward` and `proxy` where `info` has that of the method. The body is text in
//! `body` or base64 in `bodyBase64`; without either, the head alone is read. An `id` comes back as it was sent.

use std::io::{BufRead, Write};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mantlet_core::action::{Action, Head, Unreadable, UnreadableStatus, headers, impersonates, parse};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let mut answer = match serde_json::from_str(&line) {
            Ok(asked) => answer(&asked),
            Err(fault) => json!({ "error": format!("the line is not JSON: {fault}") }),
        };
        let id = serde_json::from_str(&line)
            .ok()
            .and_then(|asked: Value| asked.get("id").cloned());
        if let (Some(id), Some(answer)) = (id, answer.as_object_mut()) {
            answer.insert("id".to_owned(), id);
        }
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(asked: &Value) -> Value {
    let url = asked.get("url").and_then(Value::as_str).unwrap_or_default();
    let slash = url.split('?').next().is_some_and(|path| path.ends_with('/'));
    let said = understand(asked, |action| {
        let mut info = action.request_info();
        // RequestInfo keeps the slash at the end, which means nothing to it; what goes upstream has none.
        let path = info["Path"].as_str().unwrap_or_default().to_owned();
        if slash && !path.ends_with('/') {
            info["Path"] = format!("{path}/").into();
        }
        let body = action
            .body()
            .map(|body| String::from_utf8_lossy(&body.outgoing()).into_owned());
        json!({
            "info": info, "verb": action.verb().as_str(), "upstream": action.request_uri(), "accept": action.accept(),
            "dryRun": action.options().dry_run, "contentType": action.body().map(|body| body.content_type()), "body": body,
        })
    });
    said.unwrap_or_else(|why| json!({ "refused": why.message, "status": format!("{:?}", why.status) }))
}

fn understand(asked: &Value, describe: impl Fn(&Action) -> Value) -> Result<Value, Unreadable> {
    let text = |name: &str| asked.get(name).and_then(Value::as_str);
    let url = text("url").unwrap_or_default();
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let written = written(asked);
    if written.iter().any(|(name, _)| impersonates(name)) {
        return Err(refused("impersonation is not possible through this gateway"));
    }
    let said = headers(written.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    let head = Head {
        method: text("method").unwrap_or("GET"),
        path,
        query,
        accept: &said.accept,
        content_type: said.content_type,
        upgrade: said.upgrade,
    };
    let outline = parse(&head)?;
    let body = match (text("body"), text("bodyBase64")) {
        (None, None) => return Ok(describe(outline.so_far())),
        (_, Some(encoded)) => BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| refused("bodyBase64 is not base64"))?,
        (Some(plain), None) => plain.as_bytes().to_vec(),
    };
    // The gateway reads no body where none is expected.
    let body = outline.wants_body().then(|| body.into());
    outline.complete(body).map(|action| describe(&action))
}

fn refused(message: &str) -> Unreadable {
    Unreadable {
        status: UnreadableStatus::BadRequest,
        message: message.to_owned(),
    }
}

/// Names in lower case; a header is a text or a list of texts.
fn written(asked: &Value) -> Vec<(String, String)> {
    let all = asked.get("headers").and_then(Value::as_object).into_iter().flatten();
    let each = all.flat_map(|(name, value)| {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let texts = values.iter().filter_map(Value::as_str);
        texts
            .map(|text| (name.to_ascii_lowercase(), text.to_owned()))
            .collect::<Vec<_>>()
    });
    each.collect()
}
