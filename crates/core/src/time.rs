//! Points in time as the law sees them: values that somebody else read off a clock.

use std::fmt;

/// Microseconds since the Unix epoch, UTC.
///
/// Prints as Kubernetes' `MicroTime` does (`2026-01-02T03:04:05.000006Z`), see apimachinery `pkg/apis/meta/v1/micro_time.go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Legal time: what tokens, sessions, schedules and records are measured by. Moved by hand in tests; deadlines of I/O are not its business.
///
/// The law never holds one: it is handed points in time.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This point `by` later; saturates at the end of time.
    pub fn after(self, by: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long it is from `earlier` to this point; zero if it lies before.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 with an offset, as written in policy files (`expiresAt`).
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }

    /// RFC 3339 in whole seconds, as Kubernetes' `Time` (`2026-01-02T03:04:05Z`).
    pub fn to_seconds_text(self) -> String {
        match jiff::Timestamp::from_second(self.seconds()) {
            Ok(t) => t.to_string(),
            Err(_) => String::from("0001-01-01T00:00:00Z"),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => write!(f, "{t:.6}"),
            Err(_) => f.write_str("0001-01-01T00:00:00.000000Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_kubernetes_prints_micro_time() {
        assert_eq!(
            Timestamp::from_micros(1_767_323_045_000_006).to_string(),
            "2026-01-02T03:04:05.000006Z"
        );
        assert_eq!(
            Timestamp::from_micros(1_767_323_045_000_006).to_seconds_text(),
            "2026-01-02T03:04:05Z"
        );
        assert_eq!(
            Timestamp::parse("2026-01-02T03:04:05Z"),
            Some(Timestamp::from_seconds(1_767_323_045))
        );
    }
}
