//! `format.dns1123Label().validate('my-name')`: the named formats, and what is wrong with a text, in Kubernetes' own words.

use std::sync::LazyLock;

use cel::common::types::{CelList, CelOptional, CelString, Type};
use cel::common::value::{CowVal, Val};
use regex::Regex;

use super::url::{Url, quoted};
use super::{Thing, answer, reading, text, thing};
use crate::functions::{Answer, Args, Own, cannot, charged};

pub(super) static TYPE: Type = Type::new_unspecified_type("kubernetes.NamedFormat");

pub(super) static OWN: &[Own] = &[
    ("format.named", 1, named),
    ("validate", 2, validate),
    ("format.dns1123Label", 0, |_| Ok(answer(Format::Dns1123Label))),
    ("format.dns1123Subdomain", 0, |_| Ok(answer(Format::Dns1123Subdomain))),
    ("format.dns1035Label", 0, |_| Ok(answer(Format::Dns1035Label))),
    ("format.qualifiedName", 0, |_| Ok(answer(Format::QualifiedName))),
    ("format.dns1123LabelPrefix", 0, |_| {
        Ok(answer(Format::Dns1123LabelPrefix))
    }),
    ("format.dns1123SubdomainPrefix", 0, |_| {
        Ok(answer(Format::Dns1123SubdomainPrefix))
    }),
    ("format.dns1035LabelPrefix", 0, |_| {
        Ok(answer(Format::Dns1035LabelPrefix))
    }),
    ("format.labelValue", 0, |_| Ok(answer(Format::LabelValue))),
    ("format.uri", 0, |_| Ok(answer(Format::Uri))),
    ("format.uuid", 0, |_| Ok(answer(Format::Uuid))),
    ("format.byte", 0, |_| Ok(answer(Format::Byte))),
    ("format.date", 0, |_| Ok(answer(Format::Date))),
    ("format.datetime", 0, |_| Ok(answer(Format::Datetime))),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Dns1123Label,
    Dns1123Subdomain,
    Dns1035Label,
    QualifiedName,
    Dns1123LabelPrefix,
    Dns1123SubdomainPrefix,
    Dns1035LabelPrefix,
    LabelValue,
    Uri,
    Uuid,
    Byte,
    Date,
    Datetime,
}

impl Thing for Format {
    fn ty() -> &'static Type {
        &TYPE
    }
    fn weight(&self) -> u64 {
        8
    }
}

impl Format {
    fn named(name: &str) -> Option<Format> {
        Some(match name {
            "dns1123Label" => Format::Dns1123Label,
            "dns1123Subdomain" => Format::Dns1123Subdomain,
            "dns1035Label" => Format::Dns1035Label,
            "qualifiedName" => Format::QualifiedName,
            "dns1123LabelPrefix" => Format::Dns1123LabelPrefix,
            "dns1123SubdomainPrefix" => Format::Dns1123SubdomainPrefix,
            "dns1035LabelPrefix" => Format::Dns1035LabelPrefix,
            "labelValue" => Format::LabelValue,
            "uri" => Format::Uri,
            "uuid" => Format::Uuid,
            "byte" => Format::Byte,
            "date" => Format::Date,
            "datetime" => Format::Datetime,
            _ => return None,
        })
    }

    fn faults(self, text: &str) -> Vec<String> {
        match self {
            Format::Dns1123Label => label(text),
            Format::Dns1123Subdomain => SUBDOMAIN.faults(text),
            Format::Dns1035Label => LABEL_1035.faults(text),
            Format::QualifiedName => qualified(text),
            Format::Dns1123LabelPrefix => label(&without_dash(text)),
            Format::Dns1123SubdomainPrefix => SUBDOMAIN.faults(&without_dash(text)),
            Format::Dns1035LabelPrefix => LABEL_1035.faults(&without_dash(text)),
            Format::LabelValue => LABEL_VALUE.faults(text),
            Format::Uri => match Url::request(text) {
                Ok(()) => Vec::new(),
                Err(why) => vec![format!("parse {}: {why}", quoted(text))],
            },
            Format::Uuid => unless(UUID.is_match(text), "does not match the UUID format"),
            Format::Byte => unless(BASE64.is_match(text), "invalid base64"),
            Format::Date => unless(is_date(text), "invalid date"),
            Format::Datetime => unless(is_datetime(text), "invalid datetime"),
        }
    }
}

fn unless(fine: bool, fault: &str) -> Vec<String> {
    if fine { Vec::new() } else { vec![fault.to_owned()] }
}

