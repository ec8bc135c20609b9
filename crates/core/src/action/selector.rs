//! Field selectors, as far as they name one object.
//!
//! Follows `k8s.io/apimachinery` `pkg/fields/selector.go`. Stricter: a selector that gives `metadata.name` twice is refused, since
//! `RequiresExactMatch` takes whichever sorts first. Where another list option cannot be decoded (a broken `labelSelector`), the
//! API server authorizes the list as unnamed and then answers 400: it serves nothing, so the name found here does no harm.

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
