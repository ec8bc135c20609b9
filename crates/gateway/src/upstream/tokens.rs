//! Short-lived tokens of the ServiceAccounts that are acted as by `via: token`.
//!
//! In: an account, and how to ask the cluster for a token of it. Out: a [`Token`] that is good for a while yet.
//! Refuses: where the cluster gives none, with what is missing for it.
//! Tokens lie in memory and nowhere else, and leave it as a header that is marked sensitive. One request at a time asks for an account: who comes
//! meanwhile goes on with the token at hand while that is good, and waits where there is none. Nothing is asked for accounts that nobody uses.
//! Time here is the monotonic clock's: how long a token lives the server says, and no wall clock of ours has to agree with its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::HeaderValue;
use mantlet_api::policy::ServiceAccountRef;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use super::{Unreached, header};

/// What is asked for: the least that an API server gives (kubernetes `pkg/apis/authentication/validation`, minTokenAgeSec).
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// A token is not used so shortly before its end: a request takes its time to arrive.
const MARGIN: Duration = Duration::from_secs(15);
/// After a renewal that failed, the next is tried so much later.
const AGAIN: Duration = Duration::from_secs(10);
/// And where there is no token at all, so that nobody makes us ask without pause.
const BAD: Duration = Duration::from_secs(1);
/// How long an answer is waited for when there is a token at hand, and when there is none.
const HURRY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// The tokens of one cluster, by account.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<ServiceAccountRef, Arc<Account>>>);

/// What one account has, and who is asking for more.
#[derive(Debug, Default)]
struct Account {
    /// Held while the cluster is asked.
    asking: tokio::sync::Mutex<()>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Arc<Token>>,
    /// The last time that none came, if none has since.
    failed: Option<(Instant, Unreached)>,
}

/// One token, and how long it is of use.
#[derive(Debug)]
pub(super) struct Token {
    secret: SecretString,
    /// From then on another is asked for.
    renew: Instant,
    /// From then on it is not used.
    ends: Instant,
}

/// What a TokenRequest brought.
#[derive(Debug)]
pub(super) struct Given {
    secret: SecretString,
    lifetime: Duration,
}

/// What has to be done before a request can go out.
#[derive(Debug)]
enum Need {
    Nothing(Arc<Token>),
    /// Another token, for those that come later.
    Renewal(Arc<Token>),
    Token,
    /// A pause: it was asked for a moment ago.
    Pause(Unreached),
}

/// Why there is no token. Nothing was sent of whatever it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoToken {
    pub(super) account: ServiceAccountRef,
    pub(super) why: NoTokenWhy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoTokenWhy {
    /// By RBAC of the cluster; in its words.
    Forbidden(String),
    /// There is no such account.
    Absent,
    Answered(String),
}

impl Tokens {
    /// A token of `account` that is good for a while yet; `ask` is how to get another.
    ///
    /// # Cancel safety
    /// Asking leaves nothing behind but a token that nobody uses; whoever comes next asks again.
    pub(super) async fn of<F>(
        &self,
        account: &ServiceAccountRef,
        ask: impl FnOnce() -> F,
    ) -> Result<Arc<Token>, Unreached>
    where
        F: Future<Output = Result<Given, Unreached>>,
    {
        let account = self.account(account);
        match account.need(Instant::now()) {
            Need::Nothing(token) => Ok(token),
            Need::Pause(why) => Err(why),
            Need::Renewal(token) => match account.asking.try_lock() {
                Ok(_asking) => Ok(account.renew(ask(), HURRY).await.unwrap_or(token)),
                // Somebody else does already.
                Err(_) => Ok(token),
            },
            Need::Token => {
                let _asking = account.asking.lock().await;
                match account.need(Instant::now()) {
                    Need::Nothing(token) | Need::Renewal(token) => Ok(token),
                    Need::Pause(why) => Err(why),
                    Need::Token => account.renew(ask(), PATIENCE).await,
                }
            }
        }
    }

    /// The cluster does not take this token: it is used no more, unless another has taken its place already.
    pub(super) fn refused(&self, account: &ServiceAccountRef, token: &Arc<Token>) {
        let account = self.account(account);
        let mut held = account.held();
        held.token.take_if(|held| Arc::ptr_eq(held, token));
    }

