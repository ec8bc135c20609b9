//! What the virtual API answers to one action.

use std::sync::Arc;

use bytes::Bytes;
use mantlet_api::audit::Event;
use mantlet_api::gate::{API_VERSION, GROUP, Kind, List, ListMetadata, Session, SessionEvent};
use mantlet_api::policy::Role;
use mantlet_core::action::{Action, ResourceRef, Target, Verb};
use mantlet_core::identity::Caller;
use mantlet_core::law::{ClusterRef, Law, Roles};
use mantlet_core::record::AuditId;
use mantlet_core::time::Clock;
use mantlet_store::{Index, Owner, Page, Store, StoreFault, Visible};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::agents::stop_options;
use crate::table::{Row, table};
use crate::{discovery, openapi, watch};

/// Serves the group out of the index. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Who asks, with what rights of Mantlet's own, at which cluster's endpoint.
#[derive(Debug)]
pub struct Visitor<'a> {
    pub caller: &'a Caller,
    pub roles: Roles,
    pub cluster: &'a ClusterRef,
    pub law: &'a Law,
    /// The name of what they ask.
    pub request: &'a AuditId,
}

/// A status code, its reason where it is an error, and JSON.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub reason: String,
    pub content_type: &'static str,
    pub body: AnswerBody,
}

#[derive(Debug)]
pub enum AnswerBody {
    Whole(Bytes),
    /// A watch, and the work that feeds it; ends when the receiver is dropped.
    Stream(mpsc::Receiver<Bytes>, watch::Feed),
}

/// What the visitor may see: everything of this cluster, or their own.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) visible: Visible,
    pub(crate) cluster: String,
    pub(crate) depth: Depth,
}

/// How much of an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Metadata,
    /// With what requests and answers held: an auditor's, and one event at a time.
    Bodies,
}

/// Whether the client asked for rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Objects,
    Table,
}

/// What is stored and can be shown.
pub(crate) trait Kept: Kind + Row + Clone + Send + 'static {
    fn cluster(&self) -> Option<&str>;
    fn session(&self) -> &str;
    /// The event in it, if it is one.
    fn event(&mut self) -> Option<&mut Event>;
    fn page(index: &Index, sight: &Sight, query: &Query)
    -> impl Future<Output = Result<Page<Self>, StoreFault>> + Send;
    fn one(index: &Index, sight: &Sight, name: &str) -> impl Future<Output = Result<Option<Self>, StoreFault>> + Send;
    fn since(
        index: &Index,
        version: u64,
    ) -> impl Future<Output = Result<Vec<mantlet_store::Change<Self>>, StoreFault>> + Send;
}

/// The options of a list or a watch that mean something here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pub(crate) limit: Option<u32>,
    pub(crate) cont: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u64>,
}

impl Desk {
    pub fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Never fails: what cannot be answered is answered with a `Status`.
    pub async fn answer(&self, visitor: &Visitor<'_>, action: &Action) -> Answer {
        match action.target() {
            Target::Path(path) => document(path),
            Target::Resource(resource) if !is_served(resource) => {
                Answer::not_found("the server could not find the requested resource")
            }
            Target::Resource(resource) => match resource.resource.as_str() {
                "agents" => self.agents(visitor, action, resource).await,
                "sessions" if resource.subresource == "end" => self.end(visitor, action, &resource.name).await,
                "sessions" => self.resource::<Session>(visitor, action, resource).await,
                "sessionevents" => self.resource::<SessionEvent>(visitor, action, resource).await,
                _ => Answer::not_found("the server could not find the requested resource"),
            },
        }
    }

