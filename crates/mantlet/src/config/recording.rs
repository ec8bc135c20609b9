//! `recording` and `storage.recordings`: how much is written down, where what is large lies, and who else gets it.

use std::path::{Path, PathBuf};

use mantlet_api::audit::Policy;
use mantlet_api::config;
use mantlet_core::record::RecordingPolicy;
use mantlet_store::{Recordings, S3Place};

use super::fault::Fault;
use super::{only_document, read};

#[derive(Debug)]
pub struct Recording {
    pub policy: RecordingPolicy,
    pub file: Option<FileExport>,
    /// A kubeconfig.
    pub webhook: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileExport {
    pub path: PathBuf,
    /// Bytes.
    pub max_size: Option<u64>,
    pub max_backups: Option<usize>,
}

/// A fault of `mantlet.yaml` itself: the field, what is wrong, a hint or nothing.
pub(super) type Misfit = (&'static str, String, &'static str);

/// The audit policy of this file.
pub(super) fn policy(file: &Path) -> Result<RecordingPolicy, Vec<Fault>> {
    let document = only_document(file)?;
    let written: Policy = read::read(&document)?;
    RecordingPolicy::compile(written).map_err(|faults| {
        let place = |fault: mantlet_core::record::policy::PolicyFault| {
            document.fault(&fault.path, fault.message).hint(fault.hint)
        };
        faults.into_iter().map(place).collect()
    })
}

pub(super) fn file_export(written: &config::FileExport, path: PathBuf) -> Result<FileExport, Misfit> {
    if written.max_size_mb == Some(0) {
        let message = String::from("a file of no size holds nothing");
        return Err((
            "recording.export.file.maxSizeMB",
            message,
            "write a number from 1 on, or leave it out",
        ));
    }
    if path.is_dir() {
        let message = format!("`{}` is a folder", path.display());
        return Err((
            "recording.export.file.path",
            message,
            "name a file in it, such as audit.jsonl",
        ));
    }
    Ok(FileExport {
        path,
        max_size: written.max_size_mb.map(|mb| u64::from(mb) << 20),
        max_backups: written.max_backups.map(|count| count as usize),
    })
}

/// `absolute` makes a path out of one that may be relative.
pub(super) fn recordings(place: &str, absolute: impl Fn(&str) -> PathBuf) -> Result<Recordings, Misfit> {
    let misfit = |message: String| {
        let hint =
            "write `recordings: file:///var/lib/mantlet/recordings`, or `s3://bucket/prefix?region=eu-central-1`";
        Err(("storage.recordings", message, hint))
    };
    match place.split_once("://") {
        None if !place.is_empty() => Ok(Recordings::Folder(absolute(place))),
        Some(("file", path)) if path.starts_with('/') => Ok(Recordings::Folder(PathBuf::from(path))),
        Some(("s3", rest)) => s3(rest)
            .map(Recordings::S3)
            .or_else(|why| misfit(format!("`{place}` {why}"))),
        None | Some(_) => misfit(format!("`{place}` is neither a folder nor a bucket")),
    }
}

fn s3(rest: &str) -> Result<S3Place, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    // A bucket has no colon and no @: what looks like a credential must not be taken for one.
    if bucket.is_empty() || !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) {
        return Err(String::from("names no bucket"));
    }
    let mut place = S3Place {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        region: None,
        endpoint: None,
    };
    for (key, value) in query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
    {
        let kept = match key {
            "region" => &mut place.region,
            "endpoint" => &mut place.endpoint,
            other => return Err(format!("says `{other}`, and only `region` and `endpoint` are known")),
        };
        if value.is_empty() || kept.replace(value.to_owned()).is_some() {
            return Err(format!("has no `{key}`, or more than one"));
        }
    }
    match &place.endpoint {
        Some(endpoint) if !encrypted_or_here(endpoint) => Err(String::from(
            "has an endpoint that is neither https nor on this machine",
        )),
        Some(_) | None => Ok(place),
    }
}

/// Bodies are masked, and still nobody else's to read.
fn encrypted_or_here(endpoint: &str) -> bool {
    let here = |rest: &str| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        ["localhost", "127.0.0.1", "[::1]"].contains(&host)
    };
    endpoint.starts_with("https://") || endpoint.strip_prefix("http://").is_some_and(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: &str) -> Result<Recordings, String> {
        recordings(place, |path| Path::new("/etc/mantlet").join(path)).map_err(|(_, message, _)| message)
    }

    #[test]
    fn a_place_for_recordings_is_a_folder_or_a_bucket() {
        let folder = |path: &str| Ok(Recordings::Folder(PathBuf::from(path)));
        assert_eq!(read("recordings"), folder("/etc/mantlet/recordings"));
        assert_eq!(read("file:///srv/recordings"), folder("/srv/recordings"));
        let place = S3Place {
            bucket: String::from("audit"),
            prefix: String::from("prod/eu"),
            region: Some(String::from("eu-central-1")),
            endpoint: Some(String::from("http://127.0.0.1:9000")),
        };
        let written = "s3://audit/prod/eu/?region=eu-central-1&endpoint=http://127.0.0.1:9000";
        assert_eq!(read(written), Ok(Recordings::S3(place)));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (place, why) in [
            ("", "is neither a folder nor a bucket"),
            ("file://relative", "is neither a folder nor a bucket"),
            ("gs://bucket", "is neither a folder nor a bucket"),
            ("s3://", "names no bucket"),
            ("s3://key:secret@bucket", "names no bucket"),
            ("s3://bucket?acl=public", "says `acl`"),
            ("s3://bucket?region=", "has no `region`"),
            ("s3://bucket?region=a&region=b", "more than one"),
            (
                "s3://bucket?endpoint=http://minio.example.com",
                "neither https nor on this machine",
            ),
            (
                "s3://bucket?endpoint=http://127.0.0.1.example.com",
                "neither https nor on this machine",
            ),
        ] {
            let said = read(place).unwrap_err();
            assert!(said.contains(why), "{place}: {said}");
        }
    }
}
