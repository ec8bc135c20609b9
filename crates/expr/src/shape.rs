//! What is known of the JSON that a root will be bound to, before it is.
//!
//! In: the fields of the kinds that an expression will meet. Out: what a look into them gives. A shape says what may be there, never that it is:
//! any field may be absent or null. Where nothing is known, everything is allowed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// The shape of a JSON value.
#[derive(Debug, Clone)]
pub enum Shape {
    Any,
    Bool,
    Int,
    /// Whole or not.
    Number,
    Text,
    /// A number or a text, as ports and amounts are.
    Scalar,
    List(Box<Shape>),
    /// Any names, with values of one shape.
    Map(Box<Shape>),
    /// These fields and no other.
    Object(Arc<dyn Fields>),
}

/// The fields of an object. Asked one by one, since a schema may hold itself.
pub trait Fields: Debug + Send + Sync {
    /// `None` if there can be no such field.
    fn field(&self, name: &str) -> Option<Shape>;
    fn names(&self) -> Vec<String>;
    /// Of how many objects these are the fields.
    fn parts(&self) -> usize {
        1
    }
}

/// Objects that one value may be: variables that name each other could double them without end.
const MAX_PARTS: usize = 64;
/// Letters of a name that is compared with others.
const MAX_NAME: usize = 64;

impl Shape {
    pub fn list(of: Shape) -> Shape {
        Shape::List(Box::new(of))
    }

    pub fn map(of: Shape) -> Shape {
        Shape::Map(Box::new(of))
    }

    pub fn record<'n>(fields: impl IntoIterator<Item = (&'n str, Shape)>) -> Shape {
        let fields = fields.into_iter().map(|(name, shape)| (name.to_owned(), shape));
        Shape::Object(Arc::new(Record(fields.collect())))
    }

    /// What has one shape or the other.
    pub fn or(self, other: Shape) -> Shape {
        match (self, other) {
            (Shape::Bool, Shape::Bool) => Shape::Bool,
            (Shape::Text, Shape::Text) => Shape::Text,
            (Shape::Int, Shape::Int) => Shape::Int,
            (Shape::Int | Shape::Number, Shape::Int | Shape::Number) => Shape::Number,
            (
                Shape::Int | Shape::Number | Shape::Text | Shape::Scalar,
                Shape::Int | Shape::Number | Shape::Text | Shape::Scalar,
            ) => Shape::Scalar,
            (Shape::List(a), Shape::List(b)) => Shape::list(a.or(*b)),
            (Shape::Map(a), Shape::Map(b)) => Shape::map(a.or(*b)),
            (Shape::Object(a), Shape::Object(b)) if Arc::ptr_eq(&a, &b) => Shape::Object(a),
            (Shape::Object(a), Shape::Object(b)) if a.parts() + b.parts() <= MAX_PARTS => {
                Shape::Object(Arc::new(Either(a, b)))
            }
            (
                Shape::Any
                | Shape::Bool
                | Shape::Int
                | Shape::Number
                | Shape::Text
                | Shape::Scalar
                | Shape::List(_)
                | Shape::Map(_)
                | Shape::Object(_),
                _,
            ) => Shape::Any,
        }
    }
}

#[derive(Debug)]
struct Record(BTreeMap<String, Shape>);

impl Fields for Record {
    fn field(&self, name: &str) -> Option<Shape> {
        self.0.get(name).cloned()
    }
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// An object of one kind or of another.
#[derive(Debug)]
struct Either(Arc<dyn Fields>, Arc<dyn Fields>);

impl Fields for Either {
    fn field(&self, name: &str) -> Option<Shape> {
        match (self.0.field(name), self.1.field(name)) {
            (Some(a), Some(b)) => Some(a.or(b)),
            (a, b) => a.or(b),
        }
    }
    fn names(&self) -> Vec<String> {
        self.0.names().into_iter().chain(self.1.names()).collect()
    }
    fn parts(&self) -> usize {
        self.0.parts() + self.1.parts()
    }
}

/// The field that was perhaps meant: the nearest, within two letters put in, left out, changed or swapped.
pub(crate) fn nearest(name: &str, fields: &dyn Fields) -> Option<String> {
    if name.len() > MAX_NAME {
        return None;
    }
    let mut names: Vec<_> = fields
        .names()
        .into_iter()
        .map(|known| (distance(name, &known), known))
        .collect();
    names.sort();
    names
        .into_iter()
        .next()
        .filter(|(far, known)| *far <= 2 && *far < known.len())
        .map(|(_, known)| known)
}

/// The optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let spec = Record(
            [("replicas", Shape::Int), ("template", Shape::Any)]
                .map(|(n, s)| (n.to_owned(), s))
                .into(),
        );
        for (name, meant) in [
            ("replica", Some("replicas")),
            ("repilcas", Some("replicas")),
            ("tmplate", Some("template")),
            ("image", None),
        ] {
            assert_eq!(nearest(name, &spec).as_deref(), meant);
        }
    }

    #[test]
    fn a_field_of_either_kind_may_be_what_it_is_in_either() {
        let a = Shape::record([("spec", Shape::record([("x", Shape::Int)])), ("only", Shape::Bool)]);
        let b = Shape::record([("spec", Shape::record([("x", Shape::Text)]))]);
        let Shape::Object(both) = a.or(b) else {
            panic!("an object")
        };
        assert!(matches!(both.field("only"), Some(Shape::Bool)));
        assert!(both.field("nope").is_none());
        let Some(Shape::Object(spec)) = both.field("spec") else {
            panic!("an object")
        };
        assert!(matches!(spec.field("x"), Some(Shape::Scalar)));
    }
}
