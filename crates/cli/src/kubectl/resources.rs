//! What Kubernetes itself serves, by the names that people type. What a cluster serves besides is written out: `widgets.v1.example.com`.

/// One resource, as its API has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) kind: String,
    pub(super) namespaced: bool,
}

type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static [&'static str],
);

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const NETWORK: &str = "networking.k8s.io";
const STORAGE: &str = "storage.k8s.io";

/// Group, version, plural, kind, namespaced, short names: what `kubectl api-resources` prints for a cluster without extensions.
const BUILT_IN: &[Row] = &[
    (
        ADMISSION,
        "v1beta1",
        "mutatingadmissionpolicies",
        "MutatingAdmissionPolicy",
        false,
        &[],
    ),
    (
        ADMISSION,
        "v1beta1",
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        false,
        &[],
    ),
    (
        "certificates.k8s.io",
        "v1beta1",
        "clustertrustbundles",
        "ClusterTrustBundle",
        false,
        &[],
    ),
    (
        "certificates.k8s.io",
        "v1beta1",
        "podcertificaterequests",
        "PodCertificateRequest",
        true,
        &[],
    ),
    (
        "coordination.k8s.io",
        "v1beta1",
        "leasecandidates",
        "LeaseCandidate",
        true,
        &[],
    ),
    (NETWORK, "v1", "ipaddresses", "IPAddress", false, &["ip"]),
    (NETWORK, "v1", "servicecidrs", "ServiceCIDR", false, &[]),
    ("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", false, &[]),
    (
        "resource.k8s.io",
        "v1beta1",
        "devicetaintrules",
        "DeviceTaintRule",
        false,
        &[],
    ),
    ("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", true, &[]),
    (
        "resource.k8s.io",
        "v1",
        "resourceclaimtemplates",
        "ResourceClaimTemplate",
        true,
        &[],
    ),
    ("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", false, &[]),
    ("scheduling.k8s.io", "v1alpha1", "workloads", "Workload", true, &[]),
    (
        STORAGE,
        "v1",
        "volumeattributesclasses",
        "VolumeAttributesClass",
        false,
        &["vac"],
    ),
    ("", "v1", "bindings", "Binding", true, &[]),
    ("", "v1", "componentstatuses", "ComponentStatus", false, &["cs"]),
    ("", "v1", "configmaps", "ConfigMap", true, &["cm"]),
    ("", "v1", "endpoints", "Endpoints", true, &["ep"]),
    ("", "v1", "events", "Event", true, &["ev"]),
    ("", "v1", "limitranges", "LimitRange", true, &["limits"]),
    ("", "v1", "namespaces", "Namespace", false, &["ns"]),
    ("", "v1", "nodes", "Node", false, &["no"]),
    (
        "",
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        true,
        &["pvc"],
    ),
    ("", "v1", "persistentvolumes", "PersistentVolume", false, &["pv"]),
    ("", "v1", "pods", "Pod", true, &["po"]),
    ("", "v1", "podtemplates", "PodTemplate", true, &[]),
    (
        "",
        "v1",
        "replicationcontrollers",
        "ReplicationController",
        true,
        &["rc"],
    ),
    ("", "v1", "resourcequotas", "ResourceQuota", true, &["quota"]),
    ("", "v1", "secrets", "Secret", true, &[]),
    ("", "v1", "serviceaccounts", "ServiceAccount", true, &["sa"]),
    ("", "v1", "services", "Service", true, &["svc"]),
    (
        ADMISSION,
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        false,
        &[],
    ),
    (
        ADMISSION,
        "v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        false,
        &[],
    ),
    (
        ADMISSION,
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        false,
        &[],
    ),
    (
        ADMISSION,
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        false,
        &[],
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        false,
        &["crd", "crds"],
    ),
    ("apiregistration.k8s.io", "v1", "apiservices", "APIService", false, &[]),
    ("apps", "v1", "controllerrevisions", "ControllerRevision", true, &[]),
    ("apps", "v1", "daemonsets", "DaemonSet", true, &["ds"]),
    ("apps", "v1", "deployments", "Deployment", true, &["deploy"]),
    ("apps", "v1", "replicasets", "ReplicaSet", true, &["rs"]),
    ("apps", "v1", "statefulsets", "StatefulSet", true, &["sts"]),
    (
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        true,
        &["hpa"],
    ),
    ("batch", "v1", "cronjobs", "CronJob", true, &["cj"]),
    ("batch", "v1", "jobs", "Job", true, &[]),
    (
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        false,
        &["csr"],
    ),
    ("coordination.k8s.io", "v1", "leases", "Lease", true, &[]),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true, &[]),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "flowschemas",
        "FlowSchema",
        false,
        &[],
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        false,
        &[],
    ),
    ("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", false, &[]),
    ("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", true, &[]),
    ("events.k8s.io", "v1", "events", "Event", true, &[]),
    (NETWORK, "v1", "ingressclasses", "IngressClass", false, &[]),
    (NETWORK, "v1", "ingresses", "Ingress", true, &["ing"]),
    (NETWORK, "v1", "networkpolicies", "NetworkPolicy", true, &["netpol"]),
    ("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false, &[]),
    (
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        true,
        &["pdb"],
    ),
    (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", false, &[]),
    (RBAC, "v1", "clusterroles", "ClusterRole", false, &[]),
    (RBAC, "v1", "rolebindings", "RoleBinding", true, &[]),
    (RBAC, "v1", "roles", "Role", true, &[]),
    (
        "scheduling.k8s.io",
        "v1",
        "priorityclasses",
        "PriorityClass",
        false,
        &["pc"],
    ),
    (STORAGE, "v1", "csidrivers", "CSIDriver", false, &[]),
    (STORAGE, "v1", "csinodes", "CSINode", false, &[]),
    (STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity", true, &[]),
    (STORAGE, "v1", "storageclasses", "StorageClass", false, &["sc"]),
    (STORAGE, "v1", "volumeattachments", "VolumeAttachment", false, &[]),
    ("gate.mantlet.dev", "v1alpha1", "agents", "Agent", false, &[]),
    (
        "gate.mantlet.dev",
        "v1alpha1",
        "sessionevents",
        "SessionEvent",
        false,
        &["sev"],
    ),
    ("gate.mantlet.dev", "v1alpha1", "sessions", "Session", false, &["ses"]),
];

/// What kubectl calls `all` (the category of the built-in resources).
pub(super) const ALL: [&str; 9] = [
    "pods",
    "replicationcontrollers",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "horizontalpodautoscalers",
    "jobs",
];

/// As people type it: plural, singular, kind or short name, with a group or without; `NAME.VERSION.GROUP` for any other.
pub(super) fn named(typed: &str) -> Option<Resource> {
    let typed = typed.to_lowercase();
    let (word, rest) = typed.split_once('.').unwrap_or((&typed, ""));
    let built_in = BUILT_IN
        .iter()
        .find(|row| is(row, word) && belongs(row, rest))
        .map(resource);
    built_in.or_else(|| written_out(word, rest))
}

/// Of a manifest. A kind that is not built in has the plural that client-go would guess (`UnsafeGuessKindToResource`), and its object says
/// whether it lies in a namespace.
pub(super) fn of_kind(api_version: &str, kind: &str, has_namespace: bool) -> Resource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let built_in = BUILT_IN.iter().find(|row| row.0 == group && row.3 == kind);
    match built_in {
        Some(row) => Resource {
            version: version.to_owned(),
            ..resource(row)
        },
        None => Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural(&kind.to_lowercase()),
            kind: kind.to_owned(),
            namespaced: has_namespace,
        },
    }
}

