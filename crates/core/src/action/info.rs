//! An action in the words of the API server's `RequestInfo`, to compare the two.

use serde_json::{Value, json};

use super::{Action, Method, ResourceRef, Sort, Target, Verb};

impl Action {
    /// `RequestInfo` (`k8s.io/apiserver` `pkg/endpoints/request/requestinfo.go`) with Go's field names, as the oracle prints it.
    ///
    /// The path is the decoded one without a trailing slash; connect verbs appear as the verb of their method.
    pub fn request_info(&self) -> Value {
        match &self.target {
            // `/apis/G/V` stops being a resource only after the prefix was taken off.
            Target::Path(path) => json!({
                "IsResourceRequest": false, "Path": path, "Verb": "get",
                "APIPrefix": if path.starts_with("/apis/") && path.split('/').count() > 3 { "apis" } else { "" }, "APIGroup": "", "APIVersion": "",
                "Namespace": "", "Resource": "", "Subresource": "", "Name": "", "Parts": null, "FieldSelector": "", "LabelSelector": "",
            }),
            Target::Resource(place) => self.resource_info(place),
        }
    }

    fn resource_info(&self, place: &ResourceRef) -> Value {
        let selects = matches!(self.verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
        let selector = |text: &str| if selects { text.to_owned() } else { String::new() };
        let parts = self.parts(place);
        json!({
            "IsResourceRequest": true,
            "Path": decoded_path(place, &parts),
            "Verb": self.authorized_as(),
            "APIPrefix": if place.group.is_empty() { "api" } else { "apis" },
            "APIGroup": place.group, "APIVersion": place.version,
            "Namespace": place.namespace, "Resource": place.resource, "Subresource": place.subresource, "Name": place.name,
            "Parts": parts,
            "FieldSelector": selector(&self.options.field_selector),
            "LabelSelector": selector(&self.options.label_selector),
        })
    }

    /// The verb that RBAC is asked for.
    pub fn authorized_as(&self) -> &'static str {
        match self.verb.sort() {
            Sort::Connects => match self.method {
                Method::Get => "get",
                Method::Post => "create",
                Method::Put => "update",
                Method::Patch => "patch",
                Method::Delete => "delete",
            },
            Sort::Reads | Sort::Stores | Sort::Deletes => self.verb.as_str(),
        }
    }

    fn parts<'a>(&'a self, place: &'a ResourceRef) -> Vec<&'a str> {
        let mut parts = vec![place.resource.as_str()];
        if self.name_in_path() {
            parts.extend(
                [place.name.as_str(), place.subresource.as_str()]
                    .into_iter()
                    .filter(|part| !part.is_empty()),
            );
            parts.extend(self.tail.iter().map(String::as_str));
        }
        parts
    }
}

fn decoded_path(place: &ResourceRef, parts: &[&str]) -> String {
    let mut path = if place.group.is_empty() {
        String::from("/api")
    } else {
        format!("/apis/{}", place.group)
    };
    let inside = !place.namespace.is_empty() && place.resource != "namespaces";
    let namespace = ["namespaces", place.namespace.as_str()].into_iter().filter(|_| inside);
    for part in [place.version.as_str()]
        .into_iter()
        .chain(namespace)
        .chain(parts.iter().copied())
    {
        path.push('/');
        path.push_str(part);
    }
    path
}