    async fn resource<T: Kept>(&self, visitor: &Visitor<'_>, action: &Action, resource: &ResourceRef) -> Answer {
        if !resource.subresource.is_empty() {
            return Answer::not_found("the server could not find the requested resource");
        }
        let query = match Query::of(action) {
            Ok(query) => query,
            Err(why) => return Answer::status(400, "BadRequest", &why),
        };
        let sight = visitor.sight();
        let shape = Shape::of(action);
        // Whoever has just done something and now looks finds it.
        if let Err(fault) = self.store.index.flush().await {
            return Answer::faulty(&fault);
        }
        match action.verb() {
            Verb::Get => self.get::<T>(&sight, &resource.name, shape).await,
            Verb::List => self.list::<T>(&sight, &query, shape).await,
            Verb::Watch => watch::watch::<T>(self.store.clone(), self.clock.clone(), sight, query, shape).await,
            Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Delete
            | Verb::DeleteCollection
            | Verb::Exec
            | Verb::Attach
            | Verb::PortForward
            | Verb::Proxy => Answer::status(
                405,
                "MethodNotAllowed",
                &format!("{}.{GROUP} can only be read: the gateway writes them", T::RESOURCE),
            ),
        }
    }

    /// Ends a session, so that its credential can do nothing more.
    async fn end(&self, visitor: &Visitor<'_>, action: &Action, name: &str) -> Answer {
        if action.verb() != Verb::Create {
            return Answer::status(405, "MethodNotAllowed", "sessions are ended by a POST");
        }
        if !visitor.roles.has(Role::Operator) {
            let message = format!(
                "sessions.{GROUP} \"{name}\" cannot be ended by you: that takes the role operator on cluster \"{}\", which `authorization.roles` of the gateway gives",
                visitor.cluster.name
            );
            return Answer::status(403, "Forbidden", &message);
        }
        match stop_options(action) {
            Ok(options) if options.reason.is_empty() => {}
            Ok(_) => {
                return Answer::status(
                    400,
                    "BadRequest",
                    "a reason is kept for agents only; leave it out to end a session",
                );
            }
            Err(why) => return Answer::status(400, "BadRequest", &why),
        }
        if let Err(fault) = self.store.index.flush().await {
            return Answer::faulty(&fault);
        }
        let sight = visitor.sight();
        match self.visible(&sight, name).await {
            Ok(Some(session)) if action.options().dry_run => return Answer::created(&session),
            Ok(Some(_)) => {}
            Ok(None) => return Answer::not_found(&format!("sessions.{GROUP} \"{name}\" not found")),
            Err(fault) => return Answer::faulty(&fault),
        }
        if let Err(fault) = self.store.stop_session(name, visitor.request, self.clock.now()).await {
            return Answer::unrecorded(&fault);
        }
        tracing::warn!(
            session = name,
            by = visitor.caller.verified().username(),
            "session ended by an operator"
        );
        match self.store.index.flush().await.and(self.visible(&sight, name).await) {
            Ok(Some(session)) => Answer::created(&session),
            Ok(None) => Answer::not_found(&format!("sessions.{GROUP} \"{name}\" not found")),
            Err(fault) => Answer::faulty(&fault),
        }
    }

    async fn visible(&self, sight: &Sight, name: &str) -> Result<Option<Session>, StoreFault> {
        let found = Session::one(&self.store.index, sight, name).await?;
        Ok(found.filter(|session| sight.shows(session)))
    }

    async fn get<T: Kept>(&self, sight: &Sight, name: &str, shape: Shape) -> Answer {
        match T::one(&self.store.index, sight, name).await {
            Err(fault) => Answer::faulty(&fault),
            Ok(found) => match self.deep(found.filter(|object| sight.shows(object)), sight).await {
                Some(object) if shape == Shape::Table => {
                    let version = object.metadata()["resourceVersion"].clone();
                    Answer::json(&table(
                        &[object],
                        &json!({"resourceVersion": version}),
                        true,
                        self.clock.now(),
                    ))
                }
                Some(object) => Answer::json(&object),
                None => Answer::not_found(&format!("{}.{GROUP} \"{name}\" not found", T::RESOURCE)),
            },
        }
    }

    /// With its bodies, or without, as the visitor may see it.
    async fn deep<T: Kept>(&self, mut found: Option<T>, sight: &Sight) -> Option<T> {
        if let Some(event) = found.as_mut().and_then(Kept::event) {
            match sight.depth {
                Depth::Bodies => self.store.bodies.fill(event).await,
                Depth::Metadata => without_bodies(event),
            }
        }
        found
    }