/// A pattern that a whole text must fit, kept as Kubernetes writes it since its messages quote it.
struct Whole(LazyLock<Option<Regex>>);

impl Whole {
    fn is_match(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

macro_rules! whole {
    ($pattern:expr) => {
        Whole(LazyLock::new(|| Regex::new(concat!("^(?:", $pattern, ")$")).ok()))
    };
}

/// `k8s.io/apimachinery/pkg/util/validation`: a length, a pattern and what is said of both.
struct Rule {
    most: usize,
    pattern: Whole,
    written: &'static str,
    says: &'static str,
    examples: &'static str,
}

impl Rule {
    fn faults(&self, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if text.len() > self.most {
            faults.push(format!("must be no more than {} characters", self.most));
        }
        if !self.pattern.is_match(text) {
            faults.push(self.told());
        }
        faults
    }

    fn told(&self) -> String {
        let Rule {
            says,
            examples,
            written,
            ..
        } = self;
        format!("{says} (e.g. {examples}, regex used for validation is '{written}')")
    }
}

macro_rules! rule {
    ($most:literal, $pattern:literal, $says:literal, $examples:literal) => {
        Rule {
            most: $most,
            pattern: whole!($pattern),
            written: $pattern,
            says: $says,
            examples: $examples,
        }
    };
}

static LABEL: Rule = rule!(
    63,
    "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
    "'my-name',  or '123-abc'"
);
static SUBDOMAIN: Rule = rule!(
    253,
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
    "'example.com'"
);
static LABEL_1035: Rule = rule!(
    63,
    "[a-z]([-a-z0-9]*[a-z0-9])?",
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
    "'my-name',  or 'abc-123'"
);
static LABEL_KEY: Rule = rule!(
    63,
    "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]",
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    "'MyName',  or 'my.name',  or '123-abc'"
);
static LABEL_VALUE: Rule = rule!(
    63,
    "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    "'MyValue',  or 'my_value',  or '12345'"
);
static UUID: Whole = whole!("(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}");
static BASE64: Whole = whole!("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})");
static TIME: Whole = whole!(r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))");

fn label(text: &str) -> Vec<String> {
    let mut faults = LABEL.faults(text);
    if !LABEL.pattern.is_match(text) && SUBDOMAIN.pattern.is_match(text) {
        faults.pop();
        faults.push("must not contain dots".to_owned());
    }
    faults
}

fn qualified(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let parts: Vec<_> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        ["", name] => {
            faults.push("prefix part must be non-empty".to_owned());
            name
        }
        [prefix, name] => {
            faults.extend(
                SUBDOMAIN
                    .faults(prefix)
                    .iter()
                    .map(|fault| format!("prefix part {fault}")),
            );
            name
        }
        _ => {
            let told = LABEL_KEY.told();
            let rest = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {told} {rest}")];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    }
    faults.extend(LABEL_KEY.faults(name).iter().map(|fault| format!("name part {fault}")));
    faults
}

/// `maskTrailingDash`: what is generated from a name goes behind the dash, and so takes the place of what is before it too.
fn without_dash(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(before) if !before.is_empty() => {
            let kept = before.len() - 1;
            format!("{}a", before.get(..kept).unwrap_or("-"))
        }
        _ => text.to_owned(),
    }
}

/// Go `time.Parse("2006-01-02", ..)`.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, b)| match at {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    // Year 0 is one for Go and for chrono.
    shaped && text.parse::<chrono::NaiveDate>().is_ok()
}

/// kube-openapi `strfmt.IsDateTime`, which looks no further than to a second `t`.
fn is_datetime(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    is_date(date) && TIME.is_match(time)
}

fn named<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let name = text(&args, 0).ok_or_else(|| cannot("format.named", &args))?;
    meter.weight(reading(name))?;
    Ok(CowVal::owned(match Format::named(name) {
        Some(format) => CelOptional::of(answer(format).into_owned()),
        None => CelOptional::none(),
    }))
}

fn validate<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (Some(format), Some(text)) = (thing::<Format>(&args, 0), text(&args, 1)) else {
        return Err(cannot("validate", &args));
    };
    // The patterns are small; a URL that is none comes back quoted, four times as long at worst.
    meter.weight(reading(text).saturating_mul(16))?;
    let faults = format.faults(text);
    if faults.is_empty() {
        return Ok(CowVal::owned(CelOptional::none()));
    }
    let faults = faults
        .into_iter()
        .map(|fault| Box::new(CelString::from(fault)) as Box<dyn Val + 'v>);
    let list = CelList::from(faults.collect::<Vec<_>>());
    Ok(CowVal::owned(CelOptional::of(Box::new(list))))
}
