//! `mantlet sessions list|show|end`: a client of the virtual API, as `kubectl get sessions` is.

use std::io::Write;

use bytes::Bytes;
use mantlet_api::gate::StopOptions;
use serde_json::{Value, json};

use crate::args::{ClusterArgs, Output, OutputArgs, SessionsArgs, SessionsCommand};
use crate::client::{AS_JSON, AS_TABLE, Client, ClientFault};
use crate::exit::{Exit, Fault, finish};
use crate::table::{Printer, Table};

pub(crate) const GROUP: &str = "/apis/gate.mantlet.dev/v1alpha1";
const PAGE: u32 = 500;

/// Carries out the command; data goes to `out`, what went wrong to standard error.
pub async fn sessions(args: SessionsArgs, out: &mut dyn Write) -> Exit {
    finish(match args.command {
        SessionsCommand::List { output, cluster } => list(output, &cluster, out).await,
        SessionsCommand::Show { name, output, cluster } => show(&name, output, &cluster, out).await,
        SessionsCommand::End { name, cluster } => end(&name, &cluster, out).await,
        // It reads a gateway's own files: the binary carries it out.
        SessionsCommand::Rebuild(_) => Err(Fault::Usage(String::from("`rebuild` does not go through a gateway"))),
        // The binary's own: they read the gateway's files and talk to nobody.
        SessionsCommand::Verify(_) | SessionsCommand::RotateKey(_) => Err(Fault::Usage(String::from(
            "this command works on the files of a gateway, not on a gateway",
        ))),
    })
}

async fn list(output: OutputArgs, cluster: &ClusterArgs, out: &mut dyn Write) -> Result<(), Fault> {
    let client = Client::new(cluster.source()).await?;
    read(&client, format!("{GROUP}/sessions"), None, output, out).await
}

async fn show(name: &str, output: OutputArgs, cluster: &ClusterArgs, out: &mut dyn Write) -> Result<(), Fault> {
    named(name, "a session")?;
    let client = Client::new(cluster.source()).await?;
    let path = format!("{GROUP}/sessions/{name}");
    let session = match output.output {
        Output::Table | Output::Wide => {
            let table: Table = parse(&get(&client, &path, AS_TABLE).await?)?;
            Printer::new(output.output == Output::Wide).print(&table, out)?;
            writeln!(out)?;
            None
        }
        Output::Json | Output::Yaml => Some(parse::<Value>(&get(&client, &path, AS_JSON).await?)?),
    };
    read(
        &client,
        format!("{GROUP}/sessionevents?fieldSelector=spec.session%3D{name}"),
        session,
        output,
        out,
    )
    .await
}

async fn end(name: &str, cluster: &ClusterArgs, out: &mut dyn Write) -> Result<(), Fault> {
    named(name, "a session")?;
    let client = Client::new(cluster.source()).await?;
    post(
        &client,
        &format!("{GROUP}/sessions/{name}/end"),
        &StopOptions::because(""),
    )
    .await?;
    Ok(writeln!(out, "session/{name} ended")?)
}

/// The name goes into a path and a selector: nothing in it may mean something there.
pub(crate) fn named(name: &str, what: &str) -> Result<(), Fault> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    match !name.is_empty() && name.bytes().all(plain) {
        true => Ok(()),
        false => Err(Fault::Usage(format!("`{name}` is not the name of {what}"))),
    }
}

/// Prints a list, and with `follow` what is added to it from then on. `first` stands in front of the items.
async fn read(
    client: &Client,
    path: String,
    first: Option<Value>,
    output: OutputArgs,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    match output.output {
        Output::Table | Output::Wide => {
            let mut printer = Printer::new(output.output == Output::Wide);
            let version = tables(client, &path, &mut printer, out).await?;
            if output.follow {
                follow_tables(client, &path, version, &mut printer, out).await
            } else {
                Ok(())
            }
        }
        Output::Json | Output::Yaml => {
            let (mut items, version) = objects(client, &path).await?;
            items.splice(0..0, first);
            if output.follow {
                items.iter().try_for_each(|item| write_one(item, output.output, out))?;
                return follow_objects(client, &path, version, output.output, out).await;
            }
            let all = json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items });
            write_one_pretty(&all, output.output, out)
        }
    }
}

async fn tables(client: &Client, path: &str, printer: &mut Printer, out: &mut dyn Write) -> Result<String, Fault> {
    let mut rest = String::new();
    loop {
        let table: Table = parse(&get(client, &page(path, &rest), AS_TABLE).await?)?;
        printer.print(&table, out)?;
        rest = table.metadata.rest;
        if rest.is_empty() {
            return Ok(table.metadata.resource_version);
        }
    }
}

async fn objects(client: &Client, path: &str) -> Result<(Vec<Value>, String), Fault> {
    let mut items = Vec::new();
    let mut rest = String::new();
    loop {
        let mut list: Value = parse(&get(client, &page(path, &rest), AS_JSON).await?)?;
        let text = |list: &Value, at: &str| list.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(Value::Array(more)) = list.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        rest = text(&list, "/metadata/continue");
        if rest.is_empty() {
            return Ok((items, text(&list, "/metadata/resourceVersion")));
        }
    }
}

