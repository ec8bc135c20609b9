//! `Accept`, reduced to what the gateway can mask or may pass on.
//!
//! In: the header's values. Out: one value that goes upstream. Refuses: a client that wants nothing of it (406).
//! Order as the API server's fork of goautoneg has it: by `q`, exact types before wildcards.

use super::Unreadable;

/// Logs, version and health answer the one type they have, and errors as a JSON Status.
pub(super) const ANY: &str = "application/json, */*";

const JSON: &str = "application/json";

/// Reads and writes of resources: JSON, whole or as Table or metadata. Protobuf, CBOR, YAML and `drop=` fall away.
pub(super) fn resource(headers: &[&str]) -> Result<String, Unreadable> {
    reduce(headers, |clause| {
        let suffix = match (clause.value("as"), clause.value("g"), clause.value("v")) {
            (None, None, None) => String::new(),
            (
                Some(kind @ ("Table" | "PartialObjectMetadata" | "PartialObjectMetadataList")),
                Some("meta.k8s.io"),
                Some(version @ ("v1" | "v1beta1")),
            ) => {
                format!(";as={kind};v={version};g=meta.k8s.io")
            }
            _ => return None,
        };
        clause.is_json().then(|| format!("{JSON}{suffix}"))
    })
}

/// `/api` and `/apis`: plain, or the aggregated list that kubectl asks for first.
pub(super) fn discovery(headers: &[&str]) -> Result<String, Unreadable> {
    reduce(headers, |clause| {
        let mut suffix = match (clause.value("as"), clause.value("g"), clause.value("v")) {
            (None, None, None) => String::new(),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some(version @ ("v2" | "v2beta1"))) => {
                format!(";g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
            }
            _ => return None,
        };
        if let Some(profile) = clause
            .value("profile")
            .filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        {
            suffix.push_str(";profile=");
            suffix.push_str(profile);
        }
        clause.is_json().then(|| format!("{JSON}{suffix}"))
    })
}

/// OpenAPI documents hold no objects: JSON, or the protobuf form of the same (`@` and `.` spellings).
pub(super) fn open_api(headers: &[&str]) -> Result<String, Unreadable> {
    const PROTOBUF: [&str; 4] = [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    ];
    reduce(headers, |clause| {
        if clause.is_json() {
            return Some(JSON.to_owned());
        }
        PROTOBUF
            .iter()
            .find(|known| clause.media.eq_ignore_ascii_case(known))
            .map(|known| (*known).to_owned())
    })
}

fn reduce(headers: &[&str], keep: impl Fn(&Clause<'_>) -> Option<String>) -> Result<String, Unreadable> {
    let mut clauses: Vec<Clause<'_>> = headers
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .map(Clause::read)
        .collect();
    if clauses.is_empty() {
        return Ok(JSON.to_owned());
    }
    clauses.sort_by(|a, b| b.q.total_cmp(&a.q).then(a.wildcards().cmp(&b.wildcards())));
    let mut kept: Vec<String> = Vec::new();
    for text in clauses.iter().filter(|clause| clause.q > 0.0).filter_map(keep) {
        if !kept.contains(&text) {
            kept.push(text);
        }
    }
    if kept.is_empty() {
        return Err(Unreadable::not_acceptable(
            "nothing that the Accept header names can be served through the gateway; accept application/json",
        ));
    }
    Ok(kept.join(","))
}

struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    q: f32,
}

impl<'a> Clause<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.trim(), v.trim()))
            .collect();
        // goautoneg takes what it cannot read as 0.
        let q = parameters.iter().find(|(k, _)| *k == "q").map_or(1.0, |(_, v)| {
            v.parse::<f32>().ok().filter(|q| q.is_finite()).unwrap_or(0.0)
        });
        Self { media, parameters, q }
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v)
    }

    fn is_json(&self) -> bool {
        self.media == "*/*"
            || ["*", "application/*", JSON]
                .iter()
                .any(|known| self.media.eq_ignore_ascii_case(known))
    }

    fn wildcards(&self) -> usize {
        self.media.matches('*').count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(accept: &str) -> Option<String> {
        resource(&[accept]).ok()
    }

    #[test]
    fn only_json_is_left_in_the_order_of_the_client() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(reduced(table).as_deref(), Some(table));
        assert_eq!(
            reduced("application/vnd.kubernetes.protobuf,application/json").as_deref(),
            Some("application/json")
        );
        assert_eq!(
            reduced("application/vnd.kubernetes.protobuf, */*").as_deref(),
            Some("application/json")
        );
        assert_eq!(
            reduced("*/*;q=0.5, application/json;as=Table;v=v1;g=meta.k8s.io;drop=metadata.managedFields").as_deref(),
            Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        );
        assert_eq!(reduced("").as_deref(), Some("application/json"));
    }

    #[test]
    fn what_cannot_be_masked_is_not_acceptable() {
        for accept in [
            "application/vnd.kubernetes.protobuf",
            "application/yaml",
            "application/cbor",
            "*/*;q=0",
            "application/json;as=Widget;v=v1;g=meta.k8s.io",
            "text/plain",
        ] {
            assert_eq!(reduced(accept), None, "{accept}");
        }
    }

    #[test]
    fn discovery_and_openapi_keep_their_own_forms() {
        let wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(discovery(&[wanted]).as_deref(), Ok(wanted));
        let wanted = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        assert_eq!(open_api(&[wanted]).as_deref(), Ok(wanted));
    }
}
