//! What can be known of a value's type before there is a value.

use std::fmt;

use cel::common::ast::LiteralValue;

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
    Quantity,
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
        !matches!(self, Ty::Any | Ty::Sum | Ty::Quantity)
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Ty::Int | Ty::Uint | Ty::Double)
    }

    /// Whether a value of this type may turn out to be of type `wanted`.
    pub(crate) fn may_be(self, wanted: Ty) -> bool {
        match (self, wanted) {
            (Ty::Any, _) | (_, Ty::Any) => true,
            (Ty::Sum, _) => wanted != Ty::Bool,
            (Ty::Quantity, _) => wanted.is_number() || matches!(wanted, Ty::Timestamp | Ty::Duration),
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
            Ty::Quantity => "a number",
        })
    }
}
