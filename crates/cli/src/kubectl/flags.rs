//! The words of a kubectl command line: what is a flag, what is an argument, what stands behind `--`.

use std::collections::BTreeMap;

/// A command line, sorted. Flags by their long names; one that stands alone has the value `true`, as in pflag.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) verb: String,
    pub(super) arguments: Vec<String>,
    flags: BTreeMap<&'static str, Vec<String>>,
    /// Behind `--`.
    pub(super) command: Vec<String>,
}

/// Flags that take a value, and those that may stand alone. Those of all commands together: kubectl itself refuses what a command does not know.
const VALUED: &[&str] = &[
    "namespace",
    "output",
    "selector",
    "field-selector",
    "filename",
    "kustomize",
    "container",
    "replicas",
    "current-replicas",
    "patch",
    "patch-file",
    "type",
    "image",
    "field-manager",
    "grace-period",
    "timeout",
    "tail",
    "since",
    "since-time",
    "limit",
    "chunk-size",
    "sort-by",
    "label-columns",
    "subresource",
    "raw",
    "revision",
    "to-revision",
    "from-literal",
    "clusterrole",
    "role",
    "serviceaccount",
    "user",
    "group",
    "verb",
    "resource",
    "resource-name",
    "for",
    "overrides",
    "restart",
    "env",
    "port",
    "duration",
    "pod-running-timeout",
    "limit-bytes",
    "request-timeout",
    "v",
    "context",
    "kubeconfig",
    "target",
    "image-pull-policy",
    "schedule",
    "from",
    "address",
    "max-log-requests",
    "template",
    "labels",
    "annotations",
    "profile",
    "copy-to",
    "resource-version",
    "skip-wait-for-delete-timeout",
    "pod-selector",
    "audience",
    "bound-object-kind",
    "bound-object-name",
    "non-resource-url",
];
const ALONE: &[&str] = &[
    "all",
    "all-namespaces",
    "watch",
    "watch-only",
    "force",
    "now",
    "ignore-not-found",
    "wait",
    "overwrite",
    "server-side",
    "previous",
    "follow",
    "stdin",
    "tty",
    "quiet",
    "show-labels",
    "show-managed-fields",
    "show-kind",
    "no-headers",
    "recursive",
    "save-config",
    "list",
    "prune",
    "delete-emptydir-data",
    "ignore-daemonsets",
    "disable-eviction",
    "timestamps",
    "all-containers",
    "prefix",
    "force-conflicts",
    "rm",
    "dry-run",
    "cascade",
    "validate",
    "keep-annotations",
    "containers",
    "attach",
    "share-processes",
    "no-preserve",
    "chunk",
    "exit-status",
    "allow-missing-template-keys",
    "show-events",
    "local",
    "warnings-as-errors",
];
/// Flags that change who asks or whom: an explanation of somebody else's request.
const NOT_HERE: &[&str] = &[
    "as",
    "as-group",
    "as-uid",
    "token",
    "server",
    "username",
    "password",
    "client-key",
    "client-certificate",
    "insecure-skip-tls-verify",
    "cluster",
];

