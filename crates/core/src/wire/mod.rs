//! What goes over the wire: bodies of requests, read strictly, and the request that goes upstream.

use std::fmt;

pub mod body;
pub mod json;
mod yaml;
#[cfg(test)]
mod vectors;
pub mod outgoing;
pub mod protobuf;

/// Why a body was not understood, and what to send instead. Never quotes a value of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BodyFault {
    /// A sentence for the caller: what is wrong, where, and what works.
    pub reason: String,
    pub status: BodyStatus,
}

/// The HTTP status that says who must act on a [`BodyFault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyStatus {
    /// 400: the body cannot be read in one way only.
    BadRequest,
    /// 413.
    TooLarge,
    /// 415: another encoding works.
    UnsupportedMediaType,
    /// 422: read, but it asks for what may not be written.
    Unprocessable,
}

impl BodyStatus {
    pub fn code(self) -> u16 {
        match self {
            BodyStatus::BadRequest => 400,
            BodyStatus::TooLarge => 413,
            BodyStatus::UnsupportedMediaType => 415,
            BodyStatus::Unprocessable => 422,
        }
    }
}

impl BodyFault {
    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            status: BodyStatus::BadRequest,
        }
    }

    pub(crate) fn unsupported(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            status: BodyStatus::UnsupportedMediaType,
        }
    }
}

/// Where in a document something stands: kept on the call stack, written out only for an error.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(parent, name) => {
                parent.fmt(f)?;
                let plain = name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_$".contains(&b));
                match (plain, parent) {
                    (true, Path::Root) => f.write_str(name),
                    (true, _) => write!(f, ".{name}"),
                    (false, _) => write!(f, "[{:?}]", name.chars().take(128).collect::<String>()),
                }
            }
            Path::Item(parent, index) => {
                parent.fmt(f)?;
                write!(f, "[{index}]")
            }
        }
    }
}

impl Path<'_> {
    /// ` at spec.containers[0]`, or nothing at the root.
    pub(crate) fn at(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Field(..) | Path::Item(..) => format!(" at {self}"),
        }
    }
}
