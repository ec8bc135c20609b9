//! The rows: what is measured for each, in one interleaved run, and what it must come to.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Options;
use crate::ground::Ground;
use crate::hold::Holder;
use crate::load::{Bench, Call, Sample, Shape};
use crate::report::{Better, Machine, Measured, Report, Row};
use crate::stub::Stub;
use crate::target::{Kind, Target};

const WATCHES_H2: usize = 2000;
const WATCHES_H1: usize = 1000;
const STALLED: usize = 32;

/// Samples by call, shape and target.
type Samples = BTreeMap<(Call, Shape, Kind), Vec<Sample>>;

pub(crate) fn measure(options: &Options, ground: &Ground, stub: &Stub) -> Result<Report> {
    let token = ground.token(&stub.issuer())?;
    let bench = Bench {
        h2load: options.program("h2load").map_err(anyhow::Error::msg)?,
        ground,
        stub,
        token: &token,
        lasts: Duration::from_secs(if options.quick { 2 } else { 3 }),
    };
    let mut run = Run {
        options,
        bench,
        repetitions: if options.quick { 3 } else { 5 },
        machine: Machine::look()?,
        rows: Vec::new(),
        samples: BTreeMap::new(),
    };
    run.requests()?;
    run.watches()?;
    run.isolation()?;
    run.machine.done()?;
    Ok(Report {
        machine: run.machine,
        rows: run.rows,
        samples: run.samples,
    })
}

struct Run<'a> {
    options: &'a Options,
    bench: Bench<'a>,
    repetitions: usize,
    machine: Machine,
    rows: Vec<Row>,
    samples: Samples,
}

