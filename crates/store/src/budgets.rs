//! What agents have used up of their budgets: distinct things of one agent on one cluster over a rolling window, across all its sessions and, where
//! replicas share a database, across all of them.
//!
//! In: what a request would use up, before it is sent; how it ended. Out: room that is its own, or that there is none.
//! Refuses: to say that there is room while anybody else counts. A request that died keeps what it took, until the window has passed over it.
//! Deliberately not here: what uses up what, which is the law's to know, and the journal: a reservation is no event, it precedes one.
//!
//! The window is measured by the clock of the database where replicas share one: two gateways whose clocks differ would otherwise each have a
//! window of their own. On one machine it is legal time, as everywhere.

use std::sync::Arc;
use std::time::Duration;

use mantlet_core::law::{Allowance, BudgetKind, Charge};
use mantlet_core::record::AuditId;
use mantlet_core::time::{Clock, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::StoreFault;
use crate::database::{Change, Database, Query, Row, query};

/// All budgets of all agents. One per process.
#[derive(Debug)]
pub struct Budgets {
    database: Database,
    clock: Arc<dyn Clock>,
    /// Whoever counts holds a connection while it waits for the others: some are left for everybody else.
    counting: Semaphore,
}

/// Whose budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<'a> {
    pub agent: &'a str,
    /// uid of the cluster: its name is the gateway's own.
    pub cluster: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "without a reservation nothing is sent"]
pub enum Reserved {
    /// All of it, until it is settled.
    Yes,
    /// None of it: this budget has no room for it.
    Over(BudgetKind),
}

/// How a request ended that had a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It happened, or may have.
    Kept,
    /// Provably nothing happened.
    GivenBack,
}

/// How a charge meets what is used up now. It decides nothing: until it is reserved, others may come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Distinct things within the window, used up or taken.
    pub counted: u32,
    /// How many of those of the charge are not among them; where all have room anyway, how many they are.
    pub fresh: u32,
}

/// One thing that is used up, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    pub key: String,
    /// What people call it.
    pub shown: String,
    /// The last request that took it.
    pub audit_id: String,
    pub at: Timestamp,
}

/// Half of the connections to PostgreSQL.
const COUNTING: usize = 4;
/// Most rows of what is only noted, whatever the limit.
const NOTED: u32 = 10_000;
/// Of what nobody can give back any more.
const USED_UP: &str = "";

impl Budgets {
    /// Removes what no window reaches any more.
    pub(crate) async fn open(database: Database, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        let counting = Semaphore::new(COUNTING);
        let budgets = Self {
            database,
            clock,
            counting,
        };
        budgets.sweep().await?;
        Ok(budgets)
    }

    /// Takes room for everything that a request would use up, or for nothing. Asked again with the same Audit-ID, it takes that instead.
    ///
    /// # Cancel safety
    /// Dropped, it has taken all or nothing; what it took stays taken until the window has passed over it.
    // INVARIANT: whoever counts holds the row of its agent and cluster, so that no two count the same room.
    pub async fn reserve(
        &self,
        holder: Holder<'_>,
        audit_id: &AuditId,
        charges: &[Charge],
    ) -> Result<Reserved, StoreFault> {
        if let Some(charge) = charges
            .iter()
            .find(|charge| number(charge.keys.len()) > charge.limit.count)
        {
            return Ok(Reserved::Over(charge.budget));
        }
        if charges.iter().all(|charge| charge.keys.is_empty()) {
            return Ok(Reserved::Yes);
        }
        let _turn = self.turn().await?;
        let (mut change, now) = self.hold(holder).await?;
        let own = query(END).bind(holder.agent).bind(holder.cluster);
        change.run(own.bind(audit_id.as_str())).await?;
        for charge in charges {
            change.run(passed(holder, charge, now)).await?;
            for key in &charge.keys {
                change
                    .run(taken(holder, charge.budget, key, audit_id.as_str(), audit_id, now))
                    .await?;
            }
            if counted(change.one(count(holder, charge, now)).await?)? > charge.limit.count {
                return Ok(Reserved::Over(charge.budget));
            }
        }
        change.commit().await?;
        Ok(Reserved::Yes)
    }

