//! What tests of this crate share: a folder that goes away, a store in it, requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_core::mask::{self, Masked};
use mantlet_core::record::{
    AuditId, Caller, Closed, Cluster, Decision, Impersonated, ObjectRef, Opened, Outcome, Parts, Verdict,
};
use mantlet_core::time::{Clock, Timestamp};

use crate::{HandClock, JournalAt, MissingKey, Sizes, Slot, Store, StoreConfig, StoreFault};

#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("mantlet-store-{}", hex::encode(crate::random::bytes::<8>().unwrap()));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Small segments, so that tests cross them.
    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig {
            database: format!("sqlite://{}", self.0.join("index/mantlet.db").display()).into(),
            journal: JournalAt::Folder(self.0.join("journal")),
            recordings: self.0.join("recordings"),
            key_file: self.0.join("key"),
            missing_key: MissingKey::Create,
            sizes: Sizes {
                segment: 32 << 10,
                requests: 1_000,
            },
        }
    }

    /// What a crash at this moment would leave: the files as they are, without any end.
    pub(crate) fn crashed(&self) -> Scratch {
        let copy = Scratch::new();
        copy_all(&self.0, &copy.0);
        copy
    }

    pub(crate) fn forget_index(&self) {
        std::fs::remove_dir_all(self.0.join("index")).unwrap();
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.0.join(format!("journal/{number:010}.journal"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target)),
        }
    }
}

pub(crate) fn clock() -> Arc<HandClock> {
    Arc::new(HandClock::at(Timestamp::from_seconds(1_767_323_045)))
}

pub(crate) async fn open(scratch: &Scratch, clock: &Arc<HandClock>) -> Result<Store, StoreFault> {
    Store::open(scratch.config(), clock.clone()).await
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        name: String::from("local"),
        uid: String::from("7d1f"),
    }
}

pub(crate) fn caller(subject: &str) -> Caller {
    Caller {
        issuer: String::from("https://issuer.example"),
        subject: subject.to_owned(),
        username: format!("agent:{subject}"),
        groups: vec![String::from("agents")],
        population: Population::Agents,
        agent: Some(subject.to_owned()),
        impersonated: Impersonated {
            user: format!("system:serviceaccount:mantlet-agents:{subject}"),
            ..Impersonated::default()
        },
    }
}

/// A request to delete a ConfigMap, judged and allowed.
pub(crate) fn parts(caller: Option<Caller>, session: Option<&str>, at: Timestamp) -> Parts {
    let name = String::from("settings");
    Parts {
        at,
        uri: mask::text("/api/v1/namespaces/test/configmaps/settings?token=abcdefghijklmnopqrstuvwxyz"),
        user_agent: Some(mask::text("kubectl/v1.36.0")),
        source_ips: vec![String::from("127.0.0.1")],
        cluster: Some(cluster()),
        epoch: Some(3),
        session: session.map(str::to_owned),
        caller,
        method: Some("DELETE"),
        verb: Some("delete"),
        object_ref: Some(ObjectRef {
            resource: String::from("configmaps"),
            namespace: String::from("test"),
            name,
            api_version: String::from("v1"),
            ..ObjectRef::default()
        }),
        verdict: Some(Verdict {
            decision: Decision::Allow,
            applied: vec![],
            reason: String::new(),
            message: String::new(),
            warnings: vec![],
        }),
        not_judged: vec![],
    }
}

pub(crate) fn opened(id: &AuditId, clock: &HandClock) -> Masked<Opened> {
    Opened::new(id, parts(Some(caller("coder")), None, clock.now()))
}

pub(crate) fn answered(slot: &Slot, code: u16, clock: &HandClock) -> Masked<Closed> {
    Closed::new(
        slot.id(),
        clock.now(),
        Outcome::Answered {
            code,
            reason: String::new(),
        },
        17,
    )
}

/// One whole request; its Audit-ID.
pub(crate) async fn request(store: &Store, clock: &HandClock) -> String {
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), clock));
    slot.durable().await.unwrap();
    clock.advance(Duration::from_millis(3));
    let id = slot.id().to_string();
    let closed = answered(&slot, 200, clock);
    slot.close(closed);
    id
}
