//! Which policies can speak about a request at all: found by set arithmetic, however many there are.
//!
//! For each word that a rule can match natively (verb, group, resource, namespace, subject) there is a set of the policies that accept it, one
//! bit for each policy. A request takes one set for each of its words; what is in all of them is asked whether it speaks
//! ([`Policy::speaks_about`]).
//! Deliberately does not: decide. A policy may be in all sets and not speak (two rules of it, each with half of the words); never the reverse.

use std::collections::BTreeMap;

use mantlet_api::policy::Operation;

use crate::action::{ResourceRef, Verb};
use crate::identity::Caller;

use super::VERBS;
use super::matching::{Named, ResourceRule, namespace_of, operation};
use super::policy::{Policy, Subject};

#[derive(Debug)]
pub(super) struct Index {
    verbs: [Set; VERBS.len()],
    groups: Words,
    resources: Words,
    namespaces: Words,
    everybody: Set,
    /// `any` are those with a pattern for names of agents.
    agents: Words,
    users: Words,
    in_groups: Words,
}

/// Policies by their place among all, one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Set(Vec<u64>);

/// For one kind of word: who accepts it, and who accepts any.
#[derive(Debug, Default)]
struct Words {
    any: Set,
    exactly: BTreeMap<String, Set>,
}

impl Index {
    pub(super) fn of(policies: &[Policy]) -> Self {
        let mut index = Self {
            verbs: VERBS.map(|_| Set::default()),
            groups: Words::default(),
            resources: Words::default(),
            namespaces: Words::default(),
            everybody: Set::default(),
            agents: Words::default(),
            users: Words::default(),
            in_groups: Words::default(),
        };
        for (at, policy) in policies.iter().enumerate() {
            index.add_subjects(at, &policy.subjects);
            policy.rules.iter().for_each(|rule| index.add_rule(at, rule));
        }
        index
    }

    fn add_subjects(&mut self, at: usize, subjects: &[Subject]) {
        if subjects.is_empty() {
            self.everybody.insert(at);
        }
        for subject in subjects {
            match subject {
                Subject::Agent(glob) => self.agents.accept(at, glob.literal()),
                Subject::User(user) => self.users.accept(at, Some(user)),
                Subject::Group(group) => self.in_groups.accept(at, Some(group)),
            }
        }
    }

    fn add_rule(&mut self, at: usize, rule: &ResourceRule) {
        for verb in VERBS {
            let named = |o: &Operation| *o == Operation::All || *o == operation(verb);
            if rule.operations.iter().any(named) {
                self.verbs[verb as usize].insert(at);
            }
        }
        for group in &rule.groups {
            self.groups.accept(at, (group != "*").then_some(group.as_str()));
        }
        for resource in &rule.resources {
            self.resources.accept(at, resource.literal());
        }
        if rule.namespaces.is_empty() {
            self.namespaces.accept(at, None);
        }
        for namespace in &rule.namespaces {
            self.namespaces.accept(at, namespace.literal());
        }
    }

    /// In their order, which is that of their names.
    pub(super) fn candidates(&self, caller: &Caller, verb: Verb, resource: &ResourceRef) -> Vec<usize> {
        let mut found = self.verbs[verb as usize].clone();
        found.keep(&self.groups.accepting(&resource.group));
        found.keep(&self.resources.accepting(&resource.resource));
        match namespace_of(verb, resource) {
            Named::Exactly(namespace) => found.keep(&self.namespaces.accepting(namespace)),
            // Every rule about a namespace speaks about what touches all of them.
            Named::Open => {}
        }
        found.keep(&self.subjects(caller));
        found.members().collect()
    }

    fn subjects(&self, caller: &Caller) -> Set {
        let mut fitting = self.everybody.clone();
        if let Some(agent) = caller.agent() {
            fitting.join(&self.agents.accepting(agent.name()));
        }
        if let Some(users) = self.users.exactly.get(caller.verified().username()) {
            fitting.join(users);
        }
        for group in caller.verified().groups() {
            if let Some(members) = self.in_groups.exactly.get(group) {
                fitting.join(members);
            }
        }
        fitting
    }
}

impl Words {
    /// `None` for a pattern: who is asked whether it fits is the policy itself.
    fn accept(&mut self, at: usize, word: Option<&str>) {
        match word {
            Some(word) => self.exactly.entry(word.to_owned()).or_default().insert(at),
            None => self.any.insert(at),
        }
    }

    fn accepting(&self, word: &str) -> Set {
        let mut set = self.any.clone();
        if let Some(exactly) = self.exactly.get(word) {
            set.join(exactly);
        }
        set
    }
}

impl Set {
    fn insert(&mut self, at: usize) {
        let word = at / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (at % 64);
    }

    fn join(&mut self, other: &Set) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    fn keep(&mut self, other: &Set) {
        self.0.truncate(other.0.len());
        for (word, kept) in self.0.iter_mut().zip(&other.0) {
            *word &= kept;
        }
    }

    fn members(&self) -> impl Iterator<Item = usize> {
        let bits = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| at * 64 + bit)
        };
        self.0.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[usize]) -> Set {
        let mut set = Set::default();
        members.iter().for_each(|at| set.insert(*at));
        set
    }

    #[test]
    fn sets_join_and_keep_whatever_their_lengths() {
        for (a, b, both, either) in [
            (
                &[0, 63, 64, 200][..],
                &[63, 200][..],
                &[63, 200][..],
                &[0, 63, 64, 200][..],
            ),
            (&[1], &[], &[], &[1]),
            (&[], &[1], &[], &[1]),
            (&[1], &[128], &[], &[1, 128]),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let mut kept = set(a);
                kept.keep(&set(b));
                assert_eq!(kept.members().collect::<Vec<_>>(), both);
                let mut joined = set(a);
                joined.join(&set(b));
                assert_eq!(joined.members().collect::<Vec<_>>(), either);
            }
        }
    }
}
