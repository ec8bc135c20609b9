//! Whether a cluster still stands behind a token of its own: its signature says who asked for it, and nothing of the pod that is gone since.
//!
//! In: a verified token of a cluster's own issuer. Out: nothing; a [`Standing`] that streams look at as long as they last.
//! Refuses: what the cluster does not confirm by TokenReview for our audience and this very account; and everything once it cannot be asked.
//! One review serves all requests and streams of a token for 5 s. One that fails is asked for again, while the last good one is no older than 8 s: the
//! API server keeps its own answers for 10 s (apiserver `pkg/authentication/token/cache`), so that a token ends within 20 s of its pod, come what may.
//! Time here is the monotonic clock's: a wall clock that is set back must not make an answer last longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mantlet_core::identity::Verified;
use mantlet_core::identity::issuer::Issuer;
use mantlet_core::identity::service_account::confirmed;
use secrecy::SecretString;
use tokio::time::Instant;

use super::authenticate::{Print, SignInFault};
use crate::upstream::{Cluster, OwnCall, Unreached};

/// A good answer is not asked for again so long.
const FRESH: Duration = Duration::from_secs(5);
/// And while no other comes, it counts so long at most.
const GOOD: Duration = Duration::from_secs(8);
/// How long one is waited for when there was a good one before, and when there was none.
const HURRY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);
/// A bad answer holds so long, so that nobody can make us ask without pause.
const BAD: Duration = Duration::from_secs(1);
/// Tokens that are kept in mind. Only verified ones come here.
const MOST: usize = 8_192;

/// The tokens of clusters that were seen not long ago. In memory of one process only; what it forgets is asked anew.
#[derive(Debug, Default)]
pub(super) struct Reviews {
    clusters: Vec<Arc<Cluster>>,
    seen: Mutex<HashMap<Print, Arc<Standing>>>,
}

/// What one token rests on.
#[derive(Debug)]
pub(crate) struct Standing {
    cluster: Arc<Cluster>,
    verified: Arc<Verified>,
    token: SecretString,
    audiences: Vec<String>,
    /// Held while the cluster is asked: who comes meanwhile waits, and finds the answer.
    known: tokio::sync::Mutex<Known>,
    /// When somebody last looked.
    looked: Mutex<Instant>,
}

#[derive(Debug, Default)]
struct Known {
    /// When the last review that confirmed it was asked for.
    good: Option<Instant>,
    /// The last that did not, if none has since.
    bad: Option<(Instant, SignInFault)>,
}

impl Reviews {
    pub(super) fn by(clusters: Vec<Arc<Cluster>>) -> Self {
        Self {
            clusters,
            seen: Mutex::default(),
        }
    }

    pub(super) fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    /// Other issuers count from now on: what was confirmed for them is confirmed anew. Streams keep what they rest on.
    pub(super) fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn of(
        &self,
        print: Print,
        token: &str,
        verified: &Arc<Verified>,
        issuer: &Issuer,
        cluster: &str,
    ) -> Result<Arc<Standing>, SignInFault> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = seen.get(&print).filter(|standing| standing.is_for(issuer, cluster)) {
            standing.look();
            return Ok(standing.clone());
        }
        let found = self.clusters.iter().find(|known| known.name() == cluster);
        let found = found.ok_or_else(|| SignInFault::Unreviewed {
            cluster: cluster.to_owned(),
            why: String::from("there is no such cluster"),
        })?;
        make_room(&mut seen);
        let standing = Arc::new(Standing {
            cluster: found.clone(),
            verified: verified.clone(),
            token: token.into(),
            audiences: issuer.audiences().to_vec(),
            known: tokio::sync::Mutex::default(),
            looked: Mutex::new(Instant::now()),
        });
        seen.insert(print, standing.clone());
        Ok(standing)
    }
}

/// Those that no stream holds and nobody asked for lately go, or else any one. A stream keeps its own all the same.
fn make_room(seen: &mut HashMap<Print, Arc<Standing>>) {
    if seen.len() >= MOST {
        seen.retain(|_, standing| Arc::strong_count(standing) > 1 || standing.idle() < GOOD);
    }
    if seen.len() >= MOST
        && let Some(any) = seen.keys().next().copied()
    {
        seen.remove(&any);
    }
}

impl Standing {
    /// # Cancel safety
    /// Asking reads only; who waits asks anew.
    pub(crate) async fn confirm(&self) -> Result<(), SignInFault> {
        let mut known = self.known.lock().await;
        if known.good_for(FRESH) {
            return Ok(());
        }
        if let Some((at, fault)) = &known.bad
            && at.elapsed() < BAD
        {
            return known.good_enough(fault.clone());
        }
        let asked = Instant::now();
        let patience = if known.good.is_some() { HURRY } else { PATIENCE };
        let answer = tokio::time::timeout(patience, self.ask()).await;
        match answer.unwrap_or_else(|_| Err(self.unreviewed(String::from("no answer in time")))) {
            Ok(()) => {
                *known = Known {
                    good: Some(asked),
                    bad: None,
                };
                Ok(())
            }
            Err(fault) => {
                if matches!(fault, SignInFault::Disowned { .. }) {
                    known.good = None;
                }
                known.bad = Some((asked, fault.clone()));
                known.good_enough(fault)
            }
        }
    }

    /// Resolves when the cluster does not stand behind the token any more, or cannot be asked for too long.
    pub(crate) async fn disowned(&self) {
        while self.confirm().await.is_ok() {
            self.look();
            tokio::time::sleep(BAD).await;
        }
    }

    /// Never of a cluster that has not said who it is: the token is a credential.
    async fn ask(&self) -> Result<(), SignInFault> {
        let unreviewed = |why: Unreached| self.unreviewed(why.to_string());
        self.cluster.identify().await.map_err(unreviewed)?;
        let call = OwnCall::TokenReview {
            token: self.token.clone(),
            audiences: self.audiences.clone(),
        };
        let review = self.cluster.own(call).await.map_err(unreviewed)?;
        confirmed(&review, &self.verified, &self.audiences).map_err(|why| SignInFault::Disowned {
            cluster: self.cluster.name().to_owned(),
            why,
        })
    }

    fn unreviewed(&self, why: String) -> SignInFault {
        SignInFault::Unreviewed {
            cluster: self.cluster.name().to_owned(),
            why,
        }
    }

    /// What was asked under another configuration is asked anew under this one.
    fn is_for(&self, issuer: &Issuer, cluster: &str) -> bool {
        self.cluster.name() == cluster && self.audiences == issuer.audiences()
    }

    fn look(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Known {
    fn good_for(&self, time: Duration) -> bool {
        self.good.is_some_and(|at| at.elapsed() < time)
    }

    fn good_enough(&self, fault: SignInFault) -> Result<(), SignInFault> {
        match self.good_for(GOOD) {
            true => Ok(()),
            false => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> SignInFault {
        SignInFault::Unreviewed {
            cluster: "prod".into(),
            why: "down".into(),
        }
    }

    #[test]
    fn a_good_answer_bridges_a_failure_only_while_it_is_young() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let known = |good| Known { good, bad: None };
        assert!(known(ago(4)).good_for(FRESH) && !known(ago(6)).good_for(FRESH));
        assert_eq!(known(ago(6)).good_enough(fault()), Ok(()));
        assert_eq!(known(ago(11)).good_enough(fault()), Err(fault()));
        assert_eq!(known(None).good_enough(fault()), Err(fault()));
    }
}