    /// Accounts whose token has ended and that nobody is asking for are forgotten on the way: there are never more than were used within a token's life.
    fn account(&self, account: &ServiceAccountRef) -> Arc<Account> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(account) {
            return known.clone();
        }
        let now = Instant::now();
        all.retain(|_, known| {
            Arc::strong_count(known) > 1 || known.held().token.as_ref().is_some_and(|t| now < t.ends)
        });
        all.entry(account.clone()).or_default().clone()
    }
}

impl Account {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn need(&self, now: Instant) -> Need {
        self.held().need(now)
    }

    /// Only while `asking` is held.
    async fn renew(
        &self,
        answer: impl Future<Output = Result<Given, Unreached>>,
        patience: Duration,
    ) -> Result<Arc<Token>, Unreached> {
        // Counted from before it was asked for: it cannot have begun earlier.
        let asked = Instant::now();
        let given = tokio::time::timeout(patience, answer).await;
        let given = given.unwrap_or_else(|_| {
            Err(Unreached::Unsent(format!(
                "the cluster gave no token within {} s",
                patience.as_secs()
            )))
        });
        let mut held = self.held();
        match given.and_then(|given| Token::new(given, asked, jitter()?)) {
            Ok(token) => {
                let token = Arc::new(token);
                *held = Held {
                    token: Some(token.clone()),
                    failed: None,
                };
                Ok(token)
            }
            Err(why) => {
                held.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }
}

impl Held {
    fn need(&self, now: Instant) -> Need {
        let failed = |within| {
            self.failed
                .as_ref()
                .filter(|(at, _)| now.saturating_duration_since(*at) < within)
        };
        match &self.token {
            Some(token) if now < token.renew || now < token.ends && failed(AGAIN).is_some() => {
                Need::Nothing(token.clone())
            }
            Some(token) if now < token.ends => Need::Renewal(token.clone()),
            Some(_) | None => match failed(BAD) {
                Some((_, why)) => Need::Pause(why.clone()),
                None => Need::Token,
            },
        }
    }
}

impl Token {
    /// Renewed when between six and eight tenths of its life are over: not all accounts at the same moment, and time is left to try again.
    fn new(given: Given, asked: Instant, jitter: u8) -> Result<Self, Unreached> {
        let lifetime = given.lifetime.min(LIFETIME);
        let life = lifetime.as_secs_f64() * (0.6 + 0.2 * f64::from(jitter) / 256.0);
        let ends = lifetime.checked_sub(MARGIN).filter(|left| !left.is_zero());
        let ends = ends.ok_or_else(|| Unreached::Unsent("the cluster gave a token that ends at once".into()))?;
        Ok(Self {
            secret: given.secret,
            renew: asked + Duration::from_secs_f64(life).min(ends),
            ends: asked + ends,
        })
    }

    /// The value of an `Authorization` header.
    pub(super) fn bearer(&self) -> Result<HeaderValue, Unreached> {
        let mut value = header(&format!("Bearer {}", self.secret.expose_secret()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Given {
    /// Of the answer to a TokenRequest. `spec.expirationSeconds` is what the server made of the wish (kubernetes
    /// `pkg/registry/core/serviceaccount/storage/token.go`); its `status.expirationTimestamp` would be read by our clock.
    pub(super) fn of(answer: &Value) -> Option<Self> {
        let token = answer.pointer("/status/token")?.as_str()?;
        let seconds = answer.pointer("/spec/expirationSeconds")?.as_u64()?;
        // RFC 6750 2.1: b64token.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        (!token.is_empty() && token.bytes().all(fits)).then(|| Self {
            secret: token.into(),
            lifetime: Duration::from_secs(seconds),
        })
    }
}

fn jitter() -> Result<u8, Unreached> {
    let mut random = [0];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Unreached::Unsent("this machine gives no random bytes".into()))?;
    let [random] = random;
    Ok(random)
}

impl NoToken {
    /// What the caller reads; it knows the account's name as its own.
    pub(crate) fn for_caller(&self) -> String {
        let ServiceAccountRef { namespace, name } = &self.account;
        let (why, ask) = match &self.why {
            NoTokenWhy::Forbidden(_) => (
                "the gateway may not have one",
                format!(
                    "to grant it `create` on `serviceaccounts/token` named `{name}` in namespace `{namespace}`: `mantlet agent rbac` prints the rule"
                ),
            ),
            NoTokenWhy::Absent => ("there is no such ServiceAccount", "to create it".to_owned()),
            NoTokenWhy::Answered(_) => ("the cluster gave none", "to look at its log".to_owned()),
        };
        format!(
            "requests of this agent need a token of ServiceAccount {namespace}/{name}, and {why}; nothing was sent. Ask the gateway's operator {ask}. Do not retry"
        )
    }
}

/// For the operator.
impl std::fmt::Display for NoToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ServiceAccountRef { namespace, name } = &self.account;
        write!(f, "no token of ServiceAccount {namespace}/{name}: ")?;
        match &self.why {
            NoTokenWhy::Forbidden(said) => write!(
                f,
                "the gateway needs `create` on `serviceaccounts/token` named `{name}` in namespace `{namespace}`, as `mantlet agent rbac` prints it: {said}"
            ),
            NoTokenWhy::Absent => f.write_str("there is no such account"),
            NoTokenWhy::Answered(said) => f.write_str(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::sync::Notify;

    use super::*;

    fn account(name: &str) -> ServiceAccountRef {
        ServiceAccountRef {
            namespace: "mantlet-agents".into(),
            name: name.into(),
        }
    }

    fn given(token: &str) -> Result<Given, Unreached> {
        Ok(Given {
            secret: token.into(),
            lifetime: LIFETIME,
        })
    }

    fn unsent() -> Unreached {
        Unreached::Unsent("down".into())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn held(asked: Instant, jitter: u8, failed: Option<Instant>) -> Held {
        Held {
            token: Some(Arc::new(Token::new(given("t").unwrap(), asked, jitter).unwrap())),
            failed: failed.map(|at| (at, unsent())),
        }
    }

    #[test]
    fn a_token_is_renewed_ahead_of_its_end_and_used_until_shortly_before_it() {
        let asked = Instant::now();
        for (jitter, renew) in [(0, 360), (255, 479)] {
            let held = held(asked, jitter, None);
            assert!(matches!(held.need(asked + seconds(renew - 1)), Need::Nothing(_)));
            assert!(matches!(held.need(asked + seconds(renew + 1)), Need::Renewal(_)));
            assert!(matches!(held.need(asked + seconds(584)), Need::Renewal(_)));
            assert!(matches!(held.need(asked + seconds(586)), Need::Token));
        }
    }

    #[test]
    fn a_renewal_that_failed_is_tried_again_ten_seconds_later_and_a_first_one_after_one() {
        let asked = Instant::now();
        let failed = asked + seconds(500);
        let renewal = held(asked, 0, Some(failed));
        assert!(matches!(renewal.need(failed + seconds(9)), Need::Nothing(_)));
        assert!(matches!(renewal.need(failed + seconds(11)), Need::Renewal(_)));
        // The old one has ended: it is not used, whatever failed.
        let late = held(asked, 0, Some(asked + seconds(585)));
        assert!(matches!(late.need(asked + seconds(585)), Need::Pause(_)));
        assert!(matches!(late.need(asked + seconds(587)), Need::Token));
    }

    #[test]
    fn the_server_says_how_long_a_token_lives_and_one_that_lives_no_longer_than_a_request_is_none() {
        let answer = |seconds: u64| json!({"spec": {"expirationSeconds": seconds}, "status": {"token": "a.b-c_d"}});
        let asked = Instant::now();
        let short = Token::new(Given::of(&answer(60)).unwrap(), asked, 255).unwrap();
        assert_eq!(short.ends, asked + seconds(45));
        assert!(short.renew <= short.ends);
        // A server that gives more is not believed beyond what was asked for.
        let long = Token::new(Given::of(&answer(86_400)).unwrap(), asked, 0).unwrap();
        assert_eq!(long.ends, asked + LIFETIME - MARGIN);
        assert!(Token::new(Given::of(&answer(15)).unwrap(), asked, 0).is_err());
    }

    #[test]
    fn an_answer_without_a_token_that_can_be_a_header_is_none() {
        for answer in [
            json!({}),
            json!({"spec": {"expirationSeconds": 600}, "status": {"token": ""}}),
            json!({"spec": {"expirationSeconds": 600}, "status": {"token": "a b"}}),
            json!({"spec": {"expirationSeconds": 600}, "status": {"token": "a\r\nimpersonate-user: root"}}),
            json!({"spec": {}, "status": {"token": "a.b.c"}}),
        ] {
            assert!(Given::of(&answer).is_none(), "{answer}");
        }
    }

    #[test]
    fn a_token_shows_in_no_debug_text() {
        let token = Token::new(given("very.secret.token").unwrap(), Instant::now(), 0).unwrap();
        let bearer = token.bearer().unwrap();
        assert_eq!(bearer.to_str().unwrap(), "Bearer very.secret.token");
        for text in [
            format!("{token:?}"),
            format!("{bearer:?}"),
            format!("{:?}", given("very.secret.token")),
        ] {
            assert!(!text.contains("secret.token"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_hundred_requests_at_once_ask_for_one_token() {
        let (tokens, asked, gate) = (Tokens::default(), AtomicUsize::new(0), Notify::new());
        let coder = account("coder");
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            gate.notified().await;
            given("one")
        };
        let all = futures_util::future::join_all((0..100).map(|_| tokens.of(&coder, ask)));
        let (all, ()) = tokio::join!(all, async { gate.notify_one() });
        for token in all {
            assert_eq!(token.unwrap().secret.expose_secret(), "one");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let other = tokens.of(&account("other"), || async { given("two") }).await.unwrap();
        assert_eq!(other.secret.expose_secret(), "two");
    }

    #[tokio::test]
    async fn whoever_comes_while_it_is_renewed_goes_on_with_the_old_one_and_so_does_the_renewer_if_that_fails() {
        let (tokens, coder) = (Tokens::default(), account("coder"));
        let old = {
            let known = tokens.account(&coder);
            // Its renewal is due, its end is not near.
            let begun = Instant::now().checked_sub(seconds(490)).unwrap();
            *known.held() = held(begun, 0, None);
            known.held().token.clone().unwrap()
        };
        let (begun, gate) = (Notify::new(), Notify::new());
        let renewer = tokens.of(&coder, || async {
            begun.notify_one();
            gate.notified().await;
            Err(unsent())
        });
        let meanwhile = async {
            begun.notified().await;
            let never = || async { panic!("somebody asks already") };
            let token = tokens.of(&coder, never).await.unwrap();
            gate.notify_one();
            token
        };
        let (renewed, meanwhile) = tokio::join!(renewer, meanwhile);
        assert!(Arc::ptr_eq(&renewed.unwrap(), &old) && Arc::ptr_eq(&meanwhile, &old));
        let never = || async { panic!("it failed a moment ago") };
        assert!(Arc::ptr_eq(&tokens.of(&coder, never).await.unwrap(), &old));
    }

    #[tokio::test]
    async fn one_that_the_cluster_refuses_is_dropped_once_and_the_next_is_kept() {
        let (tokens, coder) = (Tokens::default(), account("coder"));
        let first = tokens.of(&coder, || async { given("one") }).await.unwrap();
        tokens.refused(&coder, &first);
        let second = tokens.of(&coder, || async { given("two") }).await.unwrap();
        // A slow request hears of the first one's end only now.
        tokens.refused(&coder, &first);
        let never = || async { panic!("there is a good one") };
        assert!(Arc::ptr_eq(&tokens.of(&coder, never).await.unwrap(), &second));
    }

    #[tokio::test]
    async fn what_nobody_gives_is_not_asked_for_without_pause() {
        let (tokens, coder) = (Tokens::default(), account("coder"));
        let refused = NoToken {
            account: coder.clone(),
            why: NoTokenWhy::Forbidden("forbidden".into()),
        };
        for asked in [true, false] {
            let ask = || async {
                assert!(asked, "asked again at once");
                Err(Unreached::NoToken(refused.clone()))
            };
            let why = tokens.of(&coder, ask).await.unwrap_err();
            assert!(matches!(why, Unreached::NoToken(no) if no == refused));
        }
    }

    #[test]
    fn a_refusal_names_the_rule_that_is_missing() {
        let no = NoToken {
            account: account("coder"),
            why: NoTokenWhy::Forbidden("serviceaccounts \"coder\" is forbidden".into()),
        };
        for text in [no.for_caller(), no.to_string()] {
            for part in [
                "`create` on `serviceaccounts/token`",
                "`coder`",
                "`mantlet-agents`",
                "mantlet agent rbac",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}
