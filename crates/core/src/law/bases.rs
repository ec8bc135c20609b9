//! The base of a request's risk: how much harm a verb can do to a kind of resource, whatever the object says.
//!
//! One table, read from the top: the first row that fits decides. At thresholds of 50 and 90 a row of 50 and more waits for a human and one of
//! 90 and more is denied, whatever the rest of the score; rows below leave room for points and for the number of objects. Shown in
//! `docs/src/risk.md`, which a test compares with this file.
//! Deliberately not here: what depends on the content of an object. Policies add points for that.

use crate::action::{ResourceRef, Verb};

use Verb::{Attach, Create, Delete, DeleteCollection, Exec, Get, List, Patch, PortForward, Proxy, Update, Watch};

/// What is risked without looking at the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) points: u8,
    /// What such a request does, as a clause: "it changes who may do what".
    pub(super) because: &'static str,
}

struct Row {
    verbs: &'static [Verb],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    place: Place,
    base: Base,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// What keeps the cluster itself running.
    System,
}

const fn row(
    verbs: &'static [Verb],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    points: u8,
    because: &'static str,
) -> Row {
    let base = Base { points, because };
    Row {
        verbs,
        groups,
        resources,
        place: Place::Anywhere,
        base,
    }
}

const fn system(verbs: &'static [Verb], points: u8, because: &'static str) -> Row {
    let base = Base { points, because };
    Row {
        verbs,
        groups: ANY,
        resources: &["*/*"],
        place: Place::System,
        base,
    }
}

const READS: &[Verb] = &[Get, List, Watch];
const STORES: &[Verb] = &[Create, Update, Patch];
const CHANGES: &[Verb] = &[Create, Update, Patch, Delete, DeleteCollection];
const DELETES: &[Verb] = &[Delete, DeleteCollection];
const CONNECTS: &[Verb] = &[Exec, Attach, PortForward, Proxy];
const EVERYTHING: &[Verb] = &[
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Exec,
    Attach,
    PortForward,
    Proxy,
];