impl Words {
    /// Without flags and arguments.
    pub(super) fn only(verb: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            ..Self::default()
        }
    }

    /// A flag that stands alone, as if it had been typed.
    pub(super) fn stand(&mut self, flag: &'static str) {
        self.flags.entry(flag).or_default().push(String::from("true"));
    }

    pub(super) fn sort(line: &[String]) -> Result<Self, String> {
        let mut words = Self::default();
        let mut line = line.iter().map(String::as_str).peekable();
        line.next_if_eq(&"kubectl");
        while let Some(word) = line.next() {
            if word == "--" {
                words.command = line.map(str::to_owned).collect();
                return Ok(words);
            }
            if let Some(flag) = word.strip_prefix("--") {
                let (name, value) = flag
                    .split_once('=')
                    .map_or((flag, None), |(name, value)| (name, Some(value)));
                words.take(name, value, &mut line)?;
            } else if word.len() > 1 && word.starts_with('-') {
                words.take_short(&word[1..], &mut line)?;
            } else if words.verb.is_empty() {
                word.clone_into(&mut words.verb);
            } else {
                words.arguments.push(word.to_owned());
            }
        }
        Ok(words)
    }

    fn take<'a>(
        &mut self,
        name: &str,
        value: Option<&str>,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        if NOT_HERE.contains(&name) {
            return Err(format!(
                "`--{name}` changes who asks, and what is explained is asked as who you are"
            ));
        }
        if let Some(name) = ALONE.iter().find(|known| **known == name) {
            self.flags
                .entry(name)
                .or_default()
                .push(value.unwrap_or("true").to_owned());
            return Ok(());
        }
        let Some(name) = VALUED.iter().find(|known| **known == name) else {
            return Err(format!("the flag `--{name}` is not understood"));
        };
        let value = value
            .or_else(|| rest.next())
            .ok_or_else(|| format!("`--{name}` wants a value"))?;
        self.flags.entry(name).or_default().push(value.to_owned());
        Ok(())
    }

    /// `-it`, `-n test`, `-ntest`.
    fn take_short<'a>(&mut self, letters: &str, rest: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let Some(name) = self.long(letter) else {
                return Err(format!("the flag `-{letter}` is not understood"));
            };
            if ALONE.contains(&name) {
                self.take(name, None, rest)?;
                continue;
            }
            let joined = &letters[at + letter.len_utf8()..];
            let joined = joined.strip_prefix('=').unwrap_or(joined);
            return self.take(name, (!joined.is_empty()).then_some(joined), rest);
        }
        Ok(())
    }

    fn long(&self, letter: char) -> Option<&'static str> {
        let logs = self.verb == "logs";
        Some(match letter {
            'n' => "namespace",
            'o' => "output",
            'l' => "selector",
            'f' if logs => "follow",
            'f' => "filename",
            'k' => "kustomize",
            'A' => "all-namespaces",
            'w' => "watch",
            'c' => "container",
            'p' if logs => "previous",
            'p' => "patch",
            'i' => "stdin",
            't' => "tty",
            'q' => "quiet",
            'R' => "recursive",
            'L' => "label-columns",
            'v' => "v",
            _ => return None,
        })
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags
            .get(flag)
            .and_then(|values| values.last())
            .is_some_and(|value| value != "false")
    }

    /// The last one counts.
    pub(super) fn value(&self, flag: &str) -> Option<&str> {
        self.flags.get(flag)?.last().map(String::as_str)
    }

    /// Each one counts; commas part them.
    pub(super) fn values(&self, flag: &str) -> Vec<&str> {
        let values = self.flags.get(flag).map(Vec::as_slice).unwrap_or_default();
        values.iter().flat_map(|value| value.split(',')).collect()
    }

    /// Each one counts, commas and all.
    pub(super) fn whole(&self, flag: &str) -> Vec<&str> {
        self.flags
            .get(flag)
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(String::as_str)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Words, String> {
        Words::sort(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_stand_anywhere_and_in_every_spelling() {
        let words = words("kubectl -n test exec -it web -c=app -- sh -c ls").unwrap();
        assert_eq!(
            (words.verb.as_str(), words.value("namespace"), words.value("container")),
            ("exec", Some("test"), Some("app"))
        );
        assert!(words.has("stdin") && words.has("tty"));
        assert_eq!(
            (words.arguments.as_slice(), words.command.len()),
            (["web".to_owned()].as_slice(), 3)
        );
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert_eq!(
            words("get pods --fancy").unwrap_err(),
            "the flag `--fancy` is not understood"
        );
        assert!(words("get pods --as admin").unwrap_err().contains("`--as`"));
        assert!(words("get pods -Z").unwrap_err().contains("`-Z`"));
        assert!(words("get pods -n").unwrap_err().contains("wants a value"));
    }
}