    /// How a request ended for which room was taken. Never said, it counts as what may have happened.
    ///
    /// # Cancel safety
    /// Dropped, it is said or not.
    pub async fn settle(&self, holder: Holder<'_>, audit_id: &AuditId, ending: Ending) -> Result<(), StoreFault> {
        let _turn = self.turn().await?;
        let (mut change, _) = self.hold(holder).await?;
        let texts = match ending {
            Ending::Kept => &[KEEP, END][..],
            Ending::GivenBack => &[END],
        };
        for text in texts {
            let query = query(text).bind(holder.agent).bind(holder.cluster);
            change.run(query.bind(audit_id.as_str())).await?;
        }
        change.commit().await
    }

    /// Counts what has happened already, room or not. Only as many are kept as the limit has, the last.
    ///
    /// # Cancel safety
    /// Dropped, it is counted or not.
    pub async fn note(&self, holder: Holder<'_>, audit_id: &AuditId, charge: &Charge) -> Result<(), StoreFault> {
        let _turn = self.turn().await?;
        let (mut change, now) = self.hold(holder).await?;
        change.run(passed(holder, charge, now)).await?;
        for key in &charge.keys {
            change
                .run(taken(holder, charge.budget, key, USED_UP, audit_id, now))
                .await?;
        }
        let beyond = query(
            "DELETE FROM budget_uses WHERE agent = $1 AND cluster = $2 AND budget = $3 AND item NOT IN
             (SELECT item FROM budget_uses WHERE agent = $1 AND cluster = $2 AND budget = $3 ORDER BY used DESC, item LIMIT $4)",
        );
        let beyond = of(beyond, holder, charge.budget).bind(i64::from(charge.limit.count.min(NOTED)));
        change.run(beyond).await?;
        change.commit().await
    }

    /// What a charge would meet.
    pub async fn standing(&self, holder: Holder<'_>, charge: &Charge) -> Result<Standing, StoreFault> {
        let now = self.database.now(self.clock.now()).await?;
        let counted = counted(self.database.one(count(holder, charge, now)).await?)?;
        let mut fresh = number(charge.keys.len());
        if counted.saturating_add(fresh) > charge.limit.count {
            for key in charge.keys.keys() {
                let row = query(
                    "SELECT item FROM budget_uses WHERE agent = $1 AND cluster = $2 AND budget = $3 AND used > $4 AND item = $5 LIMIT 1",
                );
                let row = of(row, holder, charge.budget).bind(begin(now, charge.limit.per));
                fresh -= u32::from(self.database.one(row.bind(key)).await?.is_some());
            }
        }
        Ok(Standing { counted, fresh })
    }

