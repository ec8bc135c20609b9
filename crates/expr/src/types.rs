//! What can be known of a value's type before there is a value.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::LiteralValue;

use crate::shape::{Fields, Shape};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    Any,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Null,
    List,
    Map,
    Type,
    Timestamp,
    Duration,
    Optional,
    /// `a + b` of unknown operands: anything but a bool.
    Sum,
    /// Other arithmetic on unknown operands: a number, a timestamp or a duration.
    Amount,
    /// A JSON number or a text.
    Scalar,
    Quantity,
    Ip,
    Cidr,
    Url,
    Semver,
    Format,
}

impl Ty {
    pub(crate) fn of(literal: &LiteralValue) -> Ty {
        match literal {
            LiteralValue::Boolean(_) => Ty::Bool,
            LiteralValue::Bytes(_) => Ty::Bytes,
            LiteralValue::Double(_) => Ty::Double,
            LiteralValue::Int(_) => Ty::Int,
            LiteralValue::Null => Ty::Null,
            LiteralValue::String(_) => Ty::Text,
            LiteralValue::UInt(_) => Ty::Uint,
        }
    }

    pub(crate) fn is_known(self) -> bool {
        !matches!(self, Ty::Any | Ty::Sum | Ty::Amount | Ty::Scalar)
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Ty::Int | Ty::Uint | Ty::Double)
    }

    /// Whether a value of this type may turn out to be of type `wanted`.
    pub(crate) fn may_be(self, wanted: Ty) -> bool {
        match (self, wanted) {
            (Ty::Any, _) | (_, Ty::Any) => true,
            (Ty::Sum, _) => wanted != Ty::Bool,
            (Ty::Amount, _) => wanted.is_number() || matches!(wanted, Ty::Timestamp | Ty::Duration),
            (Ty::Scalar, _) => wanted.is_number() || matches!(wanted, Ty::Text | Ty::Scalar | Ty::Sum | Ty::Amount),
            _ => self == wanted,
        }
    }

    /// Whether `==` can ever hold: numbers compare across their types, and null may stand for anything unset.
    pub(crate) fn may_equal(self, other: Ty) -> bool {
        let either = |ty: Ty| self == ty || other == ty;
        either(Ty::Null) || (self.is_number() && other.is_number()) || self.may_be(other) || other.may_be(self)
    }

    pub(crate) fn joined(self, other: Ty) -> Ty {
        if self == other { self } else { Ty::Any }
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ty::Any => "a value",
            Ty::Bool => "a bool",
            Ty::Int => "an int",
            Ty::Uint => "a uint",
            Ty::Double => "a double",
            Ty::Text => "a string",
            Ty::Bytes => "bytes",
            Ty::Null => "null",
            Ty::List => "a list",
            Ty::Map => "a map",
            Ty::Type => "a type",
            Ty::Timestamp => "a timestamp",
            Ty::Duration => "a duration",
            Ty::Optional => "an optional",
            Ty::Sum => "a sum",
            Ty::Amount => "a number",
            Ty::Scalar => "a number or a string",
            Ty::Quantity => "a quantity",
            Ty::Ip => "an IP address",
            Ty::Cidr => "a network",
            Ty::Url => "a URL",
            Ty::Semver => "a version",
            Ty::Format => "a format",
        })
    }
}

/// What is known of a value: its type, and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) ty: Ty,
    inside: Inside,
}

#[derive(Debug, Clone)]
enum Inside {
    Unknown,
    /// Nothing is in it, so it is of no matter what: `[]`, `{}`.
    Nothing,
    /// The elements of a list, or what an optional may hold.
    Items(Box<Known>),
    /// The values of a map whose keys are texts.
    Values(Box<Known>),
    Fields(Arc<dyn Fields>),
}

impl From<Ty> for Known {
    fn from(ty: Ty) -> Known {
        let inside = Inside::Unknown;
        Known { ty, inside }
    }
}

impl From<Shape> for Known {
    fn from(shape: Shape) -> Known {
        let (ty, inside) = match shape {
            Shape::Any => (Ty::Any, Inside::Unknown),
            Shape::Bool => (Ty::Bool, Inside::Unknown),
            Shape::Int => (Ty::Int, Inside::Unknown),
            Shape::Number => (Ty::Amount, Inside::Unknown),
            Shape::Text => (Ty::Text, Inside::Unknown),
            Shape::Scalar => (Ty::Scalar, Inside::Unknown),
            Shape::List(of) => (Ty::List, Inside::Items(Box::new(Known::from(*of)))),
            Shape::Map(of) => (Ty::Map, Inside::Values(Box::new(Known::from(*of)))),
            Shape::Object(fields) => (Ty::Map, Inside::Fields(fields)),
        };
        Known { ty, inside }
    }
}

