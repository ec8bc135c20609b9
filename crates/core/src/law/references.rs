//! Where an object reaches out of its namespace: the table in `crates/core/src/law/references.yaml`, compiled in, and what it finds in an object.
//!
//! In: a resource, and an object of it. Out: the namespaces that it names, and what lies in none.
//! Deliberately does not: say whether an agent may name them; that is scope. A field that cannot be read as it should counts as one that names something.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::action::ResourceRef;
use crate::mask::Hint;
use crate::wire::body;

use super::glob::Glob;
use super::matching::ResourcePattern;

const TABLE: &str = include_str!("references.yaml");

/// The table.
#[derive(Debug)]
pub(super) struct References(Vec<Reference>);

/// One field that names something outside.
#[derive(Debug)]
struct Reference {
    group: Glob,
    resources: Vec<ResourcePattern>,
    at: Vec<Step>,
    only: BTreeMap<String, Vec<String>>,
    names: Names,
    why: String,
}

/// What an object names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) what: Meant,
    /// As in `subjects[].namespace`.
    pub(super) field: String,
    pub(super) why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meant {
    Namespace(String),
    /// In no namespace: an address, a person, a store of the whole cluster.
    Outside(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Names {
    Namespace,
    Qualified,
    Host,
    Identity,
    Outside,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Each,
    AnyDepth,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    references: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    api_group: String,
    resources: Vec<String>,
    at: Vec<String>,
    #[serde(default)]
    only: BTreeMap<String, Vec<String>>,
    names: Names,
    why: String,
}

impl References {
    pub(super) fn shipped() -> Result<Self, String> {
        // The reader of apply patches: whatever two readers could read differently is a fault in it.
        let body = body::read(
            Some("application/apply-patch+yaml"),
            true,
            TABLE.as_bytes(),
            Hint::Other,
        );
        let body = body.map_err(|fault| format!("{fault:?}"))?;
        let written = Written::deserialize(body.raw()).map_err(|fault| fault.to_string())?;
        written
            .references
            .into_iter()
            .map(Reference::resolve)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether objects of this resource can name anything outside.
    pub(super) fn know(&self, resource: &ResourceRef) -> bool {
        self.0.iter().any(|reference| reference.is_about(resource))
    }

    /// Everything that the object names, in the order of the table.
    pub(super) fn named(&self, resource: &ResourceRef, object: &Value) -> Vec<Named> {
        let about = self.0.iter().filter(|reference| reference.is_about(resource));
        about.flat_map(|reference| reference.named(object)).collect()
    }
}

impl Reference {
    fn resolve(row: Row) -> Result<Self, String> {
        let pattern = |text: &String| ResourcePattern::parse(text).ok_or_else(|| format!("`{text}` is no resource"));
        Ok(Self {
            group: Glob::new(&row.api_group),
            resources: row.resources.iter().map(pattern).collect::<Result<_, _>>()?,
            at: row.at.into_iter().map(Step::parse).collect(),
            only: row.only,
            names: row.names,
            why: row.why,
        })
    }

    fn is_about(&self, resource: &ResourceRef) -> bool {
        self.group.fits(&resource.group) && self.resources.iter().any(|pattern| pattern.fits(resource))
    }

    fn named(&self, object: &Value) -> Vec<Named> {
        let mut found = Vec::new();
        self.walk(object, &Value::Null, &self.at, &mut found);
        let named = |what| Named {
            what,
            field: self.field(),
            why: self.why.clone(),
        };
        found
            .iter()
            .filter_map(|text| self.names.read(text))
            .map(named)
            .collect()
    }

    /// Texts at the end of the way; `beside` is the object in which its last field stands.
    fn walk(&self, value: &Value, beside: &Value, way: &[Step], found: &mut Vec<String>) {
        let Some((step, rest)) = way.split_first() else {
            if self.holds(beside) {
                found.extend(text_of(value));
            }
            return;
        };
        match (step, value) {
            (Step::Field(name), Value::Object(fields)) => {
                if let Some(field) = fields.get(name) {
                    self.walk(field, value, rest, found);
                }
            }
            (Step::Each, Value::Array(items)) => items.iter().for_each(|item| self.walk(item, beside, rest, found)),
            (Step::Each, Value::Object(fields)) => fields.values().for_each(|item| self.walk(item, value, rest, found)),
            (Step::AnyDepth, _) => {
                self.walk(value, beside, rest, found);
                self.below(value, way, found);
            }
            (Step::Field(_) | Step::Each, _) => {}
        }
    }

    /// The same way from everything inside of `value`. Server bookkeeping does not count.
    fn below(&self, value: &Value, way: &[Step], found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, value, way, found)),
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(name, _)| *name != "managedFields");
                fields.for_each(|(_, field)| self.walk(field, value, way, found));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn holds(&self, beside: &Value) -> bool {
        self.only.iter().all(|(field, values)| {
            let text = beside.get(field).and_then(Value::as_str);
            text.is_some_and(|text| values.iter().any(|value| value == text))
        })
    }

    fn field(&self) -> String {
        self.at.iter().fold(String::new(), |path, step| match step {
            Step::Each => path + "[]",
            Step::AnyDepth => path + "…",
            Step::Field(name) if name.contains(['.', '/']) => format!("{path}[{name}]"),
            Step::Field(name) if path.is_empty() || path.ends_with('…') => path + name,
            Step::Field(name) => format!("{path}.{name}"),
        })
    }
}

impl Step {
    fn parse(text: String) -> Self {
        match text.as_str() {
            "[]" => Step::Each,
            "**" => Step::AnyDepth,
            _ => Step::Field(text),
        }
    }
}

impl Names {
    /// What the text of such a field means; `None` if it names what is the object's own.
    fn read(self, text: &str) -> Option<Meant> {
        let namespace = |name: &str| Meant::Namespace(name.to_owned());
        if text.is_empty() {
            return None;
        }
        match self {
            Names::Namespace => Some(namespace(text)),
            Names::Qualified => text.split_once('/').map(|(space, _)| namespace(space)),
            Names::Host => Some(namespace_of_host(text).map_or_else(|| Meant::Outside(text.to_owned()), namespace)),
            Names::Identity => {
                Some(namespace_of_account(text).map_or_else(|| Meant::Outside(text.to_owned()), namespace))
            }
            Names::Outside => Some(Meant::Outside(text.to_owned())),
        }
    }
}

/// A text as it stands; of anything else that is there, its JSON.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// `SERVICE.NAMESPACE.svc` or `….pod`, with the domain that clusters have by default or none: what comes behind any other could be anybody's.
fn namespace_of_host(host: &str) -> Option<&str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let rest = host.strip_suffix(".svc").or_else(|| host.strip_suffix(".pod"))?;
    rest.rsplit_once('.').map(|(_, namespace)| namespace)
}

