//! `mantlet dev` in front of a cluster that is there already: that of the current kubeconfig.
//!
//! The gateway acts with that kubeconfig's own credential. The person at this machine is impersonated as whom the cluster takes that credential
//! for, so that they keep exactly the rights they have. Refuses a credential that may not impersonate: it says which rule to add.

use anyhow::{Context, Result, bail};
use mantlet_core::identity::NamedByCluster;
use mantlet_gateway::tasks::Tasks;
use mantlet_gateway::{Cluster, OwnCall};
use mantlet_kubeconfig::Source;
use serde_json::Value;

/// What the cluster says of the credential.
#[derive(Debug)]
pub struct Own {
    pub named: NamedByCluster,
    pub context: String,
    pub server: String,
    pub uid: String,
}

/// Asks the cluster who we are and whether we may impersonate ourselves.
pub async fn ask(source: &Source) -> Result<Own> {
    let credential = mantlet_kubeconfig::load(source.clone())
        .await
        .context("cannot use the current kubeconfig\nhint: name another with --kubeconfig, or bring a cluster along with --sandbox")?;
    let (context, server) = (credential.context().to_owned(), credential.server().to_string());
    let cluster = Cluster::new("dev", None, credential, &Tasks::default());
    let asked = |why| anyhow::anyhow!("the cluster at {server} does not answer: {why}");
    let review = cluster.own(OwnCall::SelfSubjectReview).await.map_err(asked)?;
    let named = NamedByCluster::of(&review)
        .context("the cluster does not say who you are (SelfSubjectReview, Kubernetes 1.28 or later)")?;
    let known = cluster
        .identify()
        .await
        .map_err(|why| anyhow::anyhow!("{why}"))?
        .uid
        .clone();
    may_impersonate(&cluster, &named).await?;
    Ok(Own {
        named,
        context,
        server,
        uid: known,
    })
}

/// Legacy impersonation asks for each name by itself (apiserver `pkg/endpoints/filters/impersonation`).
async fn may_impersonate(cluster: &Cluster, named: &NamedByCluster) -> Result<()> {
    let names = named.names();
    let mut wanted = vec![
        ("", "users", "", names.user.clone()),
        (
            "authentication.k8s.io",
            "userextras",
            "mantlet.dev/session",
            String::new(),
        ),
    ];
    wanted.extend(names.groups.iter().map(|group| ("", "groups", "", group.clone())));
    for (group, resource, subresource, name) in wanted {
        let call = OwnCall::SelfSubjectAccessReview {
            verb: "impersonate",
            group,
            resource,
            subresource,
            name,
        };
        let answer = cluster
            .own(call)
            .await
            .map_err(|why| anyhow::anyhow!("cannot ask whether the gateway may impersonate: {why}"))?;
        if answer.pointer("/status/allowed") != Some(&Value::Bool(true)) {
            bail!("{}", rule_to_add(&names.user, &names.groups));
        }
    }
    Ok(())
}

fn rule_to_add(user: &str, groups: &[String]) -> String {
    let list = |names: &[String]| serde_json::to_string(names).unwrap_or_default();
    format!(
        "`{user}` may not impersonate, and the gateway acts with your credential\n\
         hint: have an administrator bind this ClusterRole to you, or use --sandbox\n\
         apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRole\n\
         metadata: {{ name: mantlet-dev }}\n\
         rules:\n\
         - {{ apiGroups: [\"\"], resources: [users], verbs: [impersonate], resourceNames: {} }}\n\
         - {{ apiGroups: [\"\"], resources: [groups], verbs: [impersonate], resourceNames: {} }}\n\
         - {{ apiGroups: [authentication.k8s.io], resources: [userextras/mantlet.dev/session], verbs: [impersonate] }}",
        list(&[user.to_owned()]),
        list(groups),
    )
}

#[cfg(test)]
mod tests {
    use super::rule_to_add;

    #[test]
    fn the_rule_names_nobody_else() {
        let text = rule_to_add("ana", &["team".into()]);
        assert!(
            text.contains(r#"resources: [users], verbs: [impersonate], resourceNames: ["ana"]"#),
            "{text}"
        );
        assert!(
            text.contains(r#"resources: [groups], verbs: [impersonate], resourceNames: ["team"]"#),
            "{text}"
        );
    }
}