    /// What is used up of the budget of a charge now, and what may be: the last so many, the very last first.
    pub async fn recent(&self, holder: Holder<'_>, charge: &Charge, most: u32) -> Result<Vec<Used>, StoreFault> {
        let now = self.database.now(self.clock.now()).await?;
        // Of an item that two requests took, the later.
        let rows = query(
            "SELECT item, audit_id, shown, used FROM budget_uses AS mine
             WHERE agent = $1 AND cluster = $2 AND budget = $3 AND used > $4 AND NOT EXISTS
             (SELECT 1 FROM budget_uses AS later WHERE later.agent = $1 AND later.cluster = $2 AND later.budget = $3 AND later.item = mine.item
              AND (later.used > mine.used OR (later.used = mine.used AND later.under_way > mine.under_way)))
             ORDER BY used DESC, item LIMIT $5",
        );
        let rows = of(rows, holder, charge.budget).bind(begin(now, charge.limit.per));
        let rows = self.database.all(rows.bind(i64::from(most))).await?;
        rows.iter().map(used).collect()
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreFault> {
        self.counting.acquire().await.map_err(|_| StoreFault::Closed)
    }

    /// Begins a change in which nobody else changes what this holder has used, and says what time it is.
    async fn hold(&self, holder: Holder<'_>) -> Result<(Change, Timestamp), StoreFault> {
        let mut change = self.database.change().await?;
        let head = query(
            "INSERT INTO budget_heads (agent, cluster, turns) VALUES ($1, $2, 1)
             ON CONFLICT (agent, cluster) DO UPDATE SET turns = budget_heads.turns + 1",
        );
        change.run(head.bind(holder.agent).bind(holder.cluster)).await?;
        // What is taken must outlive a crash of the database.
        change.lasting().await?;
        // Only now: who waited for the row is later than who had it.
        let now = change.now(self.clock.now()).await?;
        Ok((change, now))
    }

    async fn sweep(&self) -> Result<(), StoreFault> {
        let heads = self
            .database
            .all(query("SELECT agent, cluster FROM budget_heads"))
            .await?;
        for head in &heads {
            let (agent, cluster): (String, String) = (head.try_get("agent")?, head.try_get("cluster")?);
            let holder = Holder {
                agent: &agent,
                cluster: &cluster,
            };
            // Not all in one statement: whoever counts changes the rows of its head in an order of its own.
            let (mut change, now) = self.hold(holder).await?;
            let old = query("DELETE FROM budget_uses WHERE agent = $1 AND cluster = $2 AND used <= $3");
            change
                .run(old.bind(&agent).bind(&cluster).bind(begin(now, Allowance::LONGEST)))
                .await?;
            change.commit().await?;
        }
        Ok(())
    }
}

/// One row for each thing, however often it is taken.
const KEEP: &str = "INSERT INTO budget_uses (agent, cluster, budget, item, under_way, audit_id, shown, used)
     SELECT agent, cluster, budget, item, '', audit_id, shown, used FROM budget_uses
     WHERE agent = $1 AND cluster = $2 AND under_way = $3
     ON CONFLICT (agent, cluster, budget, item, under_way) DO UPDATE SET
     audit_id = excluded.audit_id, shown = excluded.shown, used = excluded.used WHERE budget_uses.used <= excluded.used";
const END: &str = "DELETE FROM budget_uses WHERE agent = $1 AND cluster = $2 AND under_way = $3";

fn of(query: Query, holder: Holder<'_>, budget: BudgetKind) -> Query {
    query.bind(holder.agent).bind(holder.cluster).bind(budget.as_str())
}

/// What the window has passed over.
fn passed(holder: Holder<'_>, charge: &Charge, now: Timestamp) -> Query {
    let old = query("DELETE FROM budget_uses WHERE agent = $1 AND cluster = $2 AND budget = $3 AND used <= $4");
    of(old, holder, charge.budget).bind(begin(now, charge.limit.per))
}

fn taken(
    holder: Holder<'_>,
    budget: BudgetKind,
    (key, shown): (&String, &String),
    under_way: &str,
    audit_id: &AuditId,
    now: Timestamp,
) -> Query {
    let row = query(
        "INSERT INTO budget_uses (agent, cluster, budget, item, under_way, audit_id, shown, used)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (agent, cluster, budget, item, under_way) DO NOTHING",
    );
    let row = of(row, holder, budget).bind(key).bind(under_way);
    row.bind(audit_id.as_str()).bind(shown).bind(now.micros())
}

/// Everybody's, whether it is used up or only taken.
fn count(holder: Holder<'_>, charge: &Charge, now: Timestamp) -> Query {
    let row = query(
        "SELECT COUNT(DISTINCT item) AS items FROM budget_uses WHERE agent = $1 AND cluster = $2 AND budget = $3 AND used > $4",
    );
    of(row, holder, charge.budget).bind(begin(now, charge.limit.per))
}

fn counted(row: Option<Row>) -> Result<u32, StoreFault> {
    let row = row.ok_or_else(|| StoreFault::Index(String::from("a count gave no row")))?;
    let items: i64 = row.try_get("items")?;
    Ok(u32::try_from(items).unwrap_or(u32::MAX))
}

fn used(row: &Row) -> Result<Used, StoreFault> {
    Ok(Used {
        key: row.try_get("item")?,
        shown: row.try_get("shown")?,
        audit_id: row.try_get("audit_id")?,
        at: Timestamp::from_micros(row.try_get("used")?),
    })
}

fn begin(now: Timestamp, per: Duration) -> i64 {
    now.micros()
        .saturating_sub(i64::try_from(per.as_micros()).unwrap_or(i64::MAX))
}

fn number(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, clock, on_both, open};
    use crate::{HandClock, Store};

