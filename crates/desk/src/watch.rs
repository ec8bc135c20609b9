//! Watches of the virtual API: what changed since a resourceVersion, event by event, as the index learns of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use mantlet_core::time::Clock;
use mantlet_store::{Change, Store, StoreFault};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Sender};

use crate::answer::{Answer, AnswerBody, Kept, Query, Shape, Sight};
use crate::table::table;

/// Events that wait for a client that reads slowly; then the index is read no further.
const WAITING: usize = 16;

/// The work that feeds a watch. Whoever pumps the answer drives it.
pub struct Feed(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Feed {
    pub fn into_future(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

struct Watch<T> {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    sight: Sight,
    query: Query,
    shape: Shape,
    tx: Sender<Bytes>,
    /// Whether the columns of a Table have been sent.
    headed: bool,
    kind: std::marker::PhantomData<T>,
}

pub(crate) async fn watch<T: Kept>(
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    sight: Sight,
    query: Query,
    shape: Shape,
) -> Answer {
    let (tx, rx) = mpsc::channel(WAITING);
    let watch = Watch::<T> {
        store,
        clock,
        sight,
        query,
        shape,
        tx,
        headed: false,
        kind: std::marker::PhantomData,
    };
    let feed = Feed(Box::pin(async move {
        if let Err(fault) = watch.run().await {
            tracing::warn!(%fault, "a watch of the virtual API ended");
        }
    }));
    Answer {
        code: 200,
        reason: String::new(),
        content_type: "application/json",
        body: AnswerBody::Stream(rx, feed),
    }
}

impl<T: Kept> Watch<T> {
    /// Until the client leaves or the index does.
    async fn run(mut self) -> Result<(), StoreFault> {
        let mut versions = self.store.index.versions();
        let mut version = match self.query.version {
            Some(version) => version,
            // Without one, a watch begins with everything there is (KEP-3157 speaks of the same for lists by watch).
            None => match self.everything().await? {
                Some(version) => version,
                None => return Ok(()),
            },
        };
        loop {
            let changes = T::since(&self.store.index, version).await?;
            let done = changes.is_empty();
            for change in changes {
                version = change.version;
                if self.may_show(&change)
                    && !self
                        .send(if change.added { "ADDED" } else { "MODIFIED" }, change.object)
                        .await
                {
                    return Ok(());
                }
            }
            if done {
                tokio::select! {
                    changed = versions.changed() => if changed.is_err() { return Ok(()) },
                    () = self.tx.closed() => return Ok(()),
                }
            }
        }
    }

    async fn everything(&mut self) -> Result<Option<u64>, StoreFault> {
        let mut query = self.query.clone();
        loop {
            let page = T::page(&self.store.index, &self.sight, &query).await?;
            for object in page.items {
                if self.sight.shows(&object) && self.query.wants(&object) && !self.send("ADDED", object).await {
                    return Ok(None);
                }
            }
            match page.r#continue {
                Some(next) => query.cont = Some(next),
                None => return Ok(Some(page.resource_version)),
            }
        }
    }

    fn may_show(&self, change: &Change<T>) -> bool {
        self.sight.visible.admits(change.owner.as_ref())
            && self.sight.shows(&change.object)
            && self.query.wants(&change.object)
    }

    /// False once the client has left.
    async fn send(&mut self, kind: &str, object: T) -> bool {
        let object: Value = match self.shape {
            Shape::Table => {
                let version = object.metadata()["resourceVersion"].clone();
                let head = !std::mem::replace(&mut self.headed, true);
                table(&[object], &json!({"resourceVersion": version}), head, self.clock.now())
            }
            Shape::Objects => serde_json::to_value(&object).unwrap_or_default(),
        };
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.tx.send(Bytes::from(line)).await.is_ok()
    }
}
