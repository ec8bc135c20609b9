//! A namespace of a story's own, gone when the story is.

use std::path::Path;

use crate::Bed;
use crate::kubectl;

#[derive(Debug)]
pub struct Room {
    pub namespace: String,
    bed: Bed,
}

impl Room {
    /// A namespace in which `user` may do what the ClusterRole `edit` allows.
    pub fn open(bed: &Bed, name: &str, user: &str) -> Self {
        let namespace = format!("{name}-{}", std::process::id());
        let room = Self {
            namespace: namespace.clone(),
            bed: bed.clone(),
        };
        room.bare(&format!(
            "kubectl create namespace {namespace} && kubectl -n {namespace} create rolebinding story --clusterrole=edit --user={user}"
        ))
        .ok();
        room
    }

    /// kubectl as the bed's administrator.
    pub fn bare(&self, line: &str) -> kubectl::Said {
        kubectl::bash(&self.bed, &self.bed.kubeconfig, Path::new("/tmp"), line)
    }

    /// The path of a namespaced resource of the core group.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bare(&format!("kubectl delete namespace {} --wait=false", self.namespace));
    }
}
