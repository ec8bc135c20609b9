//! YAML of a server-side apply, written as the JSON that the API server reads in it.
//!
//! In: a body that is no JSON. Out: JSON text, for [`super::json`], which refuses what it refuses of JSON: duplicate keys at any
//! depth, keys that differ only in case, what is nested too deep.
//! Refuses: what two readers could read differently, by its place: a second document, directives, anchors, aliases, tags, merge keys,
//! keys that are no text, and plain scalars that YAML 1.1 and 1.2 read differently (`yes`, `0777`, `1_000`, `1:20`), of which the
//! API server follows neither (sigs.k8s.io/yaml on go-yaml v2, `resolve.go`).
//! Deliberately not: YAML of other bodies. kubectl makes JSON of all that it sends; who writes to the API by hand can apply.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use serde_json::{Number, Value};

use super::json::DEPTH_MAX;
use super::{BodyFault, Path};

/// Reads the one document of `bytes`, a mapping.
pub(super) fn to_json(bytes: &[u8]) -> Result<String, BodyFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| fault(&Path::Root, "is not UTF-8"))?;
    plain_characters(text)?;
    let mut reader = Reader {
        text,
        flows: 0,
        events: Parser::new_from_str_with_options(text, options()),
        out: String::with_capacity(text.len()),
    };
    reader.document()?;
    Ok(reader.out)
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    options.strict_indentation = true;
    options.block_scalar_eof_without_line_feed = true; // as libyaml, and so go-yaml
    options
}

fn fault(at: &Path<'_>, what: &str) -> BodyFault {
    BodyFault::bad(format!("the YAML body{} {what}", at.at()))
}

