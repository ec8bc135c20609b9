//! Who is calling: the bearer token of one request, verified.
//!
//! In: the headers of a request, the time. Out: [`Verified`], shared with earlier requests that carried the same token.
//! Refuses: no credential, more than one, any other scheme, a token in the WebSocket subprotocol, and all that `TokenFault` lists.
//! Deliberately knows nothing of connections: the identity of a request is that of its own headers, whatever came before it on
//! the same connection. `access_token` in the query is refused where the query is read.
//!
//! What was concluded of a token is remembered, by its SHA-256, and only as long as the issuer's keys are the same: that it is good for a minute,
//! that it is bad for ten seconds. A fault that is the issuer's is never remembered.
//!
//! The issuers, their keys and all that was concluded from them are one set, which is replaced as a whole and never changed: a token
//! that was believed under other issuers or rules is not believed under these.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use mantlet_core::identity::Verified;
use mantlet_core::identity::issuer::Issuer;
use mantlet_core::identity::token::{Blame, Keys, TokenFault, Verifier};
use mantlet_core::time::{Clock, Timestamp};
use tokio::sync::watch;

use super::keys::{Held, KeySource, Pace, SourceFault};
use super::review::{Reviews, Standing};
use crate::upstream::Cluster;

/// A verified token is believed this long at most without another look at it.
const BELIEVED: Duration = Duration::from_secs(60);
const MOST_BELIEVED: usize = 10_240;
/// One that was refused after a look at keys, this long: a flood of it costs no signature checks and no expressions.
const REFUSED: Duration = Duration::from_secs(10);
const MOST_REFUSED: usize = 4_096;
const SHARDS: usize = 16;

/// The subprotocol in which the API server takes a bearer token (apiserver `pkg/authentication/request/websocket/protocol.go`).
const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// Verifies tokens with keys that it keeps itself. One for all listeners.
#[derive(Debug)]
pub struct Authenticator {
    trust: ArcSwap<Trust>,
    /// Told each time that another set takes the place of `trust`.
    replaced: watch::Sender<()>,
    reviews: Reviews,
    pace: Pace,
    clock: Arc<dyn Clock>,
}

/// The issuers that count at one time, the way to their keys, and what was concluded from both.
#[derive(Debug)]
struct Trust {
    verifier: Verifier,
    sources: Vec<Arc<KeySource>>,
    believed: Cache<Arc<Verified>>,
    refused: Cache<TokenFault>,
}

/// Why a request has no caller. `Display` is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInFault {
    #[error("no credential")]
    Nothing,
    #[error("more than one Authorization header")]
    Several,
    #[error("an Authorization header that is not `Bearer TOKEN`")]
    NotBearer,
    #[error("a token in Sec-WebSocket-Protocol")]
    InSubprotocol,
    #[error(transparent)]
    Token(#[from] TokenFault),
    #[error("cluster `{cluster}` does not stand behind its token: {why}")]
    Disowned { cluster: String, why: String },
    #[error("cluster `{cluster}` cannot be asked about its token: {why}")]
    Unreviewed { cluster: String, why: String },
}

impl SignInFault {
    /// What the caller is told.
    pub fn for_caller(&self) -> &'static str {
        match self {
            Self::Nothing => "no bearer token; sign in",
            Self::Several => "more than one Authorization header; send one",
            Self::NotBearer => "the Authorization header is not `Bearer TOKEN`",
            Self::InSubprotocol => "a token in the WebSocket subprotocol is not accepted; send an Authorization header",
            Self::Token(fault) => fault.for_caller(),
            Self::Disowned { .. } => {
                "the cluster that issued the token takes it for valid no more; its pod or service account may be gone"
            }
            Self::Unreviewed { .. } => {
                "the cluster that issued the token cannot be asked about it right now; try again later"
            }
        }
    }

    /// Which check it was, in one word: a field of the log.
    pub fn check(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Several => "several",
            Self::NotBearer => "scheme",
            Self::InSubprotocol => "subprotocol",
            Self::Token(fault) => fault.check(),
            Self::Disowned { .. } => "disowned",
            Self::Unreviewed { .. } => "review",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::Nothing | Self::Several | Self::NotBearer | Self::InSubprotocol | Self::Disowned { .. } => {
                Blame::Token
            }
            Self::Unreviewed { .. } => Blame::Issuer,
            Self::Token(fault) => fault.blame(),
        }
    }
}

