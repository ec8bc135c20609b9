//! Field selectors, as far as they name one object.
//!
//! Follows `k8s.io/apimachinery` `pkg/fields/selector.go`. Stricter: a selector that gives `metadata.name` twice is refused, since
//! `RequiresExactMatch` takes whichever sorts first. And beside a name the label selector must be one that is plain to read: where it
//! cannot be decoded, the API server authorizes a list without a name (and then answers 400).

use super::Unreadable;

/// The one object that `selector` is about, or an empty string. As step 9 of `NewRequestInfo`.
pub(super) fn exact_name(selector: &str) -> Result<String, Unreadable> {
    let mut names = Vec::new();
    for term in terms(selector).filter(|term| !term.is_empty()) {
        let (field, equal, value) = split(term).ok_or_else(broken)?;
        let value = unescape(value).ok_or_else(broken)?;
        if field == "metadata.name" && equal {
            names.push(value);
        }
    }
    if names.len() > 1 {
        return Err(Unreadable::bad_request(
            "the fieldSelector gives metadata.name more than once; give it once",
        ));
    }
    Ok(names.pop().filter(|name| is_path_segment(name)).unwrap_or_default())
}

/// Refuses a label selector that the API server might not decode, where it stands beside a name.
pub(super) fn labels_beside(name: &str, selector: &str) -> Result<(), Unreadable> {
    if name.is_empty() || selector.is_empty() || requirements(selector).all(is_plain_requirement) {
        return Ok(());
    }
    Err(Unreadable::bad_request(
        "the labelSelector beside a fieldSelector that names one object cannot be read; leave it out, or write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY, separated by commas",
    ))
}

/// Splits at the commas outside of parentheses.
fn requirements(selector: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    selector.split(move |c| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
}

/// A part of what `k8s.io/apimachinery` `pkg/labels/selector.go` parses: nothing that it refuses.
fn is_plain_requirement(text: &str) -> bool {
    let text = text.trim_matches(' ');
    if let Some(key) = text.strip_prefix('!') {
        return is_key(key);
    }
    let sets = [" in (", " notin ("].into_iter().find_map(|word| text.split_once(word));
    if let Some((key, values)) = sets {
        let values = values.strip_suffix(')').unwrap_or("(");
        return is_key(key) && values.split(',').all(|value| is_value(value.trim_matches(' ')));
    }
    let equal = ["!=", "==", "="].into_iter().find_map(|sign| text.split_once(sign));
    equal.map_or_else(
        || is_key(text),
        |(key, value)| is_key(key.trim_matches(' ')) && is_value(value.trim_matches(' ')),
    )
}

/// A qualified name (`pkg/api/validate/content/kube.go`) that is no operator.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("a", text));
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |part: &str| {
        part.bytes().all(|b| lower(b) || b == b'-')
            && part.bytes().next().is_some_and(lower)
            && part.bytes().last().is_some_and(lower)
    };
    prefix.len() <= 253
        && prefix.split('.').all(label)
        && !name.is_empty()
        && is_value(name)
        && !matches!(text, "in" | "notin")
}

/// A label value (`pkg/util/validation`, IsValidLabelValue).
fn is_value(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && ends(text.bytes().next())
        && ends(text.bytes().last())
        && !matches!(text, "in" | "notin")
}

fn broken() -> Unreadable {
    Unreadable::bad_request(
        "the fieldSelector cannot be parsed; write FIELD=VALUE or FIELD!=VALUE, separated by commas",
    )
}

/// Splits at commas; a backslash takes the meaning from whatever follows it.
fn terms(selector: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    selector.split(move |c| {
        let comma = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        comma
    })
}

/// Field, whether the operator is equality, raw value. The first operator in the text splits; the field knows no escapes.
fn split(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let (field, rest) = term.split_at(at);
        if let Some(value) = rest.strip_prefix("!=") {
            return Some((field, false, value));
        }
        if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
            return Some((field, true, value));
        }
    }
    None
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            plain => out.push(plain),
        }
    }
    Some(out)
}

fn is_path_segment(name: &str) -> bool {
    name != "." && name != ".." && !name.contains(['/', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(selector: &str) -> Option<String> {
        exact_name(selector).ok()
    }

    #[test]
    fn labels_beside_a_name_are_plain_or_refused() {
        for selector in [
            "app=web",
            "app==web,tier!=a",
            "app in (a, b),!c",
            "a.example.dev/b notin (x),d",
            "app=",
            "app = web, b",
        ] {
            assert!(labels_beside("x", selector).is_ok(), "{selector}");
        }
        for selector in [
            "=",
            "a===",
            "a=b=c",
            "a in (",
            "a in b",
            "a in (b",
            ",",
            "a,",
            "A/b=c",
            "a=-b",
            "-a",
            "a=b c",
            "in",
            "a>1",
            "caf\u{e9}=x",
            "a/b/c",
            "/a",
        ] {
            assert!(labels_beside("x", selector).is_err(), "{selector}");
            assert!(labels_beside("", selector).is_ok(), "{selector}");
        }
    }

    #[test]
    fn only_one_exact_name_names() {
        assert_eq!(name("metadata.name=a").as_deref(), Some("a"));
        assert_eq!(name("metadata.name==a,status.phase!=Running").as_deref(), Some("a"));
        assert_eq!(name("metadata.name!=a").as_deref(), Some(""));
        assert_eq!(name("metadata.name=a/b").as_deref(), Some(""));
        assert_eq!(name("metadata.name=a\\,b").as_deref(), Some("a,b"));
        assert_eq!(name("").as_deref(), Some(""));
        assert_eq!(name("metadata.name=a,metadata.name=b"), None);
        assert_eq!(name("metadata.name"), None);
        assert_eq!(name("metadata.name=a=b"), None);
        assert_eq!(name("metadata.name=a\\"), None);
    }
}