/// apiserver `pkg/authentication/serviceaccount/util.go`.
fn namespace_of_account(name: &str) -> Option<&str> {
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split(':').next());
    account.or_else(|| name.strip_prefix("system:serviceaccounts:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(group: &str, resource: &str, object: &Value) -> Vec<String> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let resource = ResourceRef {
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            ..ResourceRef::default()
        };
        let found = References::shipped().unwrap().named(&resource, object);
        let show = |n: Named| match n.what {
            Meant::Namespace(name) => format!("{} in {name}", n.field),
            Meant::Outside(text) => format!("{} at {text}", n.field),
        };
        found.into_iter().map(show).collect()
    }

    #[test]
    fn every_row_of_the_table_leads_to_a_field_and_says_why() {
        let table = References::shipped().unwrap();
        assert!(table.0.len() >= 40, "only {} rows", table.0.len());
        for row in &table.0 {
            assert!(
                matches!(row.at.last(), Some(Step::Field(_) | Step::Each)),
                "{}",
                row.field()
            );
            assert!(!row.why.is_empty() && !row.resources.is_empty(), "{}", row.field());
        }
    }

    #[test]
    fn a_binding_names_whom_it_empowers() {
        let binding = json!({ "subjects": [
            { "kind": "ServiceAccount", "name": "default" },
            { "kind": "ServiceAccount", "name": "x", "namespace": "prod" },
            { "kind": "User", "name": "system:serviceaccount:upstream:coder" },
            { "kind": "Group", "name": "system:serviceaccounts:prod" },
            { "kind": "Group", "name": "system:authenticated" },
        ]});
        let found = named("rbac.authorization.k8s.io", "rolebindings", &binding);
        let expected = [
            "subjects[].namespace in prod",
            "subjects[].name in upstream",
            "subjects[].name in prod",
            "subjects[].name at system:authenticated",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_host_is_in_a_namespace_only_if_it_is_the_clusters_own() {
        for (host, meant) in [
            ("db.prod.svc", "in prod"),
            ("db.prod.svc.cluster.local.", "in prod"),
            ("db-0.db.prod.svc.cluster.local", "in prod"),
            ("10-0-0-1.prod.pod.cluster.local", "in prod"),
            ("db.test.svc.evil.example", "at db.test.svc.evil.example"),
            ("db.test", "at db.test"),
            ("svc", "at svc"),
            ("169.254.169.254", "at 169.254.169.254"),
        ] {
            let service = json!({ "spec": { "externalName": host } });
            assert_eq!(named("", "services", &service), [format!("spec.externalName {meant}")]);
        }
        assert!(named("", "services", &json!({ "spec": { "externalName": "" } })).is_empty());
        assert!(named("", "services/status", &json!({ "spec": { "externalName": "a.b" } })).is_empty());
    }

    #[test]
    fn a_field_is_found_at_any_depth_but_not_in_bookkeeping() {
        let job = json!({
            "metadata": { "managedFields": [{ "dataSourceRef": { "namespace": "never" } }] },
            "spec": { "template": { "spec": { "volumes": [{ "ephemeral": { "volumeClaimTemplate": {
                "spec": { "dataSourceRef": { "namespace": "prod" } } } } }] } } },
        });
        assert_eq!(named("batch", "jobs", &job), ["…dataSourceRef.namespace in prod"]);
    }

    #[test]
    fn what_stands_beside_a_field_decides_whether_it_counts() {
        let store = |kind: &str| json!({ "spec": { "secretStoreRef": { "kind": kind, "name": "vault" } } });
        let found = named("external-secrets.io", "externalsecrets", &store("ClusterSecretStore"));
        assert_eq!(found, ["…secretStoreRef.name at vault"]);
        assert!(named("external-secrets.io", "externalsecrets", &store("SecretStore")).is_empty());
    }

    #[test]
    fn a_field_of_another_type_still_names_something() {
        let service = json!({ "spec": { "externalIPs": [7], "externalName": { "a": 1 } } });
        assert_eq!(
            named("", "services", &service),
            ["spec.externalName at {\"a\":1}", "spec.externalIPs[] at 7"]
        );
    }

    #[test]
    fn annotations_are_named_as_they_are_written() {
        let account =
            json!({ "metadata": { "annotations": { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x" } } });
        assert_eq!(
            named("", "serviceaccounts", &account),
            ["metadata.annotations[eks.amazonaws.com/role-arn] at arn:aws:iam::1:role/x"]
        );
    }
}