const ANY: &[&str] = &["*"];
const CORE: &[&str] = &[""];
/// Groups that Kubernetes itself serves and whose kinds are about workloads of one namespace.
const WORKLOADS: &[&str] = &["apps", "batch"];
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// `resource`, `resource/subresource`, with `*` for either; a resource alone is the object itself, none of its subresources.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Credentials, and ways around whoever judges.
    row(EVERYTHING, CORE, &["serviceaccounts/token"], 90, "it makes a credential"),
    row(CHANGES, &["certificates.k8s.io"], &["*/*"], 90, "it makes or approves a credential"),
    row(&[Proxy], ANY, &["*/*"], 90, "it goes past every rule about what is behind a proxy"),
    row(CHANGES, CORE, &["nodes/*"], 70, "it changes a node"),
    row(DELETES, CORE, &["nodes"], 80, "it takes a node out of the cluster"),
    row(STORES, CORE, &["nodes"], 60, "it changes a node"),
    // Who may do what, and who decides about everybody's requests.
    row(CHANGES, &["rbac.authorization.k8s.io"], &["clusterroles", "clusterrolebindings"], 70, "it changes who may do what in the whole cluster"),
    row(CHANGES, &["rbac.authorization.k8s.io"], &["*/*"], 60, "it changes who may do what"),
    row(CHANGES, &["admissionregistration.k8s.io", "apiregistration.k8s.io"], &["*/*"], 80, "it decides about everybody's requests"),
    row(DELETES, &["apiextensions.k8s.io"], &["*/*"], 80, "it deletes every object of a kind"),
    row(STORES, &["apiextensions.k8s.io"], &["*/*"], 60, "it changes which kinds of objects there are"),
    // The cluster itself.
    system(CHANGES, 70, "it changes what keeps the cluster running"),
    system(CONNECTS, 90, "it enters what keeps the cluster running"),
    row(DELETES, CORE, &["namespaces"], 80, "it deletes a namespace and everything in it"),
    row(CHANGES, CORE, &["namespaces/*"], 80, "it ends a namespace whatever is still in it"),
    row(STORES, CORE, &["namespaces"], 50, "it changes the rules of a namespace"),
    row(CHANGES, CORE, &["persistentvolumes", "persistentvolumes/*"], 70, "it changes where data lies"),
    row(CHANGES, &["storage.k8s.io", "snapshot.storage.k8s.io"], &["*/*"], 60, "it changes where data lies"),
    row(CHANGES, &["scheduling.k8s.io", "node.k8s.io", "flowcontrol.apiserver.k8s.io"], &["*/*"], 60, "it changes what runs first, and how"),
    row(CHANGES, CORE, &["resourcequotas", "limitranges", "resourcequotas/*"], 50, "it changes how much may be used"),
    row(CHANGES, &["resource.k8s.io"], &["*/*"], 50, "it hands out devices"),
    // Into pods.
    row(&[Exec, Attach], CORE, &["pods/*"], 50, "it can do everything that the pod can"),
    row(&[PortForward], CORE, &["pods/*"], 50, "it reaches what only the pod's network reaches"),
    row(CONNECTS, ANY, &["*/*"], 90, "it opens a connection that nobody knows"),
    row(CHANGES, CORE, &["pods/ephemeralcontainers"], 60, "it runs code in a pod that is there"),
    row(CHANGES, CORE, &["pods/binding", "bindings"], 60, "it chooses the node of a pod"),
    row(STORES, CORE, &["pods/eviction"], 20, "it ends a pod"),
    // Many at once.
    row(&[DeleteCollection], ANY, &["*/*"], 60, "it deletes many objects in one request"),
    // Secrets.
    row(&[Get], CORE, &["secrets"], 10, "it reads a Secret"),
    row(&[List, Watch], CORE, &["secrets"], 20, "it reads Secrets"),
    row(STORES, CORE, &["secrets"], 20, "it changes a Secret"),
    row(&[Delete], CORE, &["secrets"], 30, "it deletes a Secret"),
    row(STORES, CORE, &["serviceaccounts"], 30, "it changes an identity of workloads"),
    row(&[Delete], CORE, &["serviceaccounts"], 30, "it deletes an identity of workloads"),
    row(&[Get], CORE, &["pods/log"], 10, "it reads what a pod wrote"),
    row(READS, ANY, &["*/*"], 0, "it reads"),
    // The everyday work in a namespace.
    row(&[Delete], CORE, &["persistentvolumeclaims"], 40, "it deletes data"),
    row(STORES, CORE, &["persistentvolumeclaims", "persistentvolumeclaims/*"], 10, "it changes a claim to data"),
    row(STORES, CORE, &["endpoints"], 50, "it sends traffic elsewhere"),
    row(STORES, &["discovery.k8s.io"], &["*/*"], 50, "it sends traffic elsewhere"),
    row(STORES, &["networking.k8s.io"], &["networkpolicies"], 30, "it changes who reaches whom"),
    row(&[Delete], &["networking.k8s.io"], &["networkpolicies"], 40, "it changes who reaches whom"),
    row(CHANGES, &["networking.k8s.io"], &["ingressclasses", "ipaddresses", "servicecidrs"], 60, "it changes how the cluster is reached"),
    row(CHANGES, &["networking.k8s.io"], &["*/*"], 20, "it changes how something is reached from outside"),
    row(STORES, CORE, &["services", "services/*"], 10, "it changes how something is reached"),
    row(STORES, CORE, &["pods", "pods/*"], 20, "it changes a pod"),
    row(STORES, CORE, &["replicationcontrollers", "replicationcontrollers/*", "podtemplates"], 10, "it changes a workload"),
    row(STORES, &["apps"], &["daemonsets", "daemonsets/*"], 20, "it changes a workload on every node"),
    row(STORES, WORKLOADS, &["*/*"], 10, "it changes a workload"),
    row(CHANGES, &["policy", "autoscaling"], &["*/*"], 20, "it changes how many pods there are"),
    row(CHANGES, &["coordination.k8s.io"], &["*/*"], 20, "it changes who leads"),
    row(STORES, &["events.k8s.io"], &["*/*"], 0, "it writes an event"),
    row(STORES, CORE, &["events"], 0, "it writes an event"),
    row(STORES, CORE, &["configmaps"], 10, "it changes configuration"),
    row(&[Create], &["authorization.k8s.io", "authentication.k8s.io"], &["*/*"], 20, "it asks what others may do"),
    row(&[Delete], CORE, &["*/*"], 10, "it deletes an object"),
    row(&[Delete], &["apps", "batch", "discovery.k8s.io", "events.k8s.io"], &["*/*"], 10, "it deletes an object"),
    // What nobody here knows: an operator may act on it with rights of its own.
    row(EVERYTHING, ANY, &["*/*"], 50, "it changes a kind of object whose effects this gateway does not know"),
];

