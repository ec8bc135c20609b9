//! The shapes of the kinds that Kubernetes itself serves: what an object of each may hold, for whoever checks expressions.
//!
//! The table that protobuf is read by knows every field by its JSON name, so it answers; it is the newest version's.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use mantlet_expr::{Fields, Shape};

use super::special::Special;
use super::{Entry, Kind, Message, Shape as Arity, Table, table};

/// What an object of a resource may be, in whatever version; none of what is served by others.
pub(crate) fn shape_of(group: &str, resource: &str) -> Option<Shape> {
    let table = table().ok()?;
    let of = |(known, kind): (&String, &String)| {
        let (version, name) = known.rsplit_once('/')?;
        let served = version.split_once('/').map_or("", |(group, _)| group);
        (served == group && name == resource).then(|| kind_shape(table, &format!("{version}/{kind}")))?
    };
    table.resources.iter().filter_map(of).reduce(Shape::or)
}

/// What an object of a kind may be: `policy/v1/Eviction`.
pub(crate) fn shape_of_kind(name: &str) -> Option<Shape> {
    kind_shape(table().ok()?, name)
}

fn kind_shape(table: &'static Table, name: &str) -> Option<Shape> {
    object(table, table.kinds.get(name)?)
}

fn object(table: &'static Table, name: &'static str) -> Option<Shape> {
    let message = table.messages.get(name)?;
    let typed = has_type(table, name);
    Some(Shape::Object(Arc::new(Object { table, message, typed })))
}

/// Whether JSON of a message may say `apiVersion` and `kind`: that of an object may, also where it stands in another.
fn has_type(table: &'static Table, name: &str) -> bool {
    static OBJECTS: OnceLock<HashSet<&'static str>> = OnceLock::new();
    OBJECTS
        .get_or_init(|| table.kinds.values().map(String::as_str).collect())
        .contains(name)
}

struct Object {
    table: &'static Table,
    message: &'static Message,
    typed: bool,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("fields", &self.names()).finish()
    }
}

impl Object {
    /// What a message inlines is part of it.
    fn inlined(&self) -> impl Iterator<Item = Shape> {
        let inlined = self.message.values().filter(|entry| entry.json.is_empty());
        inlined.filter_map(|entry| object(self.table, &entry.of))
    }
}

impl Fields for Object {
    fn field(&self, name: &str) -> Option<Shape> {
        if self.typed && matches!(name, "apiVersion" | "kind") {
            return Some(Shape::Text);
        }
        let named = self
            .message
            .values()
            .find(|entry| entry.json == name && !name.is_empty());
        named.map(|entry| field(self.table, entry)).or_else(|| {
            self.inlined().find_map(|shape| match shape {
                Shape::Object(fields) => fields.field(name),
                _ => None,
            })
        })
    }

    fn names(&self) -> Vec<String> {
        let own = self.message.values().map(|entry| entry.json.clone());
        let typed = ["apiVersion", "kind"]
            .map(str::to_owned)
            .into_iter()
            .filter(|_| self.typed);
        let inlined = self.inlined().flat_map(|shape| match shape {
            Shape::Object(fields) => fields.names(),
            _ => Vec::new(),
        });
        own.filter(|name| !name.is_empty())
            .chain(typed)
            .chain(inlined)
            .collect()
    }
}

fn field(table: &'static Table, entry: &'static Entry) -> Shape {
    let one = match entry.kind {
        Kind::String | Kind::Bytes => Shape::Text,
        Kind::Bool => Shape::Bool,
        Kind::Int32 | Kind::Int64 => Shape::Int,
        Kind::Float64 => Shape::Number,
        Kind::Message => object(table, &entry.of).unwrap_or(Shape::Any),
        Kind::Items => Shape::list(Shape::Text),
        Kind::Special => special(&entry.of),
    };
    match entry.shape {
        Arity::One => one,
        Arity::List => Shape::list(one),
        Arity::Map => Shape::map(one),
    }
}

fn special(of: &str) -> Shape {
    match Special::named(of) {
        Special::Time | Special::MicroTime => Shape::Text,
        Special::Quantity | Special::IntOrString => Shape::Scalar,
        Special::Raw | Special::SchemaOrBool | Special::SchemaOrArray | Special::SchemaOrStrings | Special::Unknown => {
            Shape::Any
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// What of `value` its shape does not allow.
    fn misfits(value: &Value, shape: &Shape, path: &str, found: &mut Vec<String>) {
        let fits = match (shape, value) {
            (Shape::Any, _) | (_, Value::Null) => true,
            (Shape::Bool, Value::Bool(_)) | (Shape::Text | Shape::Scalar, Value::String(_)) => true,
            (Shape::Int, Value::Number(n)) => n.is_i64(),
            (Shape::Number | Shape::Scalar, Value::Number(_)) => true,
            (Shape::List(of), Value::Array(items)) => {
                items
                    .iter()
                    .for_each(|item| misfits(item, of, &format!("{path}[]"), found));
                true
            }
            (Shape::Map(of), Value::Object(values)) => {
                values
                    .values()
                    .for_each(|value| misfits(value, of, &format!("{path}.*"), found));
                true
            }
            (Shape::Object(fields), Value::Object(values)) => {
                for (name, value) in values {
                    let path = format!("{path}.{name}");
                    match fields.field(name) {
                        Some(shape) => misfits(value, &shape, &path, found),
                        None => found.push(format!("{path} is no field")),
                    }
                }
                true
            }
            _ => false,
        };
        if !fits {
            found.push(format!("{path}: {value} is no {shape:?}"));
        }
    }

    #[test]
    fn whatever_the_api_server_reads_fits_the_shape_of_its_kind() {
        let mut found = Vec::new();
        let mut objects = 0;
        for line in include_str!("../../../vectors/objects.jsonl").lines() {
            let object = serde_json::from_str::<Value>(line).unwrap()["json"].take();
            let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            let (version, kind) = (text("apiVersion"), text("kind"));
            let shape = shape_of_kind(&format!("{version}/{kind}")).unwrap();
            misfits(&object, &shape, &kind, &mut found);
            objects += 1;
        }
        assert!(
            objects > 500 && found.is_empty(),
            "{objects} objects\n{}",
            found.join("\n")
        );
    }

    #[test]
    fn a_resource_has_the_shape_of_its_kind_in_every_version() {
        let Some(Shape::Object(deployment)) = shape_of("apps", "deployments") else {
            panic!("an object")
        };
        assert!(deployment.field("spec").is_some() && deployment.field("kind").is_some());
        assert!(deployment.field("data").is_none());
        assert!(shape_of("", "secrets").is_some());
        for (group, resource) in [("", "deployments"), ("apps", "widgets"), ("example.com", "deployments")] {
            assert!(shape_of(group, resource).is_none(), "{group}/{resource}");
        }
    }
}