impl Authenticator {
    /// Fetches nothing yet; keys come with [`Authenticator::keep_keys_fresh`].
    pub fn new(issuers: Vec<Issuer>, clock: Arc<dyn Clock>) -> Result<Self, Vec<SourceFault>> {
        Self::paced(issuers, clock, Pace::default())
    }

    fn paced(issuers: Vec<Issuer>, clock: Arc<dyn Clock>, pace: Pace) -> Result<Self, Vec<SourceFault>> {
        Ok(Self {
            trust: ArcSwap::from_pointee(Trust::new(issuers, &[], pace)?),
            replaced: watch::Sender::new(()),
            reviews: Reviews::default(),
            pace,
            clock,
        })
    }

    /// The same, with the clusters whose own issuers are, or will be, among its issuers.
    #[must_use]
    pub fn among(mut self, clusters: Vec<Arc<Cluster>>) -> Self {
        self.reviews = Reviews::by(clusters);
        self
    }

    /// From now on these issuers count and no others. Those that did not move keep their keys; every token is looked at anew.
    /// With a fault nothing changes. To be called by one at a time.
    pub fn replace(&self, issuers: Vec<Issuer>) -> Result<(), Vec<SourceFault>> {
        let trust = Trust::new(issuers, &self.trust.load().sources, self.pace)?;
        self.trust.store(Arc::new(trust));
        self.reviews.forget();
        self.replaced.send_replace(());
        Ok(())
    }

    /// Fetches the keys of all issuers and fetches them again when due or asked for, also those of issuers that are named later. To be
    /// run as one task, until it is dropped; without it no token is ever verified.
    pub async fn keep_keys_fresh(&self) {
        let mut replaced = self.replaced.subscribe();
        let mut kept = FuturesUnordered::new();
        let mut known: Vec<Arc<KeySource>> = Vec::new();
        loop {
            let trust = self.trust.load_full();
            let new = trust.sources.iter().filter(|source| !has(&known, source));
            kept.extend(new.map(|source| self.keep_fresh_while_trusted(source.clone())));
            known.clone_from(&trust.sources);
            tokio::select! {
                _ = replaced.changed() => {}
                Some(()) = kept.next() => {}
            }
        }
    }

    async fn keep_fresh_while_trusted(&self, source: Arc<KeySource>) {
        let mut replaced = self.replaced.subscribe();
        tokio::select! {
            () = source.keep_fresh(&*self.clock, self.reviews.clusters()) => {}
            _ = replaced.wait_for(|()| !has(&self.trust.load().sources, &source)) => {}
        }
    }

    /// The issuers whose keys are not at hand, for `/readyz?verbose`. Their callers get 503, everybody else is served.
    pub fn issuers_without_keys(&self, now: Timestamp) -> Vec<String> {
        let trust = self.trust.load();
        let waiting = trust.sources.iter().filter(|source| source.held(now).is_none());
        waiting.map(|source| source.issuer().to_owned()).collect()
    }

    /// # Cancel safety
    /// Keys are fetched by [`Authenticator::keep_keys_fresh`], this only waits for them: a client that goes away takes no fetch with it.
    pub async fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Arc<Verified>, SignInFault> {
        refuse_subprotocol_token(headers)?;
        let token = bearer(headers)?;
        let verified = self.verified(token, now).await?;
        if let Some(standing) = self.standing(headers, &verified)? {
            standing.confirm().await?;
        }
        Ok(verified)
    }

