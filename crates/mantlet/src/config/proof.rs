//! `recording.retention` and `recording.anchor`: for how long the record is kept, and where its checkpoints go.

use std::path::PathBuf;

use http::Uri;
use mantlet_api::config;
use mantlet_gateway::anchor::s3::{Lock, S3Config};
use mantlet_kubeconfig::Source;
use mantlet_store::{JournalAt, Retention, Sizes};

use super::Storage;
use super::resolve::Resolver;

#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// None: nothing is taken away.
    pub retention: Option<Retention>,
    pub anchor: Option<AnchorPlace>,
}

#[derive(Debug, Clone)]
pub enum AnchorPlace {
    File(PathBuf),
    /// Its server takes checkpoints.
    Webhook(Source),
    S3(S3Config),
}

/// Less would leave nothing behind the segment that is written to.
const LEAST_SEGMENTS: u64 = 4;

impl Resolver<'_> {
    pub(super) fn proof(&mut self, written: &config::Recording, storage: Option<&Storage>) -> Proof {
        Proof {
            retention: written
                .retention
                .as_ref()
                .and_then(|retention| self.retention(retention, storage)),
            anchor: written.anchor.as_ref().and_then(|anchor| self.anchor(anchor, storage)),
        }
    }

    fn retention(&mut self, written: &config::Retention, storage: Option<&Storage>) -> Option<Retention> {
        if storage.is_some_and(|storage| storage.journal == JournalAt::Database) {
            let message = "a journal in PostgreSQL cannot be pruned yet";
            let hint = "leave `recording.retention` out, or name a folder in `storage.journal`";
            self.fault("recording.retention", message, hint);
            return None;
        }
        let least = LEAST_SEGMENTS * Sizes::default().segment;
        match (written.days, written.bytes) {
            (None, None) => {
                let hint = "write `retention: { days: 90 }`, or leave it out to keep everything";
                self.fault("recording.retention", "has neither `days` nor `bytes`", hint);
            }
            (Some(0), _) => self.fault(
                "recording.retention.days",
                "is 0: nothing would be kept",
                "write `days: 90`",
            ),
            (_, Some(bytes)) if bytes < least => self.fault(
                "recording.retention.bytes",
                format!("`{bytes}` is less than the journal needs to work"),
                &format!("write at least {least}"),
            ),
            (days, bytes) => return Some(Retention { days, bytes }),
        }
        None
    }

    fn anchor(&mut self, written: &config::Anchor, storage: Option<&Storage>) -> Option<AnchorPlace> {
        match (&written.file, &written.webhook, &written.s3) {
            (Some(file), None, None) => self.anchor_file(file, storage),
            (None, Some(file), None) => self.anchor_webhook(file),
            (None, None, Some(s3)) => self.anchor_s3(s3).map(AnchorPlace::S3),
            _ => {
                let hint = "write `anchor: { file: /mnt/elsewhere/checkpoints.jsonl }`";
                self.fault(
                    "recording.anchor",
                    "needs exactly one of `file`, `webhook` and `s3`",
                    hint,
                );
                None
            }
        }
    }

    fn anchor_file(&mut self, file: &str, storage: Option<&Storage>) -> Option<AnchorPlace> {
        let path = self.absolute(file);
        let inside = |storage: &Storage| match &storage.journal {
            JournalAt::Folder(folder) => path.starts_with(folder),
            JournalAt::Database => false,
        };
        if storage.is_some_and(inside) {
            let message = format!("`{}` lies in the journal that it is to vouch for", path.display());
            self.fault("recording.anchor.file", message, "name a file on another volume");
            return None;
        }
        // Whether its volume is there is another question, and not only now: an anchor that is away keeps no gateway from starting.
        Some(AnchorPlace::File(path))
    }

    fn anchor_webhook(&mut self, file: &str) -> Option<AnchorPlace> {
        let path = self.absolute(file);
        self.files.push(path.clone());
        if let Err(e) = std::fs::File::open(&path) {
            return self.refused(
                "recording.anchor.webhook",
                format!("cannot read `{}`: {e}", path.display()),
            );
        }
        Some(AnchorPlace::Webhook(Source::File { path, context: None }))
    }

    fn anchor_s3(&mut self, written: &config::S3Anchor) -> Option<S3Config> {
        let before = self.fault_count();
        let safe = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        if !(3..=63).contains(&written.bucket.len()) || !safe(&written.bucket, ".-") {
            let message = format!("`{}` is not the name of a bucket", written.bucket);
            self.fault("recording.anchor.s3.bucket", message, "");
        }
        let prefix = written.prefix.trim_matches('/');
        if !safe(prefix, "._-/") {
            let message = format!("`{}` cannot stand in front of an object's name", written.prefix);
            self.fault("recording.anchor.s3.prefix", message, "use letters, digits and `._-/`");
        }
        if written.region.is_empty() || !safe(&written.region, "-") {
            let message = format!("`{}` is not the name of a region", written.region);
            self.fault("recording.anchor.s3.region", message, "");
        }
        if written
            .object_lock
            .as_ref()
            .is_some_and(|lock| !(1..=36_500).contains(&lock.days))
        {
            self.fault("recording.anchor.s3.objectLock.days", "is not between 1 and 36500", "");
        }
        let endpoint = self.endpoint(written);
        if self.fault_count() > before {
            return None;
        }
        Some(S3Config {
            bucket: written.bucket.clone(),
            prefix: prefix.to_owned(),
            region: written.region.clone(),
            endpoint: endpoint?,
            lock: written.object_lock.as_ref().map(|lock| Lock {
                mode: match lock.mode {
                    config::ObjectLockMode::Governance => "GOVERNANCE",
                    config::ObjectLockMode::Compliance => "COMPLIANCE",
                },
                days: lock.days,
            }),
        })
    }

    /// Without TLS anybody on the way could take the place of the anchor: only a server on this machine may do without.
    fn endpoint(&mut self, written: &config::S3Anchor) -> Option<Uri> {
        let of_aws = format!("https://s3.{}.amazonaws.com", written.region);
        let text = written.endpoint.as_deref().unwrap_or(&of_aws);
        let endpoint = text.parse::<Uri>().ok().filter(|uri| uri.authority().is_some());
        let endpoint = endpoint.filter(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
        let loopback = |uri: &Uri| matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost"));
        let endpoint = endpoint.filter(|uri| match uri.scheme_str() {
            Some("https") => true,
            Some("http") => loopback(uri),
            _ => false,
        });
        if endpoint.is_none() {
            let hint = "write `endpoint: https://HOST`; `http://` only on this machine";
            self.fault(
                "recording.anchor.s3.endpoint",
                format!("`{text}` is no address of an S3 server"),
                hint,
            );
        }
        endpoint
    }
}