/// The base of one request. What no row fits has the highest; the last row fits everything.
pub(super) fn base(verb: Verb, resource: &ResourceRef) -> Base {
    let unknown = Base {
        points: 100,
        because: "nothing is known about what it does",
    };
    TABLE
        .iter()
        .find(|row| row.fits(verb, resource))
        .map_or(unknown, |row| row.base)
}

impl Row {
    fn fits(&self, verb: Verb, resource: &ResourceRef) -> bool {
        self.verbs.contains(&verb)
            && self.groups.iter().any(|g| *g == "*" || *g == resource.group)
            && self.resources.iter().any(|pattern| fits(pattern, resource))
            && match self.place {
                Place::Anywhere => true,
                Place::System => SYSTEM_NAMESPACES.contains(&resource.namespace.as_str()),
            }
    }
}

fn fits(pattern: &str, resource: &ResourceRef) -> bool {
    match pattern.split_once('/') {
        None => pattern == resource.resource && resource.subresource.is_empty(),
        Some((name, "*")) => name == "*" || (name == resource.resource && !resource.subresource.is_empty()),
        Some((name, sub)) => name == resource.resource && sub == resource.subresource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(text: &str) -> (Verb, ResourceRef) {
        let words: Vec<_> = text.split(' ').collect();
        let verb = *EVERYTHING
            .iter()
            .find(|v| v.as_str() == words[0])
            .unwrap_or_else(|| panic!("{text}"));
        let (path, group) = words[1].split_once('.').unwrap_or((words[1], ""));
        let (group, subresource) = group.split_once('/').unwrap_or((group, ""));
        let (resource, subresource) = path.split_once('/').unwrap_or((path, subresource));
        let resource = ResourceRef {
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: words.get(2).copied().unwrap_or_default().to_owned(),
            ..ResourceRef::default()
        };
        (verb, resource)
    }

    #[test]
    fn the_first_row_that_fits_decides() {
        for (request, points) in [
            ("get pods shop", 0),
            ("list secrets shop", 20),
            ("get secrets shop", 10),
            ("create deployments.apps shop", 10),
            ("patch deployments.apps/scale shop", 10),
            ("create deployments.apps kube-system", 70),
            ("exec pods/exec shop", 50),
            ("exec pods/exec kube-system", 90),
            ("create serviceaccounts/token shop", 90),
            ("proxy services/proxy shop", 90),
            ("create rolebindings.rbac.authorization.k8s.io shop", 60),
            ("create clusterrolebindings.rbac.authorization.k8s.io", 70),
            ("delete namespaces", 80),
            ("update namespaces/finalize", 80),
            ("deletecollection configmaps shop", 60),
            ("create widgets.example.com shop", 50),
            ("get widgets.example.com shop", 0),
            ("delete widgets.example.com shop", 50),
            ("create pods/eviction shop", 20),
            ("delete customresourcedefinitions.apiextensions.k8s.io", 80),
        ] {
            let (verb, resource) = about(request);
            assert_eq!(base(verb, &resource).points, points, "{request}");
        }
    }

    /// What someone who deploys does all day stays below 50 by itself, and leaves room for at least eight objects.
    #[test]
    fn the_everyday_work_of_a_deployer_leaves_room() {
        let kinds = [
            "configmaps",
            "services",
            "deployments.apps",
            "statefulsets.apps",
            "jobs.batch",
            "cronjobs.batch",
        ];
        let mut requests = Vec::new();
        for kind in kinds {
            requests.extend(["create", "update", "patch", "delete"].map(|verb| (format!("{verb} {kind} shop"), 10)));
        }
        for (request, most) in [
            ("delete pods shop", 10),
            ("patch deployments.apps/scale shop", 10),
            ("update replicasets.apps shop", 10),
            ("create secrets shop", 20),
            ("patch secrets shop", 20),
            ("delete secrets shop", 30),
            ("list secrets shop", 20),
            ("create ingresses.networking.k8s.io shop", 20),
            ("create horizontalpodautoscalers.autoscaling shop", 20),
            ("create poddisruptionbudgets.policy shop", 20),
            ("create serviceaccounts shop", 30),
            ("delete serviceaccounts shop", 30),
            ("create persistentvolumeclaims shop", 10),
            ("delete persistentvolumeclaims shop", 40),
            ("get pods/log shop", 10),
        ] {
            requests.push((request.to_owned(), most));
        }
        for (request, most) in requests {
            let (verb, resource) = about(&request);
            assert!(
                base(verb, &resource).points <= most,
                "{request}: {:?}",
                base(verb, &resource)
            );
        }
    }

    #[test]
    fn every_row_can_be_reached_and_the_last_fits_everything() {
        let last = TABLE.last().unwrap();
        assert_eq!(
            (last.verbs, last.groups, last.resources, last.place),
            (EVERYTHING, ANY, &["*/*"][..], Place::Anywhere)
        );
        for (at, row) in TABLE.iter().enumerate() {
            let namespace = if row.place == Place::System {
                "kube-system"
            } else {
                "shop"
            };
            let word = |text: &str, any: &str| if text == "*" { any.to_owned() } else { text.to_owned() };
            let reached = row.verbs.iter().any(|verb| {
                row.groups.iter().any(|group| {
                    row.resources.iter().any(|pattern| {
                        let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
                        let resource = ResourceRef {
                            group: word(group, "example.com"),
                            resource: word(resource, "widgets"),
                            subresource: if resource == "*" {
                                String::new()
                            } else {
                                word(sub, "other")
                            },
                            namespace: namespace.to_owned(),
                            ..ResourceRef::default()
                        };
                        TABLE.iter().position(|row| row.fits(*verb, &resource)) == Some(at)
                    })
                })
            });
            assert!(
                reached,
                "row {at} ({}) stands behind rows that take all of it",
                row.base.because
            );
        }
    }

    /// `MANTLET_BLESS=1` writes it anew.
    #[test]
    fn the_table_in_the_documents_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/risk.md");
        let page = std::fs::read_to_string(path).unwrap();
        let mark = "<!-- bases -->\n";
        let (before, written) = page.split_once(mark).expect("the page has a place for the table");
        let mut table = String::from("\n| base | verbs | groups | resources | because |\n|---|---|---|---|---|\n");
        table.extend(TABLE.iter().map(described));
        if std::env::var_os("MANTLET_BLESS").is_some() {
            std::fs::write(path, format!("{before}{mark}{table}")).unwrap();
        } else {
            assert_eq!(
                written, table,
                "to write it anew: MANTLET_BLESS=1 cargo test -p mantlet-core --lib bases"
            );
        }
    }

    fn described(row: &Row) -> String {
        let verbs = match row.verbs {
            verbs if verbs == EVERYTHING => String::from("all"),
            verbs => verbs.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
        };
        let code = |words: &[&str]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
        let groups = match row.groups {
            [""] => String::from("core"),
            groups => code(groups),
        };
        let place = match row.place {
            Place::Anywhere => String::new(),
            Place::System => format!(" in {}", code(&SYSTEM_NAMESPACES)),
        };
        let (base, resources) = (row.base, code(row.resources));
        format!(
            "| {} | {verbs} | {groups} | {resources}{place} | {} |\n",
            base.points, base.because
        )
    }
}
