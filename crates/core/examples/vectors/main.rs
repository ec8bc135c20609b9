//! Writes `vectors/` anew: what the API server's own code, the oracle of `cluster/`, makes of requests and of objects.
//!
//! `MANTLET_ORACLE` names the oracle. With `--check` nothing is written, and what differs from the files is a failure. The tests of
//! this crate compare the files with what it makes of the same requests and objects; they need no oracle.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mantlet_core::mask::Hint;
use mantlet_core::wire::body;
use serde_json::{Map, Value, json};

mod requests;
mod yaml;

/// As many objects as this; the kinds take turns.
const OBJECTS: u64 = 512;

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let check = std::env::args().nth(1).is_some_and(|flag| flag == "--check");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let by_hand = std::fs::read_to_string(folder.join("requests.txt"))?;
    let files = [
        ("requestinfo.jsonl", request_infos(&by_hand)?),
        ("objects.jsonl", objects()?),
        ("apply.jsonl", patches()?),
    ];
    what_goes_upstream_is_read_the_same(&files[1].1, &files[2].1)?;
    for (name, lines) in files {
        settle(&folder.join(name), lines.join("\n") + "\n", check)?;
    }
    Ok(())
}

fn settle(path: &PathBuf, text: String, check: bool) -> Result<(), Fault> {
    let name = path.display();
    match check {
        false => Ok(std::fs::write(path, text)?),
        true if std::fs::read_to_string(path)? == text => Ok(()),
        true => Err(format!("{name} is not what the oracle says; write it anew: cargo xtask vectors").into()),
    }
}

/// One line: method, url, `plain` where honest clients send it, and the fields of `RequestInfo` that are not empty.
fn request_infos(by_hand: &str) -> Result<Vec<String>, Fault> {
    let requests = requests::all(by_hand);
    let questions = requests
        .iter()
        .map(|r| json!({"op": "requestinfo", "method": r.method, "url": r.url}));
    let answers = ask(questions.collect())?;
    let lines = requests.iter().zip(answers).map(|(request, answer)| {
        let mut line = json!({"method": request.method, "url": request.url});
        if request.plain {
            line["plain"] = true.into();
        }
        match (answer.get("info"), answer.get("error")) {
            (Some(info), None) => line["info"] = filled(info),
            (_, error) => line["error"] = error.cloned().unwrap_or_default(),
        }
        line.to_string()
    });
    Ok(lines.collect())
}

fn filled(info: &Value) -> Value {
    let empty = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || value == "";
    let fields = info.as_object().into_iter().flatten();
    let kept = fields
        .filter(|(_, value)| !empty(value))
        .map(|(name, value)| (name.clone(), value.clone()));
    Value::Object(kept.collect::<Map<_, _>>())
}

/// One line: the object as JSON, as YAML and as protobuf.
fn objects() -> Result<Vec<String>, Fault> {
    let answers = ask((0..OBJECTS).map(|seed| json!({"op": "invent", "seed": seed})).collect())?;
    let lines = answers.into_iter().map(|answer| match answer.get("error") {
        Some(error) => Err(format!("the oracle cannot invent: {error}").into()),
        None => Ok(json!({"json": answer["json"], "yaml": answer["yaml"], "protobuf": answer["data"]}).to_string()),
    });
    lines.collect()
}

/// One line: an apply patch, and what the API server reads in it, or that it does not.
fn patches() -> Result<Vec<String>, Fault> {
    let patches = yaml::all();
    let questions = patches
        .iter()
        .map(|text| json!({"op": "apply", "data": BASE64_STANDARD.encode(text)}));
    let answers = ask(questions.collect())?;
    let lines = patches
        .iter()
        .zip(answers)
        .map(|(text, answer)| match answer.get("json") {
            Some(object) => json!({"yaml": text, "json": object}).to_string(),
            None => json!({"yaml": text}).to_string(),
        });
    Ok(lines.collect())
}

/// An apply patch goes upstream as JSON, which the API server reads as YAML: it must find in it what we found in the patch.
fn what_goes_upstream_is_read_the_same(objects: &[String], patches: &[String]) -> Result<(), Fault> {
    let read = |line: &String, name: &str| Ok::<_, Fault>(serde_json::from_str::<Value>(line)?[name].clone());
    let mut bodies = Vec::new();
    for line in objects {
        bodies.push(read(line, "json")?.to_string());
    }
    for line in patches {
        bodies.extend(read(line, "yaml")?.as_str().map(str::to_owned));
    }
    // Every character that could end a line, a string or a document somewhere, as key and as value.
    let odd = (0..=0x2100)
        .chain(0xd7f0..=0xd7ff)
        .chain(0xe000..=0xe010)
        .chain(0xfe00..=0xffff)
        .chain(0x1_f600..=0x1_f610);
    for c in odd.filter_map(char::from_u32) {
        bodies.push(json!({ "a": format!("x {c} y"), format!("k{c}l"): [format!("{c}")] }).to_string());
    }
    let sent = bodies.iter().filter_map(|text| {
        let body = body::read(Some("application/apply-patch+yaml"), true, text.as_bytes(), Hint::Other);
        body.ok().map(|body| body.outgoing())
    });
    let sent: Vec<Vec<u8>> = sent.collect();
    let questions = sent
        .iter()
        .map(|bytes| json!({"op": "apply", "data": BASE64_STANDARD.encode(bytes)}));
    let answers = ask(questions.collect())?;
    for (bytes, answer) in sent.iter().zip(&answers) {
        let ours: Value = serde_json::from_slice(bytes)?;
        if answer.get("json").map(by_value) != Some(by_value(&ours)) {
            return Err(format!("upstream {} is read as {answer}", String::from_utf8_lossy(bytes)).into());
        }
    }
    match answers.len() > 9000 {
        true => Ok(()),
        false => Err(format!("only {} patches went upstream", answers.len()).into()),
    }
}

/// Go writes 1.0 as 1.
fn by_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), by_value(value))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(by_value).collect()),
        Value::Number(number) => number.as_i64().map_or_else(
            || {
                number
                    .as_f64()
                    .filter(|float| float.fract() == 0.0)
                    .map_or(value.clone(), |float| (float as i64).into())
            },
            Value::from,
        ),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

fn ask(questions: Vec<Value>) -> Result<Vec<Value>, Fault> {
    let oracle =
        std::env::var_os("MANTLET_ORACLE").ok_or("MANTLET_ORACLE names no oracle; run: cargo xtask vectors")?;
    let mut child = Command::new(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let input = child.stdin.take().ok_or("no way to ask")?;
    let output = child.stdout.take().ok_or("no way to hear")?;
    let count = questions.len();
    let asking = std::thread::spawn(move || {
        let mut input = BufWriter::new(input);
        questions
            .iter()
            .try_for_each(|question| writeln!(input, "{question}"))?;
        input.flush()
    });
    let lines = BufReader::new(output).lines();
    let answers = lines
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<Vec<Value>, Fault>>()?;
    asking.join().map_err(|_| "asking failed")??;
    match (child.wait()?.success(), answers.len() == count) {
        (true, true) => Ok(answers),
        (_, _) => Err(format!("{} answers to {count} questions", answers.len()).into()),
    }
}