    /// What a token of a cluster's own issuer rests on beside its signature; none for tokens of others.
    pub(crate) fn standing(
        &self,
        headers: &HeaderMap,
        verified: &Arc<Verified>,
    ) -> Result<Option<Arc<Standing>>, SignInFault> {
        let trust = self.trust.load();
        let issuer = trust.verifier.issuers().iter().find(|i| i.url() == verified.issuer());
        // It was taken out since the token was verified.
        let issuer = issuer.ok_or_else(|| TokenFault::UnknownIssuer(verified.issuer().to_owned()))?;
        let Some(cluster) = issuer.cluster() else {
            return Ok(None);
        };
        let token = bearer(headers)?;
        let standing = self.reviews.of(Print::of(token), token, verified, issuer, cluster);
        standing.map(Some)
    }

    async fn verified(&self, token: &str, now: Timestamp) -> Result<Arc<Verified>, SignInFault> {
        let print = Print::of(token);
        let trust = self.trust.load_full();
        match trust.judge(token, &print, now) {
            Err(TokenFault::UnknownKey { ref issuer, .. } | TokenFault::KeysUnavailable { ref issuer })
                if trust.refetched(issuer, now).await =>
            {
                // Not by the set from before the wait: the issuer may have been taken out of it meanwhile.
                Ok(self.trust.load().judge(token, &print, self.clock.now())?)
            }
            judged => Ok(judged?),
        }
    }
}

fn has(sources: &[Arc<KeySource>], source: &Arc<KeySource>) -> bool {
    sources.iter().any(|other| Arc::ptr_eq(other, source))
}

impl Trust {
    /// Sources that lead to the keys of one of the issuers are taken over from `before`, with the keys that they hold.
    fn new(issuers: Vec<Issuer>, before: &[Arc<KeySource>], pace: Pace) -> Result<Self, Vec<SourceFault>> {
        let mut faults = Vec::new();
        let mut sources = Vec::new();
        for issuer in &issuers {
            if let Some(same) = before.iter().find(|source| source.leads_to(issuer)) {
                sources.push(same.clone());
                continue;
            }
            match KeySource::new(issuer, pace) {
                Ok(source) => sources.push(Arc::new(source)),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            verifier: Verifier::new(issuers),
            sources,
            believed: Cache::of(MOST_BELIEVED),
            refused: Cache::of(MOST_REFUSED),
        })
    }

    fn judge(&self, token: &str, print: &Print, now: Timestamp) -> Result<Arc<Verified>, TokenFault> {
        if let Some(verified) = self.remembered(&self.believed, print, now) {
            return Ok(verified);
        }
        match self.remembered(&self.refused, print, now) {
            Some(fault) => Err(fault),
            None => self.verify(token, print, now),
        }
    }

    fn verify(&self, token: &str, print: &Print, now: Timestamp) -> Result<Arc<Verified>, TokenFault> {
        let used = Cell::new(None);
        let keys = |issuer: &Issuer| match self.held(issuer.url(), now) {
            Some((source, held)) => {
                used.set(Some((source, held.generation, held.good_until())));
                Keys::Known(held.keys.clone())
            }
            None => Keys::Unavailable,
        };
        let judged = self.verifier.verify(token, &keys, now).map(Arc::new);
        // Without a look at keys there is nothing worth remembering: a refusal was cheap, or it was for want of keys, which is not the token's fault.
        let Some((source, generation, keys_end)) = used.get() else {
            return judged;
        };
        let under = |until: Timestamp| Under {
            until: until.min(keys_end),
            source,
            generation,
        };
        match &judged {
            Ok(verified) => {
                let until = verified.expires().min(now.after(BELIEVED));
                self.believed.put(print, verified.clone(), under(until), now);
            }
            Err(fault) => self.refused.put(print, fault.clone(), under(now.after(REFUSED)), now),
        }
        judged
    }

