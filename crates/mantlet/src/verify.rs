//! `mantlet sessions verify`: the record by its files, and what of it lies elsewhere.
//!
//! In: the gateway's configuration, of which storage and recording are read. Out: what `mantlet_store::verify` found.
//! Reads the anchor first: a journal that is written to meanwhile may be ahead of it, never behind.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use mantlet_cli::{RecordArgs, VerifyArgs, VerifyOutput};
use mantlet_core::time::{Clock as _, Timestamp};
use mantlet_gateway::anchor::s3::{Credentials, S3};
use mantlet_store::{Anchor, JournalAt, PublicKeys, Report, SystemClock};
use serde::Serialize;

use crate::config::{self, AnchorPlace, Proof, Storage};
use crate::serve;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Whole,
    Damaged,
}

/// Anchored checkpoints, and what is to be said of them.
#[derive(Debug, Default)]
struct Anchored {
    anchors: Vec<Anchor>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Printed<'a> {
    whole: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// Prints what was found to `out`.
pub async fn verify(args: &VerifyArgs, out: &mut dyn Write) -> Result<Seen> {
    let (storage, proof) = record(&args.record)?;
    let files = files(&storage).map(Path::to_owned);
    if args.print_key {
        let keys = match &files {
            Some(journal) => mantlet_store::public_keys(journal, &storage.key_file)?,
            None => mantlet_store::public_keys_in(&storage.database, &storage.key_file).await?,
        };
        let mut lines = keys.lines().peekable();
        if lines.peek().is_none() {
            bail!("no key signs yet\nhint: the first start of a gateway that signs makes one: mantlet serve");
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        return Ok(Seen::Whole);
    }
    let pinned = args.public_key.as_deref().map(PublicKeys::parse).transpose();
    let pinned = pinned.map_err(|why| {
        anyhow::anyhow!("`--public-key` cannot be used: {why}\nhint: mantlet sessions verify --print-key")
    })?;
    let anchored = anchored(args.anchor_file.as_deref(), &proof).await?;
    let Anchored { anchors, notes } = anchored;
    let mut report = match files {
        Some(journal) if !journal.is_dir() => bail!("there is no journal in `{}`", journal.display()),
        Some(journal) => {
            let check = move || mantlet_store::verify(&journal, &storage.key_file, pinned, &anchors);
            tokio::task::spawn_blocking(check).await??
        }
        None => {
            let Storage {
                database,
                journal,
                key_file,
                ..
            } = &storage;
            mantlet_store::verify_in(database, journal, key_file, pinned, anchors).await?
        }
    };
    report.notes.extend(notes);
    match args.output {
        VerifyOutput::Text => write!(out, "{report}")?,
        VerifyOutput::Json => {
            let whole = report.is_whole();
            serde_json::to_writer(&mut *out, &Printed { whole, report: &report })?;
            writeln!(out)?;
        }
    }
    Ok(match report.is_whole() {
        true => Seen::Whole,
        false => Seen::Damaged,
    })
}

/// What is to be told once a new key stands in the keyring.
pub async fn rotate_key(args: &RecordArgs, now: Timestamp) -> Result<String> {
    let (storage, _) = record(args)?;
    let id = match files(&storage) {
        Some(folder) => mantlet_store::rotate_signing_key(folder, &storage.key_file, now)?,
        None => mantlet_store::rotate_signing_key_in(&storage.database, &storage.key_file, now).await?,
    };
    Ok(format!(
        "key {id} signs checkpoints from the next start of the gateway on\n"
    ))
}

fn record(args: &RecordArgs) -> Result<(Storage, Proof)> {
    if !args.config.exists() {
        bail!(
            "there is no `{}`\nhint: name the gateway's configuration: `--config FILE`",
            args.config.display()
        );
    }
    config::record(&args.config).map_err(|faults| serve::faults(&faults))
}

/// Where segments and keyring lie as files. With PostgreSQL the keyring lies in the database, wherever the journal is.
fn files(storage: &Storage) -> Option<&Path> {
    match &storage.journal {
        JournalAt::Folder(folder) if storage.database.as_str().starts_with("sqlite:") => Some(folder),
        JournalAt::Folder(_) | JournalAt::Database => None,
    }
}

async fn anchored(file: Option<&Path>, proof: &Proof) -> Result<Anchored> {
    match (file, &proof.anchor) {
        (Some(file), _) => read(file),
        // Nothing was anchored yet: the gateway makes the file.
        (None, Some(AnchorPlace::File(file))) if !file.exists() => Ok(Anchored {
            notes: vec![format!(
                "`{}`, which `recording.anchor.file` names, does not exist",
                file.display()
            )],
            ..Anchored::default()
        }),
        (None, Some(AnchorPlace::File(file))) => read(file),
        (None, Some(AnchorPlace::S3(s3))) => {
            let anchor = Credentials::from_environment().and_then(|credentials| S3::new(s3.clone(), credentials));
            let anchors = anchor.context("recording.anchor.s3")?.read(SystemClock.now()).await;
            Ok(Anchored {
                anchors: anchors.context("the anchor cannot be read")?,
                notes: Vec::new(),
            })
        }
        (None, Some(AnchorPlace::Webhook(_))) => Ok(Anchored {
            notes: vec![String::from(
                "what the webhook was sent was not compared: name what it kept with `--anchor-file FILE`",
            )],
            ..Anchored::default()
        }),
        (None, None) => Ok(Anchored::default()),
    }
}

fn read(file: &Path) -> Result<Anchored> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let (anchors, notes) = mantlet_store::read_documents(&text, &file.display().to_string());
    Ok(Anchored { anchors, notes })
}
