//! What can go wrong with the memory. All of it is the operator's to mend; to a caller it means: nothing was carried out.

use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// As many requests as the journal has room for are under way, or the disk has no room for the next segment.
    #[error("the journal has no room: {0}")]
    Full(String),
    /// A write or a flush failed. What the disk holds is unknown from there on, so the journal stays failed until a restart.
    #[error("the journal cannot be written: {0}")]
    Failed(String),
    #[error("the journal is closed")]
    Closed,
    #[error(
        "the journal in `{}` is in use by another process\nhint: end the other `mantlet`, or give this one a `storage.journal` of its own", .0.display()
    )]
    Locked(PathBuf),
    #[error(
        "the journal is damaged at byte {offset} of segment {segment}: {what}\nhint: mantlet sessions verify --config FILE says all that is wrong; then restore the segment from a copy, or move the journal away to begin a new one; the damage stays provable"
    )]
    Damaged { segment: u64, offset: u64, what: String },
    #[error(
        "the journal ends at record {ended}, and a checkpoint over record {anchored} of it is anchored: it is an old copy, or its end was cut off\nhint: mantlet sessions verify --config FILE says what is gone; put the right folder back, or move both away to begin anew"
    )]
    Behind { anchored: u64, ended: u64 },
    #[error("`{}` cannot be used: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    /// Bodies that are too large for the journal cannot be stored.
    #[error(
        "the store of recordings cannot be used: {0}\nhint: look at `storage.recordings`; what has to be recorded there is refused until it works"
    )]
    Recordings(String),
    #[error("{0}")]
    Key(String),
    /// A URL that says no place, or one that may not be used.
    #[error("`{database}`: {why}\nhint: {hint}")]
    Url {
        database: String,
        why: String,
        hint: String,
    },
    #[error(
        "the database `{database}` cannot be used: {why}\nhint: see that PostgreSQL runs and that `storage.database` names a database that this user owns"
    )]
    Database { database: String, why: String },
    /// The database that the journal lies in does not answer. Nothing is lost: the writer tries again by itself.
    #[error(
        "the journal's database cannot be reached: {0}\nhint: see that PostgreSQL runs and has room; what waits is written as soon as it answers"
    )]
    Away(String),
    /// Another process took this chain over while its holder was away.
    #[error(
        "the chain `{0}` of the journal was taken over by another process\nhint: start this `mantlet` again; it goes on with a chain of its own"
    )]
    Fenced(String),
    #[error("the index cannot be used: {0}")]
    Index(String),
    /// A `continue` that this store did not give out.
    #[error("the continue token is not valid")]
    Continue,
}

impl StoreFault {
    pub(crate) fn unusable(path: &std::path::Path, why: impl ToString) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

impl From<sqlx::Error> for StoreFault {
    fn from(fault: sqlx::Error) -> Self {
        Self::Index(fault.to_string())
    }
}