async fn follow_tables(
    client: &Client,
    path: &str,
    mut version: String,
    printer: &mut Printer,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    loop {
        let mut lines = client
            .send(http::Method::GET, &watch(path, &version), AS_TABLE, None)
            .await?
            .lines();
        let before = version.clone();
        while let Some(line) = lines.next().await? {
            let Some(object) = shown(&line)? else { continue };
            let table: Table = serde_json::from_value(object).map_err(|e| Fault::Unreadable(e.to_string()))?;
            if let Some(seen) = table.rows.last().and_then(|row| row.resource_version()) {
                seen.clone_into(&mut version);
            }
            printer.print(&table, out)?;
        }
        pause_if_nothing_came(&before, &version).await;
    }
}

async fn follow_objects(
    client: &Client,
    path: &str,
    mut version: String,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Fault> {
    loop {
        let mut lines = client
            .send(http::Method::GET, &watch(path, &version), AS_JSON, None)
            .await?
            .lines();
        let before = version.clone();
        while let Some(line) = lines.next().await? {
            let Some(object) = shown(&line)? else { continue };
            if let Some(seen) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
                seen.clone_into(&mut version);
            }
            write_one(&object, output, out)?;
        }
        pause_if_nothing_came(&before, &version).await;
    }
}

/// The object of a watch event that is to be shown; what the server reports as an error ends the command.
fn shown(line: &[u8]) -> Result<Option<Value>, Fault> {
    let mut event: Value = parse(line)?;
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event.get("type").and_then(Value::as_str) {
        Some("ADDED" | "MODIFIED") => Ok(Some(object)),
        Some("ERROR") => {
            let text = |field: &str| {
                object
                    .get(field)
                    .and_then(Value::as_str)
                    .map(crate::table::for_terminal)
            };
            let code = object
                .get("code")
                .and_then(Value::as_u64)
                .and_then(|c| u16::try_from(c).ok());
            let status = code.and_then(|c| http::StatusCode::from_u16(c).ok());
            Err(Fault::Client(ClientFault::Refused {
                status: status.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR),
                reason: text("reason").unwrap_or_default(),
                message: text("message").unwrap_or_else(|| "the watch ended with an error".into()),
            }))
        }
        _ => Ok(None),
    }
}

/// A server that ends each watch at once must not be asked without pause.
async fn pause_if_nothing_came(before: &str, after: &str) {
    if before == after {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn page(path: &str, rest: &str) -> String {
    let rest: String = rest
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    let rest = if rest.is_empty() {
        rest
    } else {
        format!("&continue={rest}")
    };
    format!("{path}{}limit={PAGE}{rest}", joint(path))
}

fn watch(path: &str, version: &str) -> String {
    format!("{path}{}watch=true&resourceVersion={version}", joint(path))
}

fn joint(path: &str) -> char {
    if path.contains('?') { '&' } else { '?' }
}

pub(crate) async fn get(client: &Client, path: &str, accept: &'static str) -> Result<Vec<u8>, Fault> {
    explained(client, client.get(path, accept).await).await
}

/// Sends what stops something.
pub(crate) async fn post(client: &Client, path: &str, options: &StopOptions) -> Result<Vec<u8>, Fault> {
    let body = serde_json::to_vec(options).map_err(|e| Fault::Unreadable(e.to_string()))?;
    let sent = Some(("application/json", body.into()));
    let answer = match client.send(http::Method::POST, path, AS_JSON, sent).await {
        Ok(answer) => answer.whole().await,
        Err(fault) => Err(fault),
    };
    explained(client, answer).await
}

/// 404 of the group itself means that something else answers there.
async fn explained(client: &Client, answer: Result<Bytes, ClientFault>) -> Result<Vec<u8>, Fault> {
    match answer {
        Ok(body) => Ok(body.to_vec()),
        Err(ClientFault::Refused {
            status: http::StatusCode::NOT_FOUND,
            ..
        }) if client.get(GROUP, AS_JSON).await.is_err() => Err(Fault::NoGateway(client.server())),
        Err(fault) => Err(fault.into()),
    }
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|e| Fault::Unreadable(e.to_string()))
}

/// One object of a stream: a line of JSON, or a YAML document.
fn write_one(object: &Value, output: Output, out: &mut dyn Write) -> Result<(), Fault> {
    match output {
        Output::Yaml => {
            writeln!(out, "---")?;
            write_one_pretty(object, output, out)?;
        }
        _ => writeln!(out, "{object}")?,
    }
    Ok(out.flush()?)
}

pub(crate) fn write_one_pretty(object: &Value, output: Output, out: &mut dyn Write) -> Result<(), Fault> {
    let text = match output {
        Output::Yaml => serde_saphyr::to_string(object).map_err(|e| Fault::Unreadable(e.to_string()))?,
        _ => serde_json::to_string_pretty(object).map_err(|e| Fault::Unreadable(e.to_string()))?,
    };
    Ok(writeln!(out, "{}", text.trim_end())?)
}

#[cfg(test)]
mod tests;
