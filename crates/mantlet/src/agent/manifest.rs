//! Manifests as people write them: a rule a line, and above it why it is there.

use mantlet_api::policy::ServiceAccountRef;

/// One rule of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Lines of comment; none for what speaks for itself.
    pub(super) why: String,
    pub(super) groups: Vec<&'static str>,
    pub(super) resources: Vec<String>,
    pub(super) verbs: Vec<&'static str>,
    /// Empty: any.
    pub(super) names: Vec<String>,
}

/// Whom a role is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    User(String),
    ServiceAccount(ServiceAccountRef),
}

/// What a role is called and where it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    /// None: in the whole cluster.
    pub(super) namespace: Option<&'a str>,
}

impl Rule {
    pub(super) fn of(why: &str, group: &'static str, resources: &[&str], verbs: &[&'static str]) -> Self {
        Self {
            why: why.to_owned(),
            groups: vec![group],
            resources: resources.iter().map(|r| (*r).to_owned()).collect(),
            verbs: verbs.to_vec(),
            names: Vec::new(),
        }
    }

    pub(super) fn named(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        self
    }

    fn lines(&self) -> String {
        let names = match self.names.is_empty() {
            true => String::new(),
            false => format!(", resourceNames: {}", list(&self.names)),
        };
        format!(
            "{}- {{ apiGroups: {}, resources: {}, verbs: {}{names} }}\n",
            comment(&self.why),
            list(&self.groups),
            list(&self.resources),
            list(&self.verbs),
        )
    }
}

impl Subject {
    fn line(&self) -> String {
        match self {
            Subject::User(name) => {
                format!(
                    "- {{ kind: User, apiGroup: rbac.authorization.k8s.io, name: {} }}\n",
                    text(name)
                )
            }
            Subject::ServiceAccount(ServiceAccountRef { namespace, name }) => {
                format!(
                    "- {{ kind: ServiceAccount, namespace: {}, name: {} }}\n",
                    text(namespace),
                    text(name)
                )
            }
        }
    }
}

impl Place<'_> {
    fn kind(&self) -> &'static str {
        match self.namespace {
            Some(_) => "Role",
            None => "ClusterRole",
        }
    }

    pub(super) fn metadata(&self) -> String {
        match self.namespace {
            Some(namespace) => format!("{{ name: {}, namespace: {} }}", text(self.name), text(namespace)),
            None => format!("{{ name: {} }}", text(self.name)),
        }
    }
}

/// A role and its binding, `extra` being lines of further rules (what is no resource, what is only a comment).
pub(super) fn role(place: Place<'_>, why: &str, rules: &[Rule], extra: &str, subject: &Subject) -> String {
    let (kind, metadata) = (place.kind(), place.metadata());
    let rules: String = rules.iter().map(Rule::lines).collect();
    format!(
        "{}apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {metadata}\nrules:\n{rules}{extra}---\n{}",
        comment(why),
        binding(place, kind, place.name, subject)
    )
}

/// A binding in `place`, to a role that may be another's.
fn binding(place: Place<'_>, kind: &str, role: &str, subject: &Subject) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {}Binding\nmetadata: {}\nroleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {} }}\nsubjects:\n{}",
        place.kind(),
        place.metadata(),
        text(role),
        subject.line()
    )
}

pub(super) fn comment(why: &str) -> String {
    why.lines().map(|line| format!("# {line}\n")).collect()
}

pub(super) fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<_> = items.iter().map(|item| text(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// Plain where YAML takes it for the text that it is, whichever version reads it; else in JSON's quotes, which are YAML's too.
pub(super) fn text(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match begins && !word && text.bytes().all(plain) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_went_in() {
        for word in [
            "plain",
            "a-b.c/d",
            "",
            "yes",
            "Off",
            "N",
            "1e3",
            "0x1f",
            "12:30",
            "~",
            "-",
            "a: b",
            "a #b",
            "*",
            "it's \"so\"",
            "é",
            "sh.helm.release.v1.*",
            "@x",
            "a\nb",
        ] {
            let read: serde_json::Value = serde_saphyr::from_str(&format!("v: {}", text(word))).unwrap();
            assert_eq!(read["v"], word);
            let read: serde_json::Value = serde_saphyr::from_str(&format!("v: {}", list(&[word, word]))).unwrap();
            assert_eq!(read["v"], serde_json::json!([word, word]));
        }
    }
}
