//! What a kubectl command line would ask of an API server, without asking anything.
//!
//! In: the words of a command, the namespace that it would use, a way to read the files that it names. Out: the requests, in order.
//! Refuses, by name: commands, flags and resources that it does not understand, and what only the cluster could tell (which pod a Deployment's
//! logs come from, what an undo restores). Where kubectl lists first and acts on each, the act stands once, for an object named [`EACH`].

mod flags;
mod resources;

use serde_json::{Map, Value, json};

use flags::Words;
use resources::Resource;

/// Stands for the name of every object that a list before it would bring.
pub const EACH: &str = "each-of-them";

/// One request, as it would arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub method: &'static str,
    /// Path and query.
    pub uri: String,
    pub content_type: Option<&'static str>,
    pub body: Option<Value>,
    /// Whether the connection would leave HTTP.
    pub upgrade: bool,
    /// What is to be known about it, for people.
    pub note: Option<&'static str>,
}

/// Where a command is typed.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Without `-n`.
    pub namespace: &'a str,
    /// The text of a file, or why it cannot be read.
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// The requests of `kubectl WORDS…`; the error says which word stands in the way.
pub fn requests(line: &[String], place: Place<'_>) -> Result<Vec<Asked>, String> {
    let words = Words::sort(line)?;
    let mut reading = Reading {
        namespace: words.value("namespace").unwrap_or(place.namespace).to_owned(),
        words: &words,
        place,
        asked: Vec::new(),
    };
    reading.command()?;
    Ok(reading.asked)
}

/// The requests that store each object of a manifest, or delete them: `create`, `apply`, `replace` (`update`), `delete`.
pub fn of_manifest(verb: &str, text: &str, namespace: &str) -> Result<Vec<Asked>, String> {
    let verb = if verb == "update" { "replace" } else { verb };
    if !matches!(verb, "create" | "apply" | "replace" | "delete") {
        return Err(format!(
            "`{verb}` is nothing to do with a manifest: create, apply, update or delete"
        ));
    }
    let mut words = Words::only(verb);
    // A manifest by itself is applied as the server does it: one request, whatever is there.
    words.stand("server-side");
    let read = |_: &str| Ok(text.to_owned());
    let mut reading = Reading {
        namespace: namespace.to_owned(),
        words: &words,
        place: Place { namespace, read: &read },
        asked: Vec::new(),
    };
    reading.each_in("manifest", verb)?;
    Ok(reading.asked)
}

/// One operation, by hand, in the words of a policy: `exec` on `pods`, `create` on `serviceaccounts/token`.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    pub verb: &'a str,
    /// As kubectl takes it, with a subresource behind a slash.
    pub resource: &'a str,
    /// Empty: none, or all of them.
    pub namespace: &'a str,
    pub name: &'a str,
    pub body: Option<&'a Value>,
}

/// The request of an operation.
pub fn of_operation(operation: Operation<'_>) -> Result<Asked, String> {
    let Operation {
        verb,
        resource,
        namespace,
        name,
        body,
    } = operation;
    let (typed, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let resource = found(typed)?;
    let subresource = match verb {
        "exec" | "attach" | "portforward" | "proxy" if subresource.is_empty() => verb,
        _ => subresource,
    };
    let single = match subresource {
        "" => path(&resource, namespace, name),
        subresource => format!("{}/{subresource}", path(&resource, namespace, name)),
    };
    let collection = path(&resource, namespace, "");
    let sent = |method, uri, content_type| Asked {
        content_type: body.map(|_| content_type),
        body: body.cloned(),
        ..asked(method, uri)
    };
    let named = |wanted: bool| match name.is_empty() != wanted {
        true => Ok(()),
        false if wanted => Err(format!("`{verb}` wants the `name` of one of {}", resource.plural)),
        false => Err(format!("`{verb}` is about all of them and wants no `name`")),
    };
    let json = "application/json";
    match verb {
        "get" => named(true).map(|()| asked("GET", single)),
        "list" => named(false).map(|()| asked("GET", collection)),
        "watch" => named(false).map(|()| asked("GET", with(&collection, "watch", "true"))),
        "create" if !subresource.is_empty() => named(true).map(|()| sent("POST", single, json)),
        "create" => {
            let version = match resource.group.as_str() {
                "" => resource.version.clone(),
                group => format!("{group}/{}", resource.version),
            };
            let bare = json!({"apiVersion": version, "kind": resource.kind, "metadata": {"name": name}});
            Ok(post(collection, body.cloned().unwrap_or(bare)))
        }
        "update" => named(true).map(|()| sent("PUT", single, json)),
        "patch" => named(true).map(|()| sent("PATCH", single, "application/merge-patch+json")),
        "delete" => named(true).map(|()| sent("DELETE", single, json)),
        "deletecollection" => named(false).map(|()| sent("DELETE", collection, json)),
        "exec" | "attach" | "portforward" => named(true).map(|()| Asked {
            upgrade: true,
            ..asked("GET", single)
        }),
        "proxy" => named(true).map(|()| asked("GET", single)),
        other => Err(format!("`{other}` is no verb of a policy")),
    }
}

/// Whether a group of Kubernetes itself serves a resource (`pods`, `pods/exec`, `*`); none for groups that are not its own.
pub fn serves(group: &str, resource: &str) -> Option<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    resources::serves(group, resource, subresource)
}