/// Reviews and other kinds that can only be created.
const REVIEWS: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// Subresources that only some resources have; `status` and `scale` are not looked at, since any custom resource may have them.
const SUBRESOURCES: &[(&str, &[&str])] = &[
    ("approval", &["certificatesigningrequests"]),
    ("attach", &["pods"]),
    ("binding", &["pods"]),
    ("ephemeralcontainers", &["pods"]),
    ("eviction", &["pods"]),
    ("exec", &["pods"]),
    ("finalize", &["namespaces"]),
    ("log", &["pods"]),
    ("portforward", &["pods"]),
    ("proxy", &["nodes", "pods", "services"]),
    ("resize", &["pods"]),
    ("token", &["serviceaccounts"]),
];

pub(super) fn serves(group: &str, resource: &str, subresource: &str) -> Option<bool> {
    let all = BUILT_IN.iter().map(|row| (row.0, row.2)).chain(REVIEWS.iter().copied());
    let ours: Vec<&str> = all
        .filter(|(known, _)| *known == group)
        .map(|(_, plural)| plural)
        .collect();
    if ours.is_empty() || group == "gate.mantlet.dev" || group == "metrics.k8s.io" {
        return None;
    }
    let owners = SUBRESOURCES
        .iter()
        .find(|(name, _)| *name == subresource)
        .map(|(_, owners)| *owners);
    let has = owners.is_none_or(|owners| match resource {
        "*" => owners.iter().any(|owner| ours.contains(owner)),
        resource => owners.contains(&resource),
    });
    Some((resource == "*" || ours.contains(&resource)) && has)
}

fn is(row: &Row, word: &str) -> bool {
    row.2 == word || row.3.to_lowercase() == word || row.5.contains(&word)
}

/// Whether `rest` (`apps`, `v1.apps`, nothing) fits the row.
fn belongs(row: &Row, rest: &str) -> bool {
    rest.is_empty() || rest == row.0 || rest == format!("{}.{}", row.1, row.0)
}

fn resource(row: &Row) -> Resource {
    let (group, version, plural, kind, namespaced, _) = *row;
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        kind: kind.to_owned(),
        namespaced,
    }
}

fn written_out(word: &str, rest: &str) -> Option<Resource> {
    let (version, group) = rest.split_once('.')?;
    let is_version = version.starts_with('v') && version[1..].starts_with(|c: char| c.is_ascii_digit());
    is_version.then(|| Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: word.to_owned(),
        kind: String::new(),
        namespaced: true,
    })
}

fn plural(singular: &str) -> String {
    match singular {
        _ if singular.ends_with('s') => format!("{singular}es"),
        _ if singular.ends_with('y') => format!("{}ies", &singular[..singular.len() - 1]),
        _ => format!("{singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_found_by_every_name_that_kubectl_takes() {
        for typed in [
            "deploy",
            "deployment",
            "deployments",
            "Deployment",
            "deployments.apps",
            "deploy.v1.apps",
        ] {
            let found = named(typed).unwrap();
            assert_eq!(
                (found.group.as_str(), found.plural.as_str()),
                ("apps", "deployments"),
                "{typed}"
            );
        }
        assert_eq!(
            named("events.v1.apps"),
            Some(Resource {
                group: "apps".into(),
                version: "v1".into(),
                plural: "events".into(),
                kind: String::new(),
                namespaced: true
            })
        );
        assert_eq!(named("widgets"), None);
        assert_eq!(named("widgets.example.com"), None);
        assert_eq!(named("widgets.v1beta1.example.com").unwrap().group, "example.com");
        assert_eq!(of_kind("example.com/v1", "Policy", true).plural, "policies");
        assert!(!of_kind("rbac.authorization.k8s.io/v1", "ClusterRole", true).namespaced);
    }
}