    async fn list<T: Kept>(&self, sight: &Sight, query: &Query, shape: Shape) -> Answer {
        let page = match T::page(&self.store.index, sight, query).await {
            Ok(page) => page,
            Err(fault @ StoreFault::Continue) => return Answer::status(410, "Expired", &fault.to_string()),
            Err(fault) => return Answer::faulty(&fault),
        };
        let items: Vec<T> = page
            .items
            .into_iter()
            .filter(|object| sight.shows(object) && query.wants(object))
            .collect();
        let metadata = ListMetadata {
            resource_version: page.resource_version.to_string(),
            r#continue: page.r#continue.unwrap_or_default(),
        };
        match shape {
            Shape::Table => {
                let metadata = serde_json::to_value(&metadata).unwrap_or_default();
                Answer::json(&table(&items, &metadata, true, self.clock.now()))
            }
            Shape::Objects => Answer::json(&List::new(items, metadata)),
        }
    }
}

impl Visitor<'_> {
    fn sight(&self) -> Sight {
        let verified = self.caller.verified();
        let visible = match self.oversees() {
            true => Visible::Everything,
            false => Visible::Own(Owner {
                issuer: verified.issuer().to_owned(),
                subject: verified.subject().to_owned(),
            }),
        };
        // Not for their own either: what they were shown then they may no longer be allowed to read.
        let depth = match self.roles.has(Role::Auditor) {
            true => Depth::Bodies,
            false => Depth::Metadata,
        };
        Sight {
            visible,
            cluster: self.cluster.uid.clone(),
            depth,
        }
    }

    /// Whether more than one's own is seen.
    pub(crate) fn oversees(&self) -> bool {
        [Role::Viewer, Role::Auditor, Role::Operator]
            .into_iter()
            .any(|role| self.roles.has(role))
    }
}

impl Shape {
    pub(crate) fn of(action: &Action) -> Self {
        match action.accept().contains("as=Table") {
            true => Shape::Table,
            false => Shape::Objects,
        }
    }
}

impl Sight {
    /// A role is granted for a cluster: at its endpoint only what happened there is seen.
    pub(crate) fn shows<T: Kept>(&self, object: &T) -> bool {
        object.cluster().is_some_and(|uid| uid == self.cluster)
    }
}

impl Query {
    pub(crate) fn of(action: &Action) -> Result<Self, String> {
        let mut query = Self::default();
        for (key, value) in action.query() {
            match key.as_str() {
                "limit" => {
                    query.limit =
                        Some(value.parse().map_err(|_| format!("limit: \"{value}\" is no number"))?).filter(|n| *n > 0)
                }
                "continue" => query.cont = Some(value.clone()).filter(|c| !c.is_empty()),
                "resourceVersion" if value.is_empty() || value == "0" => {}
                "resourceVersion" => {
                    query.version = Some(
                        value
                            .parse()
                            .map_err(|_| format!("resourceVersion: \"{value}\" is none of this API"))?,
                    )
                }
                "fieldSelector" => query.select(value)?,
                "labelSelector" if !value.is_empty() => {
                    return Err("labelSelector: objects of this API have no labels".into());
                }
                _ => {}
            }
        }
        Ok(query)
    }