/// A command being read.
struct Reading<'a> {
    namespace: String,
    words: &'a Words,
    place: Place<'a>,
    asked: Vec<Asked>,
}

type Done = Result<(), String>;

impl Reading<'_> {
    fn command(&mut self) -> Done {
        if self.words.value("kustomize").is_some() {
            return Err(String::from(
                "`-k` builds the manifest first: kubectl kustomize FOLDER > FILE, then explain it with -f FILE",
            ));
        }
        match self.words.verb.as_str() {
            "get" | "events" => self.get(),
            "describe" => self.describe(),
            "delete" => self.delete(),
            "create" => self.create(),
            "apply" | "replace" => self.each_named(self.words.verb.clone().as_str()),
            "patch" => self.patch(),
            "scale" => self.scale(),
            "label" | "annotate" => self.label(),
            "set" => self.set_image(),
            "rollout" => self.rollout(),
            "run" => self.run(),
            "exec" => self.exec(),
            "attach" => self.attach(),
            "cp" => self.copy(),
            "logs" => self.logs(),
            "port-forward" => self.port_forward(),
            "drain" => self.drain(),
            "cordon" | "uncordon" => self.cordon(),
            "taint" => self.taint(),
            "debug" => self.debug(),
            "wait" => self.wait(),
            "top" => self.top(),
            "auth" => self.auth(),
            "api-resources" | "api-versions" | "cluster-info" => self.push(read("/apis")),
            "version" => self.push(read("/version")),
            "explain" => self.push(read("/openapi/v3")),
            "" => Err(String::from(
                "there is no command; write it behind `--`: -- kubectl get pods",
            )),
            "config" | "completion" | "help" | "options" | "plugin" | "kustomize" => {
                Err(format!("`kubectl {}` asks nothing of a cluster", self.words.verb))
            }
            "edit" => Err(String::from(
                "what an editor would make of the object is not known; explain the patch, or the file with `apply`",
            )),
            other => Err(format!("`kubectl {other}` is not understood")),
        }
    }

    fn push(&mut self, asked: Asked) -> Done {
        self.asked.push(asked);
        Ok(())
    }

    /// `--dry-run=client` sends nothing of this; `--dry-run=server` says so to the server.
    fn change(&mut self, mut asked: Asked) -> Done {
        match self.words.value("dry-run") {
            Some("client" | "true") => return Ok(()),
            Some("server") => asked.uri = with(&asked.uri, "dryRun", "All"),
            Some("none") | None => {}
            Some(other) => return Err(format!("`--dry-run={other}` is none of client, server, none")),
        }
        self.push(asked)
    }

    fn get(&mut self) -> Done {
        if let Some(path) = self.words.value("raw") {
            let path = path.to_owned();
            return self.push(read(&path));
        }
        if self.words.value("filename").is_some() {
            return self.each_named("get");
        }
        let arguments = match self.words.verb.as_str() {
            "events" => vec![String::from("events")],
            _ => self.words.arguments.clone(),
        };
        for (resource, names) in self.targets(&arguments)? {
            if names.is_empty() {
                self.list(&resource)?;
                continue;
            }
            for name in names {
                self.read_one(&resource, &name)?;
                if self.words.has("watch") {
                    let query = [
                        ("fieldSelector", format!("metadata.name={name}")),
                        ("watch", String::from("true")),
                    ];
                    self.push(read(&uri(&self.collection(&resource), &query)))?;
                }
            }
        }
        Ok(())
    }

    fn read_one(&mut self, resource: &Resource, name: &str) -> Done {
        let path = self.object(resource, name);
        self.push(read(&path))
    }

    fn list(&mut self, resource: &Resource) -> Done {
        let mut query = self.selectors();
        self.push(read(&uri(&self.collection(resource), &query)))?;
        if self.words.has("watch") || self.words.has("watch-only") {
            query.push(("watch", String::from("true")));
            self.push(read(&uri(&self.collection(resource), &query)))?;
        }
        Ok(())
    }

    fn selectors(&self) -> Vec<(&'static str, String)> {
        let flags = [("fieldSelector", "field-selector"), ("labelSelector", "selector")];
        flags
            .into_iter()
            .filter_map(|(key, flag)| Some((key, self.words.value(flag)?.to_owned())))
            .collect()
    }

    fn describe(&mut self) -> Done {
        for (resource, names) in self.targets(&self.words.arguments.clone())? {
            if names.is_empty() {
                self.list(&resource)?;
            }
            for name in names {
                self.read_one(&resource, &name)?;
            }
            let events = found("events")?;
            let path = self.collection(&events);
            self.push(read(&path))?;
        }
        Ok(())
    }

    fn delete(&mut self) -> Done {
        if let Some(path) = self.words.value("raw") {
            let path = path.to_owned();
            return self.change(asked("DELETE", path));
        }
        if self.words.value("filename").is_some() {
            return self.each_named("delete");
        }
        let all = self.words.has("all")
            || self.words.value("selector").is_some()
            || self.words.value("field-selector").is_some();
        for (resource, names) in self.targets(&self.words.arguments.clone())? {
            if names.is_empty() && !all {
                return Err(format!("`delete {}` says neither which nor `--all`", resource.plural));
            }
            if names.is_empty() {
                self.list(&resource)?;
                let removal = self.removal(&resource, EACH);
                self.change(Asked {
                    note: Some("once for each object that the list brings"),
                    ..removal
                })?;
            }
            for name in names {
                let removal = self.removal(&resource, &name);
                self.change(removal)?;
            }
        }
        Ok(())
    }

    /// kubectl sends its options as a body.
    fn removal(&self, resource: &Resource, name: &str) -> Asked {
        let policy = match self.words.value("cascade") {
            Some("orphan" | "false") => "Orphan",
            Some("foreground") => "Foreground",
            Some(_) | None => "Background",
        };
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        let grace = if self.words.has("now") {
            Some("1")
        } else {
            self.words.value("grace-period")
        };
        let force = self.words.has("force").then_some(0);
        if let Some(seconds) = grace
            .and_then(|text| text.parse::<i64>().ok())
            .filter(|seconds| *seconds >= 0)
            .or(force)
        {
            options["gracePeriodSeconds"] = seconds.into();
        }
        Asked {
            content_type: Some("application/json"),
            body: Some(options),
            ..asked("DELETE", self.object(resource, name))
        }
    }

    fn create(&mut self) -> Done {
        if self.words.value("filename").is_some() {
            return self.each_named("create");
        }
        let mut arguments = self.words.arguments.iter().map(String::as_str);
        let what = arguments.next().unwrap_or_default().to_owned();
        let rest: Vec<&str> = arguments.collect();
        if what == "token" {
            let [account] = rest.as_slice() else {
                return Err(String::from("`create token` wants the name of one ServiceAccount"));
            };
            let path = format!("{}/token", self.object(&found("serviceaccounts")?, account));
            let body = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"audiences": self.words.values("audience")}});
            return self.change(post(path, body));
        }
        let (kind, name) = match rest.as_slice() {
            [name] => (what.as_str(), *name),
            [kind, name] if what == "secret" => (*kind, *name),
            _ => {
                return Err(format!(
                    "`create {what}` is not understood; explain its manifest: kubectl create {what} … --dry-run=client -o yaml > FILE"
                ));
            }
        };
        let object = self.made(&what, kind, name)?;
        self.store("create", &object)
    }

    /// The object that a generator of `kubectl create` makes.
    fn made(&self, what: &str, kind: &str, name: &str) -> Result<Value, String> {
        let words = self.words;
        let literals = || -> Map<String, Value> {
            let pairs = words
                .whole("from-literal")
                .into_iter()
                .filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.into())).collect()
        };
        let metadata = json!({"name": name});
        let object = match what {
            "namespace" | "ns" => json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
            "serviceaccount" | "sa" => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
            "configmap" | "cm" => {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": literals()})
            }
            "secret" if kind == "generic" => {
                let kind = words.value("type").unwrap_or("Opaque");
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": literals()})
            }
            "deployment" | "deploy" => {
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
                "replicas": number(words.value("replicas"))?.unwrap_or(1), "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": self.containers(name)}}})
            }
            "job" if words.value("from").is_none() => {
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {
                "template": {"spec": merged(self.containers(name), json!({"restartPolicy": "Never"}))}}})
            }
            "role" | "clusterrole" => {
                let kind = if what == "role" { "Role" } else { "ClusterRole" };
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": self.rules()?})
            }
            "rolebinding" | "clusterrolebinding" => self.binding(what, name)?,
            _ => {
                return Err(format!(
                    "`create {what}` is not understood; explain its manifest: kubectl create {what} … --dry-run=client -o yaml > FILE"
                ));
            }
        };
        Ok(object)
    }

    fn containers(&self, name: &str) -> Value {
        let images = self.words.values("image");
        let one = |image: &&str| json!({"name": name, "image": image, "command": self.words.command});
        json!({"containers": images.iter().map(one).collect::<Vec<_>>()})
    }

    fn rules(&self) -> Result<Value, String> {
        let verbs = self.words.values("verb");
        let mut rules = Vec::new();
        for typed in self.words.values("resource") {
            let (word, subresource) = typed.split_once('/').unwrap_or((typed, ""));
            let (group, plural) = match word {
                "*" => (String::from("*"), String::from("*")),
                word => found(word).map(|r| (r.group, r.plural))?,
            };
            let resource = if subresource.is_empty() {
                plural
            } else {
                format!("{plural}/{subresource}")
            };
            rules.push(json!({"apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": self.words.values("resource-name")}));
        }
        for path in self.words.values("non-resource-url") {
            rules.push(json!({"nonResourceURLs": [path], "verbs": verbs}));
        }
        Ok(Value::Array(rules))
    }

    fn binding(&self, what: &str, name: &str) -> Result<Value, String> {
        let (kind, role) = match (self.words.value("clusterrole"), self.words.value("role")) {
            (Some(role), None) => ("ClusterRole", role),
            (None, Some(role)) => ("Role", role),
            _ => return Err(format!("`create {what}` wants one of --clusterrole and --role")),
        };
        let person =
            |kind: &str, name: &str| json!({"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name});
        let mut subjects: Vec<Value> = self
            .words
            .values("user")
            .into_iter()
            .map(|user| person("User", user))
            .collect();
        subjects.extend(
            self.words
                .values("group")
                .into_iter()
                .map(|group| person("Group", group)),
        );
        for account in self.words.values("serviceaccount") {
            let (namespace, name) = account
                .split_once(':')
                .ok_or_else(|| format!("`{account}` is not NAMESPACE:NAME"))?;
            subjects.push(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}));
        }
        let object = if what == "rolebinding" {
            "RoleBinding"
        } else {
            "ClusterRoleBinding"
        };
        Ok(
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": object, "metadata": {"name": name}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}}),
        )
    }

    fn run(&mut self) -> Done {
        let [name] = self.words.arguments.as_slice() else {
            return Err(String::from("`run` wants the name of one pod"));
        };
        if self.words.value("overrides").is_some() {
            return Err(String::from(
                "`--overrides` is not understood; explain the manifest: kubectl run … --dry-run=client -o yaml > FILE",
            ));
        }
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"run": name}}, "spec": self.containers(name)});
        self.store("create", &object)
    }

    /// Every object of every file that `-f` names.
    fn each_named(&mut self, verb: &str) -> Done {
        if self.words.has("prune") {
            return Err(String::from(
                "`--prune` deletes what the cluster has and the files have not, and which that is only the cluster knows",
            ));
        }
        let files: Vec<String> = self.words.values("filename").into_iter().map(str::to_owned).collect();
        if files.is_empty() {
            return Err(format!("`{verb}` wants -f FILE"));
        }
        files.iter().try_for_each(|file| self.each_in(file, verb))
    }

    fn each_in(&mut self, file: &str, verb: &str) -> Done {
        let text = (self.place.read)(file)?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|e| format!("`{file}` is no YAML: {}", e.without_snippet()))?;
        for document in documents.iter().filter(|document| !document.is_null()) {
            match document
                .get("items")
                .and_then(Value::as_array)
                .filter(|_| text_at(document, "/kind").ends_with("List"))
            {
                Some(items) => items.iter().try_for_each(|item| self.store(verb, item))?,
                None => self.store(verb, document)?,
            }
        }
        Ok(())
    }

    /// One object of a manifest, with what `verb` does to it.
    fn store(&mut self, verb: &str, object: &Value) -> Done {
        let (api_version, kind) = (text_at(object, "/apiVersion"), text_at(object, "/kind"));
        if api_version.is_empty() || kind.is_empty() {
            return Err(String::from("an object without apiVersion and kind is no manifest"));
        }
        let named = text_at(object, "/metadata/namespace");
        let typed = self.words.value("namespace");
        let resource = resources::of_kind(api_version, kind, !named.is_empty() || typed.is_some());
        let namespace = if named.is_empty() {
            self.namespace.clone()
        } else {
            named.to_owned()
        };
        let name = text_at(object, "/metadata/name");
        let single = path(&resource, &namespace, name);
        let collection = path(&resource, &namespace, "");
        let manager = self.words.value("field-manager");
        let managed = |uri: &str, own: &str| with(uri, "fieldManager", manager.unwrap_or(own));
        if name.is_empty() && verb != "create" {
            return Err(format!("a {kind} without metadata.name can only be created"));
        }
        match verb {
            "create" => self.change(post(managed(&collection, "kubectl-create"), object.clone())),
            "replace" => self.change(Asked {
                content_type: Some("application/json"),
                body: Some(object.clone()),
                ..asked("PUT", managed(&single, "kubectl-replace"))
            }),
            "apply" if self.words.has("server-side") => {
                let uri = managed(&single, "kubectl");
                let uri = if self.words.has("force-conflicts") {
                    with(&uri, "force", "true")
                } else {
                    uri
                };
                self.change(Asked {
                    content_type: Some("application/apply-patch+yaml"),
                    body: Some(object.clone()),
                    ..asked("PATCH", uri)
                })
            }
            "apply" => {
                self.push(read(&single))?;
                let note = Some(
                    "as if it did not exist; if it does, kubectl sends a patch, which is judged by what it makes of the object",
                );
                self.change(Asked {
                    note,
                    ..post(managed(&collection, "kubectl-client-side-apply"), object.clone())
                })
            }
            "delete" => {
                let removal = self.removal(&resource, name);
                self.change(Asked { uri: single, ..removal })
            }
            _ => self.push(read(&single)),
        }
    }

    fn patch(&mut self) -> Done {
        let text = self.words.value("patch").ok_or("`patch` wants -p PATCH")?;
        let body: Value =
            serde_saphyr::from_str(text).map_err(|_| format!("the patch is neither JSON nor YAML: `{text}`"))?;
        let content_type = match self.words.value("type").unwrap_or("strategic") {
            "strategic" => "application/strategic-merge-patch+json",
            "merge" => "application/merge-patch+json",
            "json" => "application/json-patch+json",
            other => return Err(format!("`--type={other}` is none of strategic, merge, json")),
        };
        let subresource = self.words.value("subresource").unwrap_or_default().to_owned();
        self.patch_each(&self.words.arguments.clone(), &subresource, content_type, &body)
    }

    fn patch_each(
        &mut self,
        arguments: &[String],
        subresource: &str,
        content_type: &'static str,
        body: &Value,
    ) -> Done {
        for (resource, name) in self.objects(arguments)? {
            let path = self.object(&resource, &name);
            let path = if subresource.is_empty() {
                path
            } else {
                format!("{path}/{subresource}")
            };
            self.change(Asked {
                content_type: Some(content_type),
                body: Some(body.clone()),
                ..asked("PATCH", path)
            })?;
        }
        Ok(())
    }

    fn scale(&mut self) -> Done {
        let replicas = number(self.words.value("replicas"))?.ok_or("`scale` wants --replicas=N")?;
        let body = json!({"spec": {"replicas": replicas}});
        self.patch_each(
            &self.words.arguments.clone(),
            "scale",
            "application/merge-patch+json",
            &body,
        )
    }

    fn label(&mut self) -> Done {
        let field = if self.words.verb == "label" {
            "labels"
        } else {
            "annotations"
        };
        let is_change =
            |word: &String| word.contains('=') || (word.ends_with('-') && !word.contains('/')) || word.ends_with('-');
        let (changes, targets): (Vec<String>, Vec<String>) = self.words.arguments.iter().cloned().partition(is_change);
        let mut fields = Map::new();
        for change in &changes {
            match change.split_once('=') {
                Some((key, value)) => fields.insert(key.to_owned(), value.into()),
                None => fields.insert(change.trim_end_matches('-').to_owned(), Value::Null),
            };
        }
        let targets = if self.words.has("all") {
            self.all_of(&targets)?
        } else {
            targets
        };
        self.patch_each(
            &targets,
            "",
            "application/merge-patch+json",
            &json!({"metadata": {field: fields}}),
        )
    }

    /// With `--all`: the list, and one object that stands for each.
    fn all_of(&mut self, targets: &[String]) -> Result<Vec<String>, String> {
        let mut each = Vec::new();
        for (resource, _) in self.targets(targets)? {
            self.list(&resource)?;
            each.push(format!(
                "{}/{EACH}",
                targets.first().map_or(resource.plural.as_str(), String::as_str)
            ));
        }
        Ok(each)
    }

    fn set_image(&mut self) -> Done {
        let mut arguments = self.words.arguments.clone();
        if arguments.is_empty() || arguments.remove(0) != "image" {
            return Err(String::from(
                "of `kubectl set`, only `set image` is understood; explain the patch: kubectl patch …",
            ));
        }
        let (images, targets): (Vec<String>, Vec<String>) = arguments.into_iter().partition(|word| word.contains('='));
        let one = |pair: &String| {
            pair.split_once('=')
                .map(|(name, image)| json!({"name": name, "image": image}))
        };
        let containers: Vec<Value> = images.iter().filter_map(one).collect();
        let spec = json!({"containers": containers});
        for (resource, name) in self.objects(&targets)? {
            let body = match resource.plural.as_str() {
                "pods" => json!({"spec": spec}),
                "cronjobs" => json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}}),
                _ => json!({"spec": {"template": {"spec": spec}}}),
            };
            self.read_one(&resource, &name)?;
            let path = self.object(&resource, &name);
            self.change(strategic(path, body))?;
        }
        Ok(())
    }

    fn rollout(&mut self) -> Done {
        let mut arguments = self.words.arguments.clone();
        let what = if arguments.is_empty() {
            String::new()
        } else {
            arguments.remove(0)
        };
        for (resource, name) in self.objects(&arguments)? {
            self.read_one(&resource, &name)?;
            let path = self.object(&resource, &name);
            let note = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
            match what.as_str() {
                "restart" => self.change(strategic(
                    path,
                    json!({"spec": {"template": {"metadata": {"annotations": note}}}}),
                ))?,
                "pause" => self.change(strategic(path, json!({"spec": {"paused": true}})))?,
                "resume" => self.change(strategic(path, json!({"spec": {"paused": null}})))?,
                "status" => {
                    let query = [
                        ("fieldSelector", format!("metadata.name={name}")),
                        ("watch", String::from("true")),
                    ];
                    self.push(read(&uri(&self.collection(&resource), &query)))?;
                }
                "history" => {
                    let revisions = if resource.plural == "deployments" {
                        "replicasets"
                    } else {
                        "controllerrevisions"
                    };
                    let path = self.collection(&found(revisions)?);
                    self.push(read(&path))?;
                }
                "undo" => {
                    return Err(String::from(
                        "what `rollout undo` would restore is only known to the cluster; explain the patch that it amounts to",
                    ));
                }
                other => return Err(format!("`kubectl rollout {other}` is not understood")),
            }
        }
        Ok(())
    }

    fn pod(&self) -> Result<String, String> {
        match self.words.arguments.as_slice() {
            [] => Err(format!("`{}` wants the name of a pod", self.words.verb)),
            [first, ..] => match first.split_once('/') {
                None => Ok(first.clone()),
                Some((typed, name)) if found(typed)?.plural == "pods" => Ok(name.to_owned()),
                Some(_) => Err(format!(
                    "which pod of `{first}` kubectl would take is only known to the cluster; name the pod"
                )),
            },
        }
    }

    fn exec(&mut self) -> Done {
        let command = match self.words.command.as_slice() {
            [] => self.words.arguments.iter().skip(1).cloned().collect(),
            command => command.to_vec(),
        };
        self.enter_pod("exec", &command)
    }

    /// Copying is a `tar` inside of the pod.
    fn copy(&mut self) -> Done {
        let place = |word: &String| {
            word.split_once(':')
                .map(|(pod, path)| (pod.to_owned(), path.to_owned()))
        };
        let (pod, command) = match self.words.arguments.as_slice() {
            [from, to] => match (place(from), place(to)) {
                (Some((pod, path)), None) => (pod, format!("tar cf - {path}")),
                (None, Some((pod, path))) => (pod, format!("tar xmf - -C {path}")),
                _ => {
                    return Err(String::from(
                        "`cp` wants one place in a pod (POD:PATH) and one on this machine",
                    ));
                }
            },
            _ => return Err(String::from("`cp` wants two places")),
        };
        let pod = match pod.split_once('/') {
            Some((namespace, pod)) => {
                namespace.clone_into(&mut self.namespace);
                pod.to_owned()
            }
            None => pod,
        };
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        self.stream(&pod, "exec", &command)
    }

    fn attach(&mut self) -> Done {
        self.enter_pod("attach", &[])
    }

    fn enter_pod(&mut self, subresource: &str, command: &[String]) -> Done {
        let pod = self.pod()?;
        self.read_one(&found("pods")?, &pod)?;
        self.stream(&pod, subresource, command)
    }

    fn stream(&mut self, pod: &str, subresource: &str, command: &[String]) -> Done {
        let mut query: Vec<(&str, String)> = command.iter().map(|word| ("command", word.clone())).collect();
        query.extend(self.words.value("container").map(|name| ("container", name.to_owned())));
        for (flag, key) in [("stdin", "stdin"), ("tty", "tty")] {
            if self.words.has(flag) {
                query.push((key, String::from("true")));
            }
        }
        query.extend(["stdout", "stderr"].map(|key| (key, String::from("true"))));
        let path = format!("{}/{subresource}", self.object(&found("pods")?, pod));
        self.push(Asked {
            upgrade: true,
            ..asked("GET", uri(&path, &query))
        })
    }

    fn port_forward(&mut self) -> Done {
        let pod = self.pod()?;
        self.read_one(&found("pods")?, &pod)?;
        let path = format!("{}/portforward", self.object(&found("pods")?, &pod));
        self.push(Asked {
            upgrade: true,
            ..asked("GET", path)
        })
    }

    fn logs(&mut self) -> Done {
        if let Some(selector) = self.words.value("selector") {
            let query = [("labelSelector", selector.to_owned())];
            let path = self.collection(&found("pods")?);
            self.push(read(&uri(&path, &query)))?;
            return self.log_of(EACH);
        }
        let pod = self.pod()?;
        self.read_one(&found("pods")?, &pod)?;
        self.log_of(&pod)
    }

    fn log_of(&mut self, pod: &str) -> Done {
        let mut query: Vec<(&str, String)> = self
            .words
            .value("container")
            .map(|name| ("container", name.to_owned()))
            .into_iter()
            .collect();
        for (flag, key) in [
            ("follow", "follow"),
            ("previous", "previous"),
            ("timestamps", "timestamps"),
        ] {
            if self.words.has(flag) {
                query.push((key, String::from("true")));
            }
        }
        query.extend(self.words.value("tail").map(|lines| ("tailLines", lines.to_owned())));
        let path = format!("{}/log", self.object(&found("pods")?, pod));
        self.push(read(&uri(&path, &query)))
    }

    fn cordon(&mut self) -> Done {
        let nodes: Vec<String> = self.words.arguments.clone();
        let off = self.words.verb != "uncordon";
        for name in nodes {
            let node = found("nodes")?;
            self.read_one(&node, &name)?;
            let path = self.object(&node, &name);
            self.change(strategic(path, json!({"spec": {"unschedulable": off}})))?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Done {
        self.cordon()?;
        for node in self.words.arguments.clone() {
            self.push(read(&uri(
                "/api/v1/pods",
                &[("fieldSelector", format!("spec.nodeName={node}"))],
            )))?;
            let note = Some("once for each pod of the node, in its own namespace");
            let pods = found("pods")?;
            let path = path(&pods, &self.namespace, EACH);
            if self.words.has("disable-eviction") {
                let removal = self.removal(&pods, EACH);
                self.change(Asked { note, ..removal })?;
                continue;
            }
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": EACH, "namespace": self.namespace}});
            self.change(Asked {
                note,
                ..post(format!("{path}/eviction"), eviction)
            })?;
        }
        Ok(())
    }

    fn taint(&mut self) -> Done {
        let mut arguments = self.words.arguments.iter();
        if !arguments
            .next()
            .is_some_and(|word| found(word).is_ok_and(|r| r.plural == "nodes"))
        {
            return Err(String::from("`taint` wants: taint nodes NAME KEY=VALUE:EFFECT"));
        }
        let (taints, names): (Vec<&String>, Vec<&String>) =
            arguments.partition(|word| word.contains(':') || word.ends_with('-'));
        let one = |taint: &&String| {
            let (pair, effect) = taint.split_once(':')?;
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some(json!({"key": key, "value": value, "effect": effect}))
        };
        let body = json!({"spec": {"taints": taints.iter().filter_map(one).collect::<Vec<_>>()}});
        for name in names {
            let node = found("nodes")?;
            self.read_one(&node, name)?;
            let path = self.object(&node, name);
            self.change(strategic(path, body.clone()))?;
        }
        Ok(())
    }

    fn debug(&mut self) -> Done {
        if self.words.value("copy-to").is_some() {
            return Err(String::from(
                "what `debug --copy-to` copies is only known to the cluster",
            ));
        }
        let pod = self.pod()?;
        self.read_one(&found("pods")?, &pod)?;
        let container = json!({"name": "debugger", "image": self.words.value("image"), "command": self.words.command, "stdin": self.words.has("stdin"),
            "tty": self.words.has("tty"), "targetContainerName": self.words.value("target")});
        let path = format!("{}/ephemeralcontainers", self.object(&found("pods")?, &pod));
        self.change(strategic(path, json!({"spec": {"ephemeralContainers": [container]}})))?;
        self.stream(&pod, "attach", &[])
    }

    fn wait(&mut self) -> Done {
        for (resource, name) in self.objects(&self.words.arguments.clone())? {
            let query = [("fieldSelector", format!("metadata.name={name}"))];
            self.push(read(&uri(&self.collection(&resource), &query)))?;
            let query = [
                ("fieldSelector", format!("metadata.name={name}")),
                ("watch", String::from("true")),
            ];
            self.push(read(&uri(&self.collection(&resource), &query)))?;
        }
        Ok(())
    }

    fn top(&mut self) -> Done {
        let what = self.words.arguments.first().map(String::as_str).unwrap_or_default();
        let path = match what {
            "pod" | "pods" | "po" if self.words.has("all-namespaces") => {
                String::from("/apis/metrics.k8s.io/v1beta1/pods")
            }
            "pod" | "pods" | "po" => format!(
                "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods",
                segment(&self.namespace)
            ),
            "node" | "nodes" | "no" => String::from("/apis/metrics.k8s.io/v1beta1/nodes"),
            other => return Err(format!("`kubectl top {other}` is not understood")),
        };
        self.push(read(&path))
    }

    fn auth(&mut self) -> Done {
        let arguments: Vec<&str> = self.words.arguments.iter().map(String::as_str).collect();
        let review = |group: &str, kind: &str, plural: &str, spec: Value| {
            post(
                format!("/apis/{group}/v1/{plural}"),
                json!({"kind": kind, "apiVersion": format!("{group}/v1"), "spec": spec}),
            )
        };
        let authorization = "authorization.k8s.io";
        let asked = match arguments.as_slice() {
            ["whoami"] => review(
                "authentication.k8s.io",
                "SelfSubjectReview",
                "selfsubjectreviews",
                json!({}),
            ),
            ["can-i"] if self.words.has("list") => review(
                authorization,
                "SelfSubjectRulesReview",
                "selfsubjectrulesreviews",
                json!({"namespace": self.namespace}),
            ),
            ["can-i", verb, resource, rest @ ..] => {
                let attributes = self.attributes(verb, resource, rest.first().copied().unwrap_or_default())?;
                review(
                    authorization,
                    "SelfSubjectAccessReview",
                    "selfsubjectaccessreviews",
                    attributes,
                )
            }
            _ => return Err(format!("`kubectl auth {}` is not understood", arguments.join(" "))),
        };
        self.push(asked)
    }

    fn attributes(&self, verb: &str, resource: &str, name: &str) -> Result<Value, String> {
        if resource.starts_with('/') {
            return Ok(json!({"nonResourceAttributes": {"verb": verb, "path": resource}}));
        }
        let (typed, in_name) = resource.split_once('/').unwrap_or((resource, ""));
        let name = if name.is_empty() { in_name } else { name };
        let (group, plural) = match typed {
            "*" => (String::from("*"), String::from("*")),
            typed => found(typed).map(|r| (r.group, r.plural))?,
        };
        let namespace = if self.words.has("all-namespaces") {
            ""
        } else {
            self.namespace.as_str()
        };
        let subresource = self.words.value("subresource").unwrap_or_default();
        Ok(
            json!({"resourceAttributes": {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace, "name": name}}),
        )
    }

    /// `TYPE`, `TYPE NAME…`, `TYPE,TYPE`, `TYPE/NAME…`: each resource with the names that are asked for, none for all of them.
    fn targets(&self, arguments: &[String]) -> Result<Vec<(Resource, Vec<String>)>, String> {
        let Some(first) = arguments.first() else {
            return Err(format!("`{}` does not say of what", self.words.verb));
        };
        if first.contains('/') {
            let pair = |word: &String| {
                let (typed, name) = word
                    .split_once('/')
                    .ok_or_else(|| format!("`{word}` is no TYPE/NAME, as the first is"))?;
                Ok((found(typed)?, vec![name.to_owned()]))
            };
            return arguments.iter().map(pair).collect();
        }
        let typed = first.split(',').flat_map(|word| {
            if word == "all" {
                resources::ALL.to_vec()
            } else {
                vec![word]
            }
        });
        typed.map(|word| Ok((found(word)?, arguments[1..].to_vec()))).collect()
    }

    /// The same where a name is needed.
    fn objects(&self, arguments: &[String]) -> Result<Vec<(Resource, String)>, String> {
        let mut objects = Vec::new();
        for (resource, names) in self.targets(arguments)? {
            if names.is_empty() {
                return Err(format!(
                    "`{}` wants the name of one of {}",
                    self.words.verb, resource.plural
                ));
            }
            objects.extend(names.into_iter().map(|name| (resource.clone(), name)));
        }
        Ok(objects)
    }

    fn object(&self, resource: &Resource, name: &str) -> String {
        path(resource, &self.namespace, name)
    }

    fn collection(&self, resource: &Resource) -> String {
        let namespace = if self.words.has("all-namespaces") {
            ""
        } else {
            self.namespace.as_str()
        };
        path(resource, namespace, "")
    }
}

fn found(typed: &str) -> Result<Resource, String> {
    resources::named(typed).ok_or_else(|| format!("`{typed}` is no resource of Kubernetes itself; of another API, write NAME.VERSION.GROUP, as in widgets.v1.example.com"))
}

/// An empty namespace is all of them, an empty name the collection.
fn path(resource: &Resource, namespace: &str, name: &str) -> String {
    let root = match resource.group.as_str() {
        "" => format!("/api/{}", segment(&resource.version)),
        group => format!("/apis/{}/{}", segment(group), segment(&resource.version)),
    };
    let place = match resource.namespaced && !namespace.is_empty() {
        true => format!("/namespaces/{}", segment(namespace)),
        false => String::new(),
    };
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("/{}", segment(name))
    };
    format!("{root}{place}/{}{name}", segment(&resource.plural))
}