    const CODER: Holder<'static> = Holder {
        agent: "coder",
        cluster: "7d1f",
    };
    const PER: Duration = Duration::from_secs(600);

    fn id(number: usize) -> AuditId {
        AuditId::from_random(u128::try_from(number).unwrap().to_be_bytes())
    }

    fn charge(most: u32, keys: &[&str]) -> Charge {
        let shown = |key: &&str| ((*key).to_owned(), format!("configmaps \"{key}\""));
        Charge {
            budget: BudgetKind::Deletes,
            keys: keys.iter().map(shown).collect(),
            limit: Allowance { count: most, per: PER },
        }
    }

    async fn reserve(store: &Store, request: usize, most: u32, keys: &[&str]) -> Reserved {
        let charges = [charge(most, keys)];
        store.budgets.reserve(CODER, &id(request), &charges).await.unwrap()
    }

    async fn settle(store: &Store, request: usize, ending: Ending) {
        store.budgets.settle(CODER, &id(request), ending).await.unwrap();
    }

    async fn spent(store: &Store) -> Vec<String> {
        let used = store.budgets.recent(CODER, &charge(0, &[]), 100).await.unwrap();
        let mut keys: Vec<_> = used.into_iter().map(|used| used.key).collect();
        keys.sort();
        keys
    }

    /// On PostgreSQL the window has a clock of its own: the rows grow older instead.
    async fn later(scratch: &Scratch, clock: &HandClock, by: Duration) {
        clock.advance(by);
        let age = format!("UPDATE budget_uses SET used = used - {}", by.as_micros());
        if scratch.is_shared() {
            scratch.tamper(&age).await;
        }
    }

    const OVER: Reserved = Reserved::Over(BudgetKind::Deletes);

    on_both!(
        a_budget_is_of_distinct_things_and_the_same_one_again_costs_nothing,
        what_was_given_back_is_free_again_and_what_was_kept_is_not,
        what_two_requests_took_is_free_only_when_neither_needs_it,
        the_window_rolls_and_what_nobody_settled_leaves_with_it,
        all_charges_of_a_request_are_taken_or_none,
        a_request_that_asks_again_takes_what_it_asks_for_last,
        fifty_at_once_get_exactly_what_there_is,
        agents_and_clusters_have_budgets_of_their_own,
        what_is_noted_takes_no_room_and_only_the_last_are_kept,
        the_standing_of_a_charge_says_what_a_reservation_would_meet,
        a_restart_forgets_nothing_and_removes_what_no_window_reaches,
    );

    async fn a_budget_is_of_distinct_things_and_the_same_one_again_costs_nothing(scratch: Scratch) {
        let store = open(&scratch, &clock()).await.unwrap();
        assert_eq!(reserve(&store, 1, 3, &["a", "b", "a"]).await, Reserved::Yes);
        settle(&store, 1, Ending::Kept).await;
        assert_eq!(reserve(&store, 2, 3, &["b"]).await, Reserved::Yes);
        settle(&store, 2, Ending::Kept).await;
        assert_eq!(reserve(&store, 3, 3, &["c"]).await, Reserved::Yes);
        settle(&store, 3, Ending::Kept).await;
        assert_eq!(reserve(&store, 4, 3, &["d"]).await, OVER);
        assert_eq!(reserve(&store, 5, 3, &["a"]).await, Reserved::Yes);
        assert_eq!(spent(&store).await, ["a", "b", "c"]);
        // More than there ever is is not even asked for.
        assert_eq!(reserve(&store, 6, 3, &["1", "2", "3", "4"]).await, OVER);
        let used = store.budgets.recent(CODER, &charge(0, &[]), 100).await.unwrap();
        let b = used.iter().find(|used| used.key == "b").unwrap();
        assert_eq!(
            (b.audit_id.as_str(), b.shown.as_str()),
            (id(2).as_str(), "configmaps \"b\"")
        );
    }

    async fn what_was_given_back_is_free_again_and_what_was_kept_is_not(scratch: Scratch) {
        let store = open(&scratch, &clock()).await.unwrap();
        assert_eq!(reserve(&store, 1, 1, &["a"]).await, Reserved::Yes);
        assert_eq!(reserve(&store, 2, 1, &["b"]).await, OVER);
        settle(&store, 1, Ending::GivenBack).await;
        assert_eq!(spent(&store).await, [""; 0]);
        assert_eq!(reserve(&store, 3, 1, &["b"]).await, Reserved::Yes);
        settle(&store, 3, Ending::Kept).await;
        // Said twice, or late, it changes nothing.
        settle(&store, 3, Ending::GivenBack).await;
        assert_eq!(reserve(&store, 4, 1, &["a"]).await, OVER);
        assert_eq!(spent(&store).await, ["b"]);
    }

    async fn what_two_requests_took_is_free_only_when_neither_needs_it(scratch: Scratch) {
        let store = open(&scratch, &clock()).await.unwrap();
        assert_eq!(reserve(&store, 1, 1, &["a"]).await, Reserved::Yes);
        assert_eq!(reserve(&store, 2, 1, &["a"]).await, Reserved::Yes);
        settle(&store, 1, Ending::GivenBack).await;
        assert_eq!(reserve(&store, 3, 1, &["b"]).await, OVER);
        settle(&store, 2, Ending::GivenBack).await;
        assert_eq!(reserve(&store, 3, 1, &["b"]).await, Reserved::Yes);
    }

    async fn the_window_rolls_and_what_nobody_settled_leaves_with_it(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        assert_eq!(reserve(&store, 1, 2, &["a"]).await, Reserved::Yes);
        later(&scratch, &clock, PER / 2).await;
        assert_eq!(reserve(&store, 2, 2, &["b"]).await, Reserved::Yes);
        settle(&store, 2, Ending::Kept).await;
        assert_eq!(reserve(&store, 3, 2, &["c"]).await, OVER);
        later(&scratch, &clock, PER / 2).await;
        assert_eq!(spent(&store).await, ["b"]);
        assert_eq!(reserve(&store, 3, 2, &["c"]).await, Reserved::Yes);
        assert_eq!(reserve(&store, 4, 2, &["d"]).await, OVER);
        later(&scratch, &clock, PER / 2).await;
        assert_eq!(reserve(&store, 4, 2, &["d"]).await, Reserved::Yes);
        assert_eq!(rows(&store).await, 2, "what the window passed over is gone");
    }

    async fn all_charges_of_a_request_are_taken_or_none(scratch: Scratch) {
        let store = open(&scratch, &clock()).await.unwrap();
        let namespaces = |most, key: &str| Charge {
            budget: BudgetKind::Namespaces,
            ..charge(most, &[key])
        };
        let first = [charge(2, &["a"]), namespaces(1, "test")];
        assert_eq!(
            store.budgets.reserve(CODER, &id(1), &first).await.unwrap(),
            Reserved::Yes
        );
        let second = [charge(2, &["b"]), namespaces(1, "prod")];
        let over = store.budgets.reserve(CODER, &id(2), &second).await.unwrap();
        assert_eq!(over, Reserved::Over(BudgetKind::Namespaces));
        assert_eq!(spent(&store).await, ["a"]);
    }

    async fn a_request_that_asks_again_takes_what_it_asks_for_last(scratch: Scratch) {
        let store = open(&scratch, &clock()).await.unwrap();
        for keys in [["a", "b"], ["b", "c"], ["a", "c"]] {
            assert_eq!(reserve(&store, 1, 2, &keys).await, Reserved::Yes);
        }
        assert_eq!(spent(&store).await, ["a", "c"]);
        settle(&store, 1, Ending::GivenBack).await;
        assert_eq!(rows(&store).await, 0);
    }

    /// Two processes on one database are two stores here; on SQLite there is one.
    async fn fifty_at_once_get_exactly_what_there_is(scratch: Scratch) {
        let one = Arc::new(open(&scratch, &clock()).await.unwrap());
        let other = match scratch.is_shared() {
            true => Arc::new(open(&scratch, &clock()).await.unwrap()),
            false => one.clone(),
        };
        let mut under_way = tokio::task::JoinSet::new();
        for number in 0..50 {
            let store = [&one, &other][number % 2].clone();
            under_way.spawn(async move {
                let reserved = reserve(&store, number, 7, &[&format!("uid-{number}")]).await;
                if reserved == Reserved::Yes && number % 3 == 0 {
                    settle(&store, number, Ending::Kept).await;
                }
                reserved
            });
        }
        let reserved = under_way.join_all().await;
        let got = reserved.iter().filter(|reserved| **reserved == Reserved::Yes).count();
        assert_eq!(got, 7);
        assert_eq!(spent(&one).await.len(), 7);
        assert_eq!(spent(&one).await, spent(&other).await);
    }

    async fn agents_and_clusters_have_budgets_of_their_own(scratch: Scratch) {
        let store = open(&scratch, &clock()).await.unwrap();
        assert_eq!(reserve(&store, 1, 1, &["a"]).await, Reserved::Yes);
        for (request, holder) in [
            Holder {
                agent: "other",
                ..CODER
            },
            Holder {
                cluster: "9a3e",
                ..CODER
            },
        ]
        .into_iter()
        .enumerate()
        {
            let reserved = store
                .budgets
                .reserve(holder, &id(10 + request), &[charge(1, &["b"])])
                .await;
            assert_eq!(reserved.unwrap(), Reserved::Yes, "{holder:?}");
        }
        assert_eq!(reserve(&store, 2, 1, &["b"]).await, OVER);
    }

    async fn what_is_noted_takes_no_room_and_only_the_last_are_kept(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        let denials = |request: usize| Charge {
            budget: BudgetKind::Denials,
            ..charge(2, &[id(request).as_str()])
        };
        for request in 1..=4 {
            store
                .budgets
                .note(CODER, &id(request), &denials(request))
                .await
                .unwrap();
            clock.advance(Duration::from_secs(1));
        }
        let noted = store.budgets.recent(CODER, &denials(5), 100).await.unwrap();
        let noted: Vec<_> = noted.into_iter().map(|used| used.audit_id).collect();
        assert_eq!(noted, [id(4).as_str(), id(3).as_str()]);
        let standing = store.budgets.standing(CODER, &denials(5)).await.unwrap();
        assert_eq!(standing, Standing { counted: 2, fresh: 1 });
        assert_eq!(reserve(&store, 6, 1, &["a"]).await, Reserved::Yes, "another budget");
    }

    async fn the_standing_of_a_charge_says_what_a_reservation_would_meet(scratch: Scratch) {
        let store = open(&scratch, &clock()).await.unwrap();
        assert_eq!(reserve(&store, 1, 3, &["a", "b"]).await, Reserved::Yes);
        settle(&store, 1, Ending::Kept).await;
        let standing = async |keys: &[&str]| store.budgets.standing(CODER, &charge(3, keys)).await.unwrap();
        assert_eq!(standing(&[]).await, Standing { counted: 2, fresh: 0 });
        assert_eq!(standing(&["c"]).await, Standing { counted: 2, fresh: 1 });
        assert_eq!(standing(&["a", "c"]).await, Standing { counted: 2, fresh: 1 });
        assert_eq!(standing(&["c", "d"]).await, Standing { counted: 2, fresh: 2 });
        assert_eq!(spent(&store).await, ["a", "b"], "it takes nothing");
        let last = store.budgets.recent(CODER, &charge(3, &[]), 1).await.unwrap();
        assert_eq!(last.len(), 1);
    }

    async fn a_restart_forgets_nothing_and_removes_what_no_window_reaches(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        assert_eq!(reserve(&store, 1, 2, &["a"]).await, Reserved::Yes);
        assert_eq!(reserve(&store, 2, 2, &["b"]).await, Reserved::Yes);
        settle(&store, 2, Ending::Kept).await;
        store.close().await;
        drop(store);
        let store = open(&scratch, &clock).await.unwrap();
        assert_eq!(spent(&store).await, ["a", "b"]);
        assert_eq!(reserve(&store, 3, 2, &["c"]).await, OVER);
        store.close().await;
        drop(store);
        later(&scratch, &clock, Allowance::LONGEST).await;
        let store = open(&scratch, &clock).await.unwrap();
        assert_eq!(rows(&store).await, 0);
    }

    async fn rows(store: &Store) -> i64 {
        let rows = store
            .budgets
            .database
            .one(query("SELECT COUNT(*) AS rows FROM budget_uses"));
        rows.await.unwrap().unwrap().try_get("rows").unwrap()
    }
}
