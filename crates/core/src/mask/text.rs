//! Masking of free text before it is recorded: command lines, queries, user agents.
//!
//! In: text of a caller. Out: the text without what looks like a credential: JSON Web Tokens, `Bearer`/`Basic` values,
//! AWS access keys, tokens with a known prefix, private keys, `password=`-like assignments, passwords in URLs.
//! Deliberately not: guessing by entropy. What is not caught here is said in the threat model.

use super::Masked;

const GONE: &str = "[masked]";

/// Takes out what looks like a credential. Linear in the length of the text.
pub fn text(text: &str) -> Masked<String> {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let before = text[..at].chars().next_back();
        match find(rest, before) {
            Some(Found { keep, drop }) => {
                out.push_str(&rest[..keep]);
                out.push_str(GONE);
                at += keep + drop;
            }
            None => {
                let first = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..first]);
                at += first;
            }
        }
    }
    Masked(out)
}

/// At the start of the rest: `keep` bytes to show (`Bearer `, `password=`), then `drop` bytes to take out.
struct Found {
    keep: usize,
    drop: usize,
}

fn find(rest: &str, before: Option<char>) -> Option<Found> {
    if before.is_some_and(|c| c.is_ascii_alphanumeric()) {
        return url_password(rest);
    }
    // The cheap test first: every pattern begins with one of these.
    match rest.as_bytes().first()? {
        b'e' => json_web_token(rest).or_else(|| assignment(rest)),
        b'-' => private_key(rest).or_else(|| assignment(rest)),
        b'A' => aws_key(rest).or_else(|| assignment(rest)),
        b':' => url_password(rest),
        c if c.is_ascii_alphabetic() => scheme(rest).or_else(|| prefixed(rest)).or_else(|| assignment(rest)),
        _ => None,
    }
}

fn run(text: &str, fits: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|b| fits(*b)).count()
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.~+/=".contains(&b)
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

// RFC 7519: the header is a JSON object, so its base64 begins with `eyJ`.
fn json_web_token(rest: &str) -> Option<Found> {
    let head = run(rest.strip_prefix("eyJ")?, is_base64url) + 3;
    let claims = run(rest[head..].strip_prefix('.')?, is_base64url) + 1;
    let drop = match rest[head + claims..].strip_prefix('.') {
        Some(signature) => head + claims + 1 + run(signature, is_base64url),
        None => head + claims,
    };
    Some(Found { keep: 0, drop })
}

fn starts_with_ignoring_case(rest: &str, word: &str) -> bool {
    rest.as_bytes()
        .get(..word.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
}

fn scheme(rest: &str) -> Option<Found> {
    let word = ["bearer", "basic"]
        .into_iter()
        .find(|word| starts_with_ignoring_case(rest, word))?;
    let gap = run(&rest[word.len()..], |b| b == b' ' || b == b'\t');
    let drop = run(&rest[word.len() + gap..], is_token);
    (gap > 0 && drop >= 8).then_some(Found {
        keep: word.len() + gap,
        drop,
    })
}

// AWS IAM identifiers: four letters that say what it is, then 16 of A-Z and 0-9.
fn aws_key(rest: &str) -> Option<Found> {
    let known = ["AKIA", "ASIA"].iter().any(|prefix| rest.starts_with(prefix));
    let len = run(rest, |b| b.is_ascii_uppercase() || b.is_ascii_digit());
    (known && len == 20).then_some(Found { keep: 0, drop: len })
}

const PREFIXES: [&str; 10] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "sk_live_",
];

fn prefixed(rest: &str) -> Option<Found> {
    let prefix = PREFIXES.into_iter().find(|prefix| rest.starts_with(prefix))?;
    let tail = run(&rest[prefix.len()..], is_base64url);
    (tail >= 10).then_some(Found {
        keep: 0,
        drop: prefix.len() + tail,
    })
}

fn private_key(rest: &str) -> Option<Found> {
    let label = rest.strip_prefix("-----BEGIN ")?;
    let label = &label[..label.find("-----")?];
    if !label.ends_with("PRIVATE KEY") {
        return None;
    }
    let end = format!("-----END {label}-----");
    Some(Found {
        keep: 0,
        drop: rest.find(&end).map_or(rest.len(), |at| at + end.len()),
    })
}

const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "access_token",
    "id_token",
    "refresh_token",
    "client_secret",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
];

// `--password=x`, `token: x`, `API_KEY=x`, `DB_PASSWORD=x`; a name may have any prefix that ends in `-` or `_`.
fn assignment(rest: &str) -> Option<Found> {
    let name = run(rest, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    // The sign first: most words have none, and whether a name means a secret takes longer to say.
    let sign = rest.as_bytes().get(name).filter(|b| **b == b'=' || **b == b':')?;
    if !(3..=64).contains(&name) || !names_a_secret(&rest[..name]) {
        return None;
    }
    let mut keep = name + 1;
    if *sign == b':' {
        keep += run(&rest[keep..], |b| b == b' ');
    }
    let (quote, drop) = value(&rest[keep..]);
    (drop > 0).then_some(Found {
        keep: keep + quote,
        drop,
    })
}

fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|known| {
        name.strip_suffix(known)
            .is_some_and(|head| head.is_empty() || head.ends_with('_'))
    })
}

/// Length of an opening quote and of the value after it.
fn value(rest: &str) -> (usize, usize) {
    match rest.as_bytes().first() {
        Some(quote @ (b'"' | b'\'')) => (1, run(&rest[1..], |b| b != *quote)),
        _ => (0, run(rest, |b| !b.is_ascii_whitespace() && !b"&;,\"'".contains(&b))),
    }
}

// RFC 3986 section 3.2.1: `//user:password@host`. Found at the colon behind the scheme.
fn url_password(rest: &str) -> Option<Found> {
    let after = rest.strip_prefix("://")?;
    let authority = run(after, |b| !b.is_ascii_whitespace() && !b"/?#\"'".contains(&b));
    let at = after[..authority].rfind('@')?;
    let colon = after[..at].find(':')?;
    Some(Found {
        keep: 3 + colon + 1,
        drop: at - colon - 1,
    })
    .filter(|found| found.drop > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out() {
        for (before, after) in [
            ("a eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln b", "a [masked] b"),
            ("Authorization: bearer abcdefgh12345", "Authorization: bearer [masked]"),
            ("AKIAIOSFODNN7EXAMPLE", "[masked]"),
            ("ghp_abcdefghijklmnop1234", "[masked]"),
            ("psql --password=hunter2 -h db", "psql --password=[masked] -h db"),
            ("DB_PASSWORD='hunter2 x' run", "DB_PASSWORD='[masked]' run"),
            ("?token=abc&x=1", "?token=[masked]&x=1"),
            (
                "https://ada:hunter2@example.dev/x",
                "https://ada:[masked]@example.dev/x",
            ),
            (
                "x -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- y",
                "x [masked] y",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMII", "[masked]"),
        ] {
            assert_eq!(*text(before), after);
        }
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for plain in [
            "",
            "kubectl get pods -n test --watch",
            "kubectl/v1.35.4 (linux/amd64) kubernetes/abcdef1",
            "labelSelector=app%3Dweb&limit=500",
            "https://example.dev:6443/api",
            "töken ünïcode — 秘密",
            "secrets: 3, tokens",
        ] {
            assert_eq!(*text(plain), plain);
        }
    }
}