    /// What was concluded of a token, as long as the keys are those that it was concluded with.
    fn remembered<T: Clone>(&self, cache: &Cache<T>, print: &Print, now: Timestamp) -> Option<T> {
        let (conclusion, under) = cache.look(print, now)?;
        let held = self.sources.get(under.source)?.held(now)?;
        (held.generation == under.generation).then_some(conclusion)
    }

    fn held(&self, issuer: &str, now: Timestamp) -> Option<(usize, Arc<Held>)> {
        let at = self.sources.iter().position(|source| source.issuer() == issuer)?;
        Some((at, self.sources.get(at)?.held(now)?))
    }

    async fn refetched(&self, issuer: &str, now: Timestamp) -> bool {
        match self.sources.iter().find(|source| source.issuer() == issuer) {
            Some(source) => source.refetched(now).await,
            None => false,
        }
    }
}

/// Exactly one header. Which of two a server believes is not to be guessed.
fn bearer(headers: &HeaderMap) -> Result<&str, SignInFault> {
    let mut found = headers.get_all(AUTHORIZATION).iter();
    let header = found.next().ok_or(SignInFault::Nothing)?;
    if found.next().is_some() {
        return Err(SignInFault::Several);
    }
    let text = header.to_str().map_err(|_| SignInFault::NotBearer)?;
    let (scheme, token) = text.split_once(' ').ok_or(SignInFault::NotBearer)?;
    // RFC 9110 §11.1: the scheme is case-insensitive. RFC 6750 §2.1: one token follows.
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains([' ', ',', '\t']) {
        return Err(SignInFault::NotBearer);
    }
    Ok(token)
}

/// The API server would take such a token, so it must not be overlooked: a second identity rides on the request.
pub fn refuse_subprotocol_token(headers: &HeaderMap) -> Result<(), SignInFault> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let tokens = offered
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter(|protocol| {
            let name = protocol.trim_ascii();
            name.get(..WEBSOCKET_TOKEN.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(WEBSOCKET_TOKEN.as_bytes()))
        });
    if tokens.count() == 0 {
        Ok(())
    } else {
        Err(SignInFault::InSubprotocol)
    }
}

/// SHA-256 of a token: the cache holds no credential.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Print([u8; 32]);

impl Print {
    fn of(token: &str) -> Self {
        let mut print = [0; 32];
        print.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(print)
    }
}

/// What was concluded of tokens not long ago. In memory of one process only; what it forgets is concluded again.
#[derive(Debug)]
struct Cache<T> {
    shards: [Mutex<HashMap<Print, (T, Under)>>; SHARDS],
    most: usize,
}

/// Under what a conclusion was reached, and how long it is to be remembered.
#[derive(Debug, Clone, Copy)]
struct Under {
    /// Never later than the token's own end, nor than that of the keys.
    until: Timestamp,
    source: usize,
    /// Of that source's keys.
    generation: u64,
}

impl<T: Clone> Cache<T> {
    fn of(most: usize) -> Self {
        Self {
            shards: Default::default(),
            most: most / SHARDS,
        }
    }

    fn look(&self, print: &Print, now: Timestamp) -> Option<(T, Under)> {
        let shard = self.shard(print).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(print).filter(|(_, under)| now < under.until).cloned()
    }

    /// Full: those that have ended go, or else any one.
    fn put(&self, print: &Print, conclusion: T, under: Under, now: Timestamp) {
        let mut shard = self.shard(print).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.most {
            shard.retain(|_, (_, under)| now < under.until);
        }
        if shard.len() >= self.most
            && let Some(any) = shard.keys().next().copied()
        {
            shard.remove(&any);
        }
        shard.insert(*print, (conclusion, under));
    }

    fn shard(&self, print: &Print) -> &Mutex<HashMap<Print, (T, Under)>> {
        &self.shards[usize::from(print.0[0]) % SHARDS]
    }
}

impl std::fmt::Debug for Print {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Print(..)")
    }
}

#[cfg(test)]
#[path = "authenticate_tests.rs"]
mod tests;
