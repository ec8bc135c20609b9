//! Who plays in the story of `mantlet dev`: identities of the local issuers, and what each may try.

use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::issuer::Identity;
use mantlet_core::identity::Population;

/// One identity, as kept in `cast.json` for `mantlet dev token NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    pub name: String,
    pub population: Population,
    pub groups: Vec<String>,
    /// Its kubeconfig's namespace.
    pub namespace: String,
    /// Who that is, in one line.
    pub line: String,
    /// Commands to try, and what they do.
    pub tries: Vec<(String, String)>,
}

impl Player {
    pub fn identity(&self) -> Identity {
        Identity {
            subject: self.name.clone(),
            groups: self.groups.clone(),
            claims: Map::new(),
        }
    }

    fn new(
        name: &str,
        population: Population,
        groups: &[&str],
        namespace: &str,
        line: &str,
        tries: &[(&str, &str)],
    ) -> Self {
        Self {
            name: name.into(),
            population,
            groups: groups.iter().map(|g| (*g).into()).collect(),
            namespace: namespace.into(),
            line: line.into(),
            tries: tries.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
        }
    }
}

/// The sandbox's four. `node` tells whether pods run there.
pub fn sandbox(node: bool) -> Vec<Player> {
    let (look, sees) = match node {
        true => ("kubectl logs web", "what the pod in its own namespace prints"),
        false => ("kubectl get configmap shop -o yaml", "an object of its own namespace"),
    };
    vec![
        Player::new(
            "coder",
            Population::Agents,
            &[],
            "test",
            "an AI agent that may work in namespace test, as its own ServiceAccount mantlet-agents/coder",
            &[
                (look, sees),
                (
                    "kubectl create configmap note --from-literal=by=coder",
                    "works: it is in scope (a second time: already exists, the cluster's own word)",
                ),
                ("kubectl get secret db -o yaml", "the Secret, its values masked"),
                (
                    "kubectl get pods --all-namespaces",
                    "refused (PolicyDenied): outside its scope",
                ),
                (
                    "kubectl create rolebinding me --clusterrole=cluster-admin --serviceaccount=test:default",
                    "refused: changing RBAC needs human approval",
                ),
            ],
        ),
        Player::new(
            "developer",
            Population::People,
            &["team-test"],
            "test",
            "a person with edit in namespace test, owner of the agent",
            &[
                ("kubectl get pods,configmaps", "what is in namespace test"),
                (
                    "kubectl create configmap mine --from-literal=a=1 --dry-run=server -o yaml",
                    "what the cluster would store",
                ),
                (
                    "kubectl get secret db -o jsonpath='{.data.password}'",
                    "a placeholder: values are masked for people too",
                ),
                (
                    "kubectl get pods -n prod",
                    "refused (Forbidden) by the cluster's own RBAC",
                ),
                ("kubectl get sessions", "their own sessions, no others"),
            ],
        ),
        Player::new(
            "approver",
            Population::People,
            &["sre"],
            "test",
            "a person in group sre, who may see what everybody did",
            &[
                (
                    "kubectl get sessions",
                    "the sessions of everybody, with requests and refusals",
                ),
                ("kubectl get sessionevents", "each request: who, what, decision, rule"),
                (
                    "kubectl get sessions --watch",
                    "the same as it changes (end it with Ctrl-C)",
                ),
                ("kubectl get pods -n prod", "reading is allowed everywhere"),
                (
                    "kubectl delete configmap shop",
                    "refused (Forbidden) by the cluster's own RBAC: sre may only read",
                ),
            ],
        ),
        Player::new(
            ADMIN,
            Population::People,
            &[],
            "default",
            "cluster-admin, whom no shipped policy names; operator and auditor of the gateway",
            &[
                ("kubectl get nodes", "whatever RBAC allows"),
                ("kubectl create namespace scratch --dry-run=server", "works"),
                (
                    "kubectl get agents",
                    "who may act; `mantlet agent suspend coder` would stop it at once",
                ),
                (
                    "kubectl create token coder -n mantlet-agents",
                    "refused: nobody gets at an agent's own account, admins neither",
                ),
                (
                    "kubectl delete namespace mantlet-agents",
                    "refused (PolicyDenied): the gateway protects itself",
                ),
            ],
        ),
    ]
}

/// The subject of whom the sandbox's cluster lets do everything.
pub const ADMIN: &str = "admin";

/// The subject of the person at this machine.
pub const YOU: &str = "you";

/// An agent of somebody's own policies.
pub fn agent(name: &str) -> Player {
    let tries = [
        ("kubectl auth whoami", "as whom the cluster sees it"),
        ("kubectl get sessions", "its own session"),
    ];
    Player::new(
        name,
        Population::Agents,
        &[],
        "default",
        "an agent of your policies, as its ServiceAccount",
        &tries,
    )
}

/// The person at this machine, in front of a cluster of their own.
pub fn alone(namespace: &str) -> Vec<Player> {
    vec![Player::new(
        YOU,
        Population::People,
        &[],
        namespace,
        "you, as the cluster knows you from your kubeconfig; policies warn you, they do not stop you",
        &[
            ("kubectl auth whoami", "the user and groups of your own kubeconfig"),
            ("kubectl get pods", "as always"),
            ("kubectl get secrets -o yaml", "your Secrets, their values masked"),
            ("kubectl get sessions", "your session"),
            ("kubectl get sessionevents", "each request of it"),
        ],
    )]
}