// YAML 1.1 breaks lines at NEL, LS and PS (5.4), YAML 1.2 does not; neither allows the other control characters.
fn plain_characters(text: &str) -> Result<(), BodyFault> {
    let odd = |c: char| {
        matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if text.contains(odd) {
        return Err(fault(
            &Path::Root,
            "has a control character, a byte order mark or a Unicode line break; in double quotes write it as \\u and its number",
        ));
    }
    // Blocks of text may have tabs behind their indentation; before it, and behind a dash, readers differ.
    let tabbed = |line: &str| {
        let (before, tab) = line.split_once('\t').map_or(("-", false), |(before, _)| (before, true));
        tab && (before.is_empty() || before.trim_start_matches([' ', '-']).is_empty() && before.contains('-'))
    };
    match text.split(['\n', '\r']).any(tabbed) {
        false => Ok(()),
        true => Err(fault(
            &Path::Root,
            "has a line that begins with a tab, or a tab behind a dash; indent with spaces",
        )),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Open flow collections (`[`, `{`) around what is read.
    flows: usize,
    events: Parser<'a, granit_parser::StrInput<'a>>,
    out: String,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, BodyFault> {
        match self.events.next() {
            Some(Ok((event, span))) => self.agreed(&event, span).map(|()| event),
            Some(Err(error)) => Err(unreadable(&error)),
            None => Err(fault(&Path::Root, "ends too early")),
        }
    }

    /// Refuses what this parser and go-yaml were seen to read differently (`vectors/apply.jsonl`).
    fn agreed(&self, event: &Event<'a>, span: Span) -> Result<(), BodyFault> {
        let Event::Scalar(_, style, ..) = event else {
            return Ok(());
        };
        let what = match style {
            ScalarStyle::DoubleQuoted if !knows_escapes(span.slice(self.text)) => {
                "an escape (`\\/`, or half of a surrogate pair) that readers of YAML 1.1 do not know"
            }
            ScalarStyle::Plain if self.flows > 0 && span.start.line() != span.end.line() => {
                "text of several lines between brackets or braces; put it in quotes"
            }
            ScalarStyle::Plain
            | ScalarStyle::SingleQuoted
            | ScalarStyle::DoubleQuoted
            | ScalarStyle::Literal
            | ScalarStyle::Folded => {
                return Ok(());
            }
        };
        Err(fault(&Path::Root, &format!("has in line {} {what}", span.start.line())))
    }

    fn document(&mut self) -> Result<(), BodyFault> {
        loop {
            match self.next()? {
                Event::StreamStart => {}
                Event::DocumentStart(_, None) => break,
                Event::DocumentStart(_, Some(_)) => return Err(fault(&Path::Root, "has a directive")),
                _ => return Err(fault(&Path::Root, "holds no document")),
            }
        }
        let first = self.next()?;
        self.node(first, &Path::Root, 0)?;
        loop {
            match self.next()? {
                Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(()),
                _ => {
                    return Err(fault(
                        &Path::Root,
                        "has a second document, which the API server would not read; send one",
                    ));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: &Path<'_>, depth: usize) -> Result<(), BodyFault> {
        if depth > DEPTH_MAX {
            return Err(fault(at, &format!("is nested more than {DEPTH_MAX} levels deep")));
        }
        match event {
            Event::Scalar(text, style, 0, None) => {
                let value = scalar(&text, style).map_err(|what| fault(at, what))?;
                self.out.push_str(&value.to_string());
                Ok(())
            }
            Event::SequenceStart(style, 0, None) => self.within(style, |reader| reader.sequence(at, depth)),
            Event::MappingStart(style, 0, None) => self.within(style, |reader| reader.mapping(style, at, depth)),
            Event::Alias(_) | Event::UnresolvedAlias(_) => Err(fault(at, "is an alias (`*`); write the value out")),
            Event::Scalar(_, _, 0, Some(_))
            | Event::SequenceStart(_, 0, Some(_))
            | Event::MappingStart(_, 0, Some(_)) => {
                Err(fault(at, "has a tag (`!`); leave it out, and put text in quotes"))
            }
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Anchor(..) => {
                Err(fault(at, "has an anchor (`&`); leave it out"))
            }
            _ => Err(fault(at, "is no value")),
        }
    }

    fn within(
        &mut self,
        style: StructureStyle,
        read: impl FnOnce(&mut Self) -> Result<(), BodyFault>,
    ) -> Result<(), BodyFault> {
        let flow = usize::from(style == StructureStyle::Flow);
        self.flows += flow;
        read(self)?;
        self.flows -= flow;
        Ok(())
    }

    fn sequence(&mut self, at: &Path<'_>, depth: usize) -> Result<(), BodyFault> {
        self.out.push('[');
        for index in 0.. {
            let event = self.next()?;
            if event == Event::SequenceEnd {
                break;
            }
            if index > 0 {
                self.out.push(',');
            }
            self.node(event, &Path::Item(at, index), depth + 1)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn mapping(&mut self, style: StructureStyle, at: &Path<'_>, depth: usize) -> Result<(), BodyFault> {
        self.out.push('{');
        for index in 0.. {
            let event = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            if index > 0 {
                self.out.push(',');
            }
            let key = key(event, at)?;
            self.out.push_str(&Value::from(key.as_str()).to_string());
            self.out.push(':');
            let (value, at) = (self.next()?, Path::Field(at, &key));
            // `[a:]` is a mapping in YAML 1.2 and the text `a:` to go-yaml.
            if style == StructureStyle::Flow
                && matches!(&value, Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(text.as_ref(), "" | "~"))
            {
                return Err(fault(&at, "has no value; write null"));
            }
            self.node(value, &at, depth + 1)?;
        }
        self.out.push('}');
        Ok(())
    }
}

// The texts of the scanner name what it met and no values.
fn unreadable(error: &ScanError) -> BodyFault {
    let place = error.marker();
    BodyFault::bad(format!(
        "the YAML body cannot be read at line {}, column {}; if in doubt send JSON with the same Content-Type",
        place.line(),
        place.col() + 1
    ))
}

fn key(event: Event<'_>, at: &Path<'_>) -> Result<String, BodyFault> {
    let Event::Scalar(text, style, 0, None) = event else {
        return Err(fault(
            at,
            "has a key that is a list, a mapping, an alias, or has a tag or an anchor",
        ));
    };
    if style == ScalarStyle::Plain && text == "<<" {
        return Err(fault(at, "has a merge key (`<<`); write the fields out"));
    }
    match scalar(&text, style) {
        Ok(Value::String(key)) => Ok(key),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) | Err(_) => {
            Err(fault(
                at,
                "has a key that some readers take for something else than text (a number, yes, no, null); put it in quotes",
            ))
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Result<Value, &'static str> {
    match style {
        ScalarStyle::Plain => plain(text),
        // libyaml takes the tab for indentation.
        ScalarStyle::Literal | ScalarStyle::Folded if text.trim_start_matches('\n').starts_with('\t') => Err(TAB),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted | ScalarStyle::Literal | ScalarStyle::Folded => {
            Ok(text.into())
        }
    }
}

/// Whether what stands between double quotes has no escape but those of YAML 1.1 (5.7).
fn knows_escapes(quoted: Option<&str>) -> bool {
    let mut rest = quoted.unwrap_or("\\/");
    while let Some((_, escape)) = rest.split_once('\\') {
        let half = ["ud8", "ud9", "uda", "udb", "udc", "udd", "ude", "udf"];
        let begin = escape.get(..3).unwrap_or_default().to_ascii_lowercase();
        if escape.starts_with('/') || half.contains(&begin.as_str()) {
            return false;
        }
        let mut after = escape.chars();
        after.next();
        rest = after.as_str();
    }
    true
}

/// What a scalar without quotes is, where go-yaml v2 and the core schema of YAML 1.2 (10.3.2) agree.
fn plain(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Ok(Value::Null),
        "true" | "True" | "TRUE" => Ok(true.into()),
        "false" | "False" | "FALSE" => Ok(false.into()),
        "y" | "Y" | "yes" | "Yes" | "YES" | "n" | "N" | "no" | "No" | "NO" => Err(WORD),
        "on" | "On" | "ON" | "off" | "Off" | "OFF" => Err(WORD),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => number(text),
        _ => Ok(text.into()),
    }
}

const WORD: &str =
    "is a word that YAML 1.1 takes for true or false and YAML 1.2 for text; write true or false, or put it in quotes";
const DIGITS: &str = "begins as a number that readers take for different ones (octal, hexadecimal, `_`, `:`); write it in decimal, or put it in quotes";
const TAB: &str = "is a block of text that begins with a tab; put it in double quotes";
const RANGE: &str = "is a number that cannot be kept exactly; put it in quotes";

/// Of a scalar that begins with a digit, a sign or a point.
fn number(text: &str) -> Result<Value, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if is_disputed(digits) {
        return Err(DIGITS);
    }
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        // The server keeps whole numbers of 64 bits with a sign, and makes doubles of larger ones.
        return text.parse::<i64>().map(Value::from).map_err(|_| RANGE);
    }
    if is_float(digits) {
        return text
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or(RANGE);
    }
    Ok(text.into())
}

/// Whether a reader of YAML 1.1, of 1.2 or of Go's numbers may see a number here where another sees a different one, or text.
fn is_disputed(digits: &str) -> bool {
    let all = |more: &[u8]| digits.bytes().all(|b| b.is_ascii_digit() || more.contains(&b));
    let after_zero = digits.strip_prefix('0').unwrap_or_default();
    after_zero
        .strip_prefix(['x', 'X', 'o', 'O', 'b', 'B'])
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_'))
        || (after_zero.starts_with(|c: char| c.is_ascii_digit()) && all(b"_.eE+-:"))
        || (digits.contains('_') && all(b"_.eE+-:"))
        || (digits.contains(':') && is_sexagesimal(digits))
        || matches!(digits.to_ascii_lowercase().as_str(), ".inf" | ".nan")
}

/// YAML 1.1, `tag:yaml.org,2002:int` and `float`: `[1-9][0-9_]*(:[0-5]?[0-9])+` with or without a fraction.
fn is_sexagesimal(digits: &str) -> bool {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let short = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    !first.is_empty()
        && first.bytes().all(|b| b.is_ascii_digit())
        && parts.all(short)
        && fraction.bytes().all(|b| b.is_ascii_digit())
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`: go-yaml's `yamlStyleFloat`, YAML 1.2's core schema.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    (!whole.is_empty() || !fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && !exponent.is_empty()
        && all_digits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        let json = to_json(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        serde_json::from_str(&json).unwrap()
    }

    fn refused(text: &str) -> String {
        to_json(text.as_bytes()).expect_err(text).reason
    }

    #[test]
    fn a_manifest_is_read_as_its_json() {
        let text = "---\n# ours\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {a: \"1\"}}\nspec:\n  replicas: 3\n  template:\n    spec:\n      containers:\n      - name: c\n        image: nginx:1.27\n        \
                    args: [--port=80, \"yes\", 1.5]\n        command:\n        - sh\n        - |-\n          set -e\n          \techo\n      hostPID: true\n      nodeName: ~\n";
        let expected = serde_json::json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}},
            "spec": {"replicas": 3, "template": {"spec": {
                "containers": [{"name": "c", "image": "nginx:1.27", "args": ["--port=80", "yes", 1.5], "command": ["sh", "set -e\n\techo"]}],
                "hostPID": true, "nodeName": null}}}
        });
        assert_eq!(read(text), expected);
    }

    /// T30.
    #[test]
    fn what_yaml_can_do_beyond_json_is_refused_by_its_name_and_place() {
        for (text, says) in [
            ("a: &x 1\n", "at a has an anchor"),
            ("a: {b: &x [1]}\n", "at a.b has an anchor"),
            ("b: 1\nc: *x\n", "line 2"),
            ("a: &x 1\nb: *x\n", "has an anchor"),
            ("a: !!binary aGk=\n", "at a has a tag"),
            ("a:\n- !x y\n", "at a[0] has a tag"),
            ("!!map {a: 1}\n", "body has a tag"),
            ("a:\n  <<: {b: 1}\n", "at a has a merge key"),
            ("%YAML 1.1\n---\na: 1\n", "line 1"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("a: 1\n---\n", "second document"),
            ("", "no document"),
            ("? [a]\n: b\n", "key that is a list"),
            ("a:\n  1: b\n", "at a has a key that some readers"),
            ("on: push\n", "has a key that some readers"),
            ("a: \"\u{2028}\"\n", "Unicode line break"),
            ("\u{feff}a: 1\n", "byte order mark"),
            ("\ta: 1\n", "begins with a tab"),
            ("a: \"\\/\"\n", "line 1 an escape"),
            ("a: |\n  \tx\n", "at a is a block of text that begins with a tab"),
            ("a: [b:]\n", "has no value"),
            ("a: [b\n c]\n", "several lines"),
        ] {
            assert!(refused(text).contains(says), "{text:?}: {}", refused(text));
        }
        assert!(to_json(b"a: \xff\n").is_err());
        let nested = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        assert!(refused(&format!("a: {nested}\n")).contains("levels deep"));
    }

    /// T30: YAML 1.1, YAML 1.2 and go-yaml v2 part here.
    #[test]
    fn scalars_that_readers_take_for_different_things_are_refused() {
        for scalar in [
            "yes",
            "No",
            "on",
            "OFF",
            "y",
            "N",
            "0777",
            "007",
            "08",
            "0o17",
            "0x1F",
            "0b11",
            "-0x1f",
            "1_000",
            "1_0.5",
            "1:20",
            "190:20:30",
            "22:22",
            ".inf",
            "-.Inf",
            ".NaN",
            "1e400",
            "18446744073709551615",
            "9223372036854775808",
        ] {
            assert!(refused(&format!("a: {scalar}\n")).contains("at a "), "{scalar}");
            assert!(refused(&format!("{scalar}: a\n")).contains("key"), "{scalar}");
            assert_eq!(read(&format!("a: '{scalar}'\n"))["a"], *scalar);
        }
    }

    #[test]
    fn scalars_that_all_read_alike_are_read() {
        for (scalar, value) in [
            ("~", Value::Null),
            ("Null", Value::Null),
            ("TRUE", true.into()),
            ("false", false.into()),
            ("0", 0.into()),
            ("-12", (-12).into()),
            ("+5", 5.into()),
            ("9223372036854775807", i64::MAX.into()),
            ("1.5", 1.5.into()),
            ("-.5", (-0.5).into()),
            ("1e3", 1000.0.into()),
            ("0.5", 0.5.into()),
            ("10.0.0.1", "10.0.0.1".into()),
            ("8080:80", "8080:80".into()),
            ("2026-11-23T17:00:00Z", "2026-11-23T17:00:00Z".into()),
            ("100m", "100m".into()),
            ("1.2.3", "1.2.3".into()),
            ("0D", "0D".into()),
            ("0xyz", "0xyz".into()),
            ("=", "=".into()),
            ("nginx:1.27", "nginx:1.27".into()),
        ] {
            assert_eq!(read(&format!("a: {scalar}\n"))["a"], value, "{scalar}");
        }
    }

    #[test]
    fn faults_do_not_quote_values() {
        for text in [
            "a: hunter2: x\n",
            "a: \"hunter2\n",
            "hunter2: [\n",
            "hunter2: 0o17\n  hunter2\n- b\n",
        ] {
            assert!(!refused(text).contains("hunter2"), "{text}");
        }
    }
}
