//! The cluster that stories run against: the one that `cargo xtask` started (`MANTLET_BED`), or one that somebody named (`MANTLET_TEST_KUBECONFIG`).

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;

/// What `bed up` says about the cluster it started.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bed {
    /// Kubeconfig of a cluster administrator.
    pub kubeconfig: PathBuf,
    pub kubectl: PathBuf,
    /// None on a foreign cluster: its audit log is out of reach.
    #[serde(default)]
    pub audit_log: Option<PathBuf>,
    /// Whether pods run.
    pub node: bool,
    #[serde(default)]
    pub node_reason: String,
}

/// The cluster of this test run. Without one, the story is not told, and says why; where one could have been started, that is a failure.
pub fn bed() -> Option<&'static Bed> {
    static BED: OnceLock<Option<Bed>> = OnceLock::new();
    BED.get_or_init(find).as_ref()
}

fn find() -> Option<Bed> {
    if let Ok(line) = std::env::var("MANTLET_BED") {
        return Some(serde_json::from_str(&line).expect("MANTLET_BED holds the line that `bed up` printed"));
    }
    if let Some(kubeconfig) = std::env::var_os("MANTLET_TEST_KUBECONFIG") {
        return Some(Bed {
            kubeconfig: kubeconfig.into(),
            kubectl: "kubectl".into(),
            audit_log: None,
            node: true,
            node_reason: String::new(),
        });
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no cluster: in CI, stories are run by `cargo xtask test`, which starts one"
    );
    eprintln!("skipped: no cluster here; run `cargo xtask stories`, or name one with MANTLET_TEST_KUBECONFIG");
    None
}

/// Skips the story where there is no cluster.
#[macro_export]
macro_rules! need_bed {
    () => {
        match $crate::bed::bed() {
            Some(bed) => bed,
            None => return,
        }
    };
}
