//! What went wrong, in a sentence for whoever called the task.

use std::fmt;

/// A message, and perhaps a hint: something to type.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A fault with a `hint:` line.
pub(crate) fn hint(text: String, hint: &str) -> Fault {
    Fault(format!("{text}\nhint: {hint}"))
}

/// Says of what an I/O error is.
pub(crate) trait Of<T> {
    fn of(self, what: impl fmt::Display) -> Result<T, Fault>;
}

impl<T> Of<T> for std::io::Result<T> {
    fn of(self, what: impl fmt::Display) -> Result<T, Fault> {
        self.map_err(|error| Fault(format!("{what}: {error}")))
    }
}