    fn select(&mut self, selector: &str) -> Result<(), String> {
        for part in selector.split(',').filter(|part| !part.is_empty()) {
            match part.split_once("==").or_else(|| part.split_once('=')) {
                Some(("spec.session", session)) => self.session = Some(session.to_owned()),
                Some(("metadata.name", name)) => self.name = Some(name.to_owned()),
                _ => {
                    return Err(format!(
                        "fieldSelector: \"{part}\" is not supported, only spec.session=NAME and metadata.name=NAME"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn wants<T: Kept>(&self, object: &T) -> bool {
        let named = |name: &String| object.metadata()["name"].as_str() == Some(name);
        self.name.as_ref().is_none_or(named)
            && self
                .session
                .as_deref()
                .is_none_or(|session| object.session() == session)
    }
}

impl Kept for Session {
    fn cluster(&self) -> Option<&str> {
        Some(&self.spec.cluster.uid)
    }

    fn session(&self) -> &str {
        &self.metadata.name
    }

    fn event(&mut self) -> Option<&mut Event> {
        None
    }

    async fn page(index: &Index, sight: &Sight, query: &Query) -> Result<Page<Self>, StoreFault> {
        index.sessions(&sight.visible, query.limit, query.cont.as_deref()).await
    }

    async fn one(index: &Index, sight: &Sight, name: &str) -> Result<Option<Self>, StoreFault> {
        index.session(&sight.visible, name).await
    }

    async fn since(index: &Index, version: u64) -> Result<Vec<mantlet_store::Change<Self>>, StoreFault> {
        index.sessions_since(version).await
    }
}

impl Kept for SessionEvent {
    fn cluster(&self) -> Option<&str> {
        self.event
            .annotations
            .get("mantlet.dev/cluster-uid")
            .map(String::as_str)
    }

    fn session(&self) -> &str {
        &self.spec.session
    }

    fn event(&mut self) -> Option<&mut Event> {
        Some(&mut self.event)
    }

    async fn page(index: &Index, sight: &Sight, query: &Query) -> Result<Page<Self>, StoreFault> {
        let mut page = index
            .events(
                &sight.visible,
                query.session.as_deref(),
                query.limit,
                query.cont.as_deref(),
            )
            .await?;
        page.items.iter_mut().for_each(|item| without_bodies(&mut item.event));
        Ok(page)
    }

    async fn one(index: &Index, sight: &Sight, name: &str) -> Result<Option<Self>, StoreFault> {
        index.event(&sight.visible, name).await
    }

    async fn since(index: &Index, version: u64) -> Result<Vec<mantlet_store::Change<Self>>, StoreFault> {
        let mut changes = index.events_since(version).await?;
        changes
            .iter_mut()
            .for_each(|change| without_bodies(&mut change.object.event));
        Ok(changes)
    }
}

/// Lists and watches hold none: a thousand events would be a thousand bodies.
fn without_bodies(event: &mut Event) {
    (event.request_object, event.response_object) = (None, None);
}

/// Cluster-scoped, in the one version that there is.
fn is_served(resource: &ResourceRef) -> bool {
    resource.namespace.is_empty() && format!("{}/{}", resource.group, resource.version) == API_VERSION
}

impl Answer {
    pub(crate) fn created(value: &impl serde::Serialize) -> Self {
        Self::coded(201, value)
    }

    pub(crate) fn json(value: &impl serde::Serialize) -> Self {
        Self::coded(200, value)
    }

    fn coded(code: u16, value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => Self::whole(code, "", bytes),
            Err(_) => Self::status(500, "InternalError", "the answer cannot be written"),
        }
    }

    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code});
        Self::whole(code, reason, status.to_string().into_bytes())
    }

    pub(crate) fn not_found(message: &str) -> Self {
        Self::status(404, "NotFound", message)
    }

    pub(crate) fn faulty(fault: &StoreFault) -> Self {
        tracing::error!(%fault, "the index does not answer");
        Self::status(
            503,
            "ServiceUnavailable",
            "the record cannot be read right now; ask the gateway's operator to look at /readyz?verbose",
        )
    }

    /// What was to be stopped could not be written down. Whatever the gateway managed to do of it is on the safe side.
    pub(crate) fn unrecorded(fault: &StoreFault) -> Self {
        tracing::error!(%fault, "a stop was not recorded");
        Self::status(
            503,
            "NotRecorded",
            "the gateway cannot record this, so it may not outlast its process; do it again once /readyz?verbose says that all is well",
        )
    }

    fn whole(code: u16, reason: &str, bytes: Vec<u8>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            content_type: "application/json",
            body: AnswerBody::Whole(Bytes::from(bytes)),
        }
    }
}

fn document(path: &str) -> Answer {
    let document: Value = match path {
        _ if path == format!("/apis/{GROUP}") => discovery::group_document(),
        _ if path == format!("/apis/{API_VERSION}") => discovery::resources_document(),
        _ if path == discovery::openapi_path() => openapi::document(),
        _ => return Answer::not_found("the server could not find the requested resource"),
    };
    Answer::json(&document)
}