impl Run<'_> {
    fn wants(&self, row: &str) -> bool {
        self.options.rows.is_empty() || self.options.rows.iter().any(|wanted| wanted == row)
    }

    fn start(&self, kind: Kind) -> Result<Target> {
        Target::start(kind, self.options, self.bench.ground, self.bench.stub)
    }

    /// Rows 1, 2, 3, 3b and 10: every target side by side, one after the other, again and again.
    fn requests(&mut self) -> Result<()> {
        let plan = self.plan();
        if plan.is_empty() {
            return Ok(());
        }
        let mut targets = BTreeMap::new();
        for (_, _, kind) in &plan {
            if !targets.contains_key(kind) && self.options.program(kind.name()).is_ok() {
                targets.insert(*kind, self.start(*kind)?);
            }
        }
        for repetition in 1..=self.repetitions {
            eprintln!("repetition {repetition} of {}", self.repetitions);
            for (call, shape, kind) in &plan {
                let Some(target) = targets.get(kind) else { continue };
                let sample = self.bench.measure(target, *shape, *call)?;
                eprintln!(
                    "  {call:?} {} {}: {:.1} µs of CPU for each of {} requests, {:.0} % of it afterwards",
                    shape.name(),
                    kind.name(),
                    sample.cost,
                    sample.requests,
                    sample.afterwards * 100.0
                );
                if *kind == Kind::Mantlet {
                    eprintln!("    by thread: {}", by_thread(&sample));
                }
                self.samples.entry((*call, *shape, *kind)).or_default().push(sample);
            }
        }
        drop(targets);
        self.judge();
        Ok(())
    }

    /// In the order of one repetition.
    fn plan(&self) -> Vec<(Call, Shape, Kind)> {
        let mut plan = Vec::new();
        for shape in [Shape::H1, Shape::H2, Shape::H2m] {
            let needed = match shape {
                Shape::H1 => self.wants("1") || self.wants("3") || self.wants("3b"),
                Shape::H2 => self.wants("2") || self.wants("3") || self.wants("3b"),
                Shape::H2m => self.wants("2"),
            };
            let peer = |kind| match kind {
                Kind::Nginx => self.wants("1") || self.wants("2"),
                Kind::Go => self.wants("3") && shape != Shape::H2m,
                Kind::Envoy => self.wants("3b") && shape != Shape::H2m,
                Kind::Mantlet => true,
            };
            let kinds = [Kind::Nginx, Kind::Go, Kind::Envoy, Kind::Mantlet].into_iter();
            plan.extend(
                kinds
                    .filter(|kind| needed && peer(*kind))
                    .map(|kind| (Call::Read, shape, kind)),
            );
        }
        if self.wants("10") {
            for shape in [Shape::H1, Shape::H2] {
                plan.extend([Kind::Nginx, Kind::Mantlet].map(|kind| (Call::Write, shape, kind)));
            }
        }
        plan
    }

    fn judge(&mut self) {
        let read = Call::Read;
        self.compare("1", "GET, h1, against nginx", read, Shape::H1, Kind::Nginx, 1.0, 1.3);
        self.compare(
            "2",
            "GET, h2, 4 streams, against nginx",
            read,
            Shape::H2,
            Kind::Nginx,
            1.2,
            1.6,
        );
        self.compare(
            "2",
            "GET, h2, 32 streams, against nginx",
            read,
            Shape::H2m,
            Kind::Nginx,
            1.3,
            2.0,
        );
        self.compare("3", "GET, h1, against Go + JWT", read, Shape::H1, Kind::Go, 6.0, 8.0);
        self.compare("3", "GET, h2, against Go + JWT", read, Shape::H2, Kind::Go, 6.0, 8.0);
        self.compare(
            "3b",
            "GET, h1, against Envoy + JWT + RBAC + log",
            read,
            Shape::H1,
            Kind::Envoy,
            2.5,
            3.5,
        );
        self.compare(
            "3b",
            "GET, h2, against Envoy + JWT + RBAC + log",
            read,
            Shape::H2,
            Kind::Envoy,
            2.5,
            3.5,
        );
        self.compare(
            "10",
            "durable POST, h1, against nginx plain",
            Call::Write,
            Shape::H1,
            Kind::Nginx,
            0.75,
            1.0,
        );
        self.compare(
            "10",
            "durable POST, h2, against nginx plain",
            Call::Write,
            Shape::H2,
            Kind::Nginx,
            0.75,
            1.0,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "a line of the table above")]
    fn compare(
        &mut self,
        row: &'static str,
        what: &'static str,
        call: Call,
        shape: Shape,
        peer: Kind,
        must: f64,
        ambition: f64,
    ) {
        if !self.wants(row) {
            return;
        }
        let median = |kind| median(self.samples.get(&(call, shape, kind))?.iter().map(|sample| sample.cost));
        let measured = match (median(peer), median(Kind::Mantlet)) {
            (Some(theirs), Some(ours)) => Measured::Value(theirs / ours),
            _ => Measured::Skipped(match self.options.program(peer.name()) {
                Err(why) => why,
                Ok(_) => "not measured".to_owned(),
            }),
        };
        self.rows.push(Row {
            row,
            what,
            unit: "×",
            measured,
            must,
            ambition,
            better: Better::More,
        });
    }

    /// Row 8: how much memory a watch takes on which nothing happens. A fresh process for each protocol.
    fn watches(&mut self) -> Result<()> {
        if !self.wants("8") {
            return Ok(());
        }
        let h2 = self.watch_memory("h2", WATCHES_H2)?;
        let h1 = self.watch_memory("h1", WATCHES_H1)?;
        let mut row = |what, value, must, ambition| {
            let measured = Measured::Value(value);
            self.rows.push(Row {
                row: "8",
                what,
                unit: "KB",
                measured,
                must,
                ambition,
                better: Better::Less,
            });
        };
        row("RSS for each idle watch, h2, 100 on a connection", h2, 16.0, 6.0);
        row("RSS for each idle watch, h1", h1, 34.0, 20.0);
        Ok(())
    }

    fn watch_memory(&self, protocol: &str, count: usize) -> Result<f64> {
        let target = self.start(Kind::Mantlet)?;
        // Allocators, caches and runtimes have what they need before the first watch is counted.
        self.bench.measure(&target, Shape::H2, Call::Read)?;
        let holder = Holder::new(self.bench.ground, target.address, self.bench.token)?;
        let watches = |count| match protocol {
            "h2" => holder.watches_h2(count),
            _ => holder.watches_h1(count),
        };
        target.quiet()?;
        let before = target.memory()?;
        let held = watches(count).context("watches")?;
        target.quiet()?;
        let after = target.memory()?;
        eprintln!("  {count} watches on {protocol}: {before} KiB before, {after} KiB with them");
        drop(held);
        Ok(after.saturating_sub(before) as f64 / count as f64)
    }

    /// Row 12: what 32 readers who stop reading take from everybody else.
    fn isolation(&mut self) -> Result<()> {
        if !self.wants("12") {
            return Ok(());
        }
        let target = self.start(Kind::Mantlet)?;
        let holder = Holder::new(self.bench.ground, target.address, self.bench.token)?;
        let (mut shares, mut sizes) = (Vec::new(), Vec::new());
        self.bench.measure(&target, Shape::H2, Call::Read)?;
        for _ in 0..self.repetitions {
            let alone = self.bench.measure(&target, Shape::H2, Call::Read)?;
            target.quiet()?;
            let before = target.memory()?;
            let held = holder.stalled(STALLED).context("stalled readers")?;
            sleep(Duration::from_millis(500));
            let after = target.memory()?;
            let beside = self.bench.measure(&target, Shape::H2, Call::Read)?;
            drop(held);
            eprintln!(
                "  {STALLED} stalled readers: {before} KiB before, {after} KiB with them; {:.0} requests/s alone, {:.0} beside them, CPU {:.1} and {:.1} µs",
                alone.per_second, beside.per_second, alone.cost, beside.cost
            );
            shares.push(beside.per_second / alone.per_second);
            sizes.push(after.saturating_sub(before) as f64 / STALLED as f64);
        }
        let value = |values: Vec<f64>| {
            median(values.into_iter()).map_or(Measured::Skipped("not measured".into()), Measured::Value)
        };
        self.rows.push(Row {
            row: "12",
            what: "requests/s of others beside 32 stalled readers",
            unit: "×",
            measured: value(shares),
            must: 0.9,
            ambition: 0.97,
            better: Better::More,
        });
        self.rows.push(Row {
            row: "12",
            what: "RSS for each stalled reader",
            unit: "KB",
            measured: value(sizes),
            must: 1024.0,
            ambition: 512.0,
            better: Better::Less,
        });
        Ok(())
    }
}

fn by_thread(sample: &Sample) -> String {
    let spent = sample.threads.iter().filter(|(_, micros)| **micros >= 0.1);
    spent
        .map(|(name, micros)| format!("{name} {micros:.1} µs"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => sorted.get(middle).copied(),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