fn asked(method: &'static str, uri: String) -> Asked {
    Asked {
        method,
        uri,
        content_type: None,
        body: None,
        upgrade: false,
        note: None,
    }
}

fn read(uri: &str) -> Asked {
    asked("GET", uri.to_owned())
}

fn post(uri: String, body: Value) -> Asked {
    Asked {
        content_type: Some("application/json"),
        body: Some(body),
        ..asked("POST", uri)
    }
}

fn strategic(uri: String, body: Value) -> Asked {
    Asked {
        content_type: Some("application/strategic-merge-patch+json"),
        body: Some(body),
        ..asked("PATCH", uri)
    }
}

fn uri(path: &str, query: &[(&str, String)]) -> String {
    query
        .iter()
        .fold(path.to_owned(), |uri, (key, value)| with(&uri, key, value))
}

fn with(uri: &str, key: &str, value: &str) -> String {
    let joint = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joint}{key}={}", segment(value))
}

/// RFC 3986 2.3: what is not unreserved is written as its bytes.
fn segment(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => written.push(char::from(byte)),
            _ => written.push_str(&format!("%{byte:02X}")),
        }
    }
    written
}

fn text_at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(text: Option<&str>) -> Result<Option<i64>, String> {
    text.map(|text| text.parse().map_err(|_| format!("`{text}` is no number")))
        .transpose()
}

fn merged(mut object: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (object.as_object_mut(), more) {
        fields.extend(more);
    }
    object
}

#[cfg(test)]
mod tests;