impl Known {
    pub(crate) const fn any() -> Known {
        Known {
            ty: Ty::Any,
            inside: Inside::Unknown,
        }
    }

    pub(crate) fn list(of: Known) -> Known {
        Known {
            ty: Ty::List,
            inside: Inside::Items(Box::new(of)),
        }
    }

    pub(crate) const fn empty(ty: Ty) -> Known {
        let inside = Inside::Nothing;
        Known { ty, inside }
    }

    pub(crate) fn optional(of: Known) -> Known {
        Known {
            ty: Ty::Optional,
            inside: Inside::Items(Box::new(of)),
        }
    }

    /// An element of a list, or what an optional holds.
    pub(crate) fn item(&self) -> Known {
        match &self.inside {
            Inside::Items(item) => (**item).clone(),
            Inside::Unknown | Inside::Nothing | Inside::Values(_) | Inside::Fields(_) => Known::any(),
        }
    }

    /// The two variables of a comprehension on two, or the one of a comprehension on one.
    pub(crate) fn visited(&self, variables: usize) -> [Known; 2] {
        let any = Known::any();
        match (&self.inside, variables) {
            (Inside::Items(item), 1) if self.ty == Ty::List => [(**item).clone(), any],
            (Inside::Items(item), _) if self.ty == Ty::List => [Ty::Int.into(), (**item).clone()],
            (Inside::Values(value), _) => [Ty::Text.into(), (**value).clone()],
            (Inside::Fields(_), _) => [Ty::Text.into(), any],
            (Inside::Items(_) | Inside::Unknown | Inside::Nothing, _) => [any.clone(), any],
        }
    }

    /// What `.name` gives; none if there can be no such field.
    pub(crate) fn field(&self, name: &str) -> Option<Known> {
        match &self.inside {
            Inside::Fields(fields) => fields.field(name).map(Known::from),
            Inside::Values(value) => Some((**value).clone()),
            Inside::Items(item) if self.ty == Ty::Optional => item.field(name),
            Inside::Items(_) | Inside::Unknown | Inside::Nothing => Some(Known::any()),
        }
    }

    pub(crate) fn fields(&self) -> Option<&dyn Fields> {
        match &self.inside {
            Inside::Fields(fields) => Some(fields.as_ref()),
            Inside::Items(item) if self.ty == Ty::Optional => item.fields(),
            Inside::Items(_) | Inside::Values(_) | Inside::Unknown | Inside::Nothing => None,
        }
    }

    pub(crate) fn joined(self, other: Known) -> Known {
        if self.ty != other.ty {
            return Known::from(self.ty.joined(other.ty));
        }
        let inside = match (self.inside, other.inside) {
            (Inside::Nothing, inside) | (inside, Inside::Nothing) => inside,
            (Inside::Items(a), Inside::Items(b)) => Inside::Items(Box::new(a.joined(*b))),
            (Inside::Values(a), Inside::Values(b)) => Inside::Values(Box::new(a.joined(*b))),
            (Inside::Fields(a), Inside::Fields(b)) => match Shape::Object(a).or(Shape::Object(b)) {
                Shape::Object(both) => Inside::Fields(both),
                _ => Inside::Unknown,
            },
            _ => Inside::Unknown,
        };
        Known { ty: self.ty, inside }
    }

    /// The shape it has once it was JSON: a `uint` comes back as an `int` there, and keys as texts.
    pub(crate) fn shape(&self) -> Shape {
        match (self.ty, &self.inside) {
            (Ty::Bool, _) => Shape::Bool,
            (Ty::Int, _) => Shape::Int,
            (Ty::Uint | Ty::Double, _) => Shape::Number,
            (Ty::Text, _) => Shape::Text,
            (Ty::Scalar, _) => Shape::Scalar,
            (Ty::List, Inside::Items(item)) => Shape::list(item.shape()),
            (Ty::List, _) => Shape::list(Shape::Any),
            (Ty::Map, Inside::Values(value)) => Shape::map(value.shape()),
            (Ty::Map, Inside::Fields(fields)) => Shape::Object(Arc::clone(fields)),
            (Ty::Map, _) => Shape::map(Shape::Any),
            _ => Shape::Any,
        }
    }
}
