//! The table for people, and the same as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use crate::load::{Call, Sample, Shape};
use crate::target::Kind;

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    pub(crate) samples: BTreeMap<(Call, Shape, Kind), Vec<Sample>>,
}

/// What one has to know to judge the figures.
#[derive(Debug)]
pub(crate) struct Machine {
    cpus: usize,
    model: String,
    kernel: String,
    load_before: String,
    load_after: String,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) row: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) measured: Measured,
    pub(crate) must: f64,
    pub(crate) ambition: f64,
    pub(crate) better: Better,
}

#[derive(Debug)]
pub(crate) enum Measured {
    Value(f64),
    /// Why not.
    Skipped(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ambition,
    Must,
    Missed,
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ambition => "ambition reached",
            Verdict::Must => "must reached",
            Verdict::Missed => "MUST MISSED",
            Verdict::Skipped => "skipped",
        }
    }
}

impl Row {
    pub(crate) fn verdict(&self) -> Verdict {
        let Measured::Value(value) = self.measured else {
            return Verdict::Skipped;
        };
        let reaches = |goal: f64| match self.better {
            Better::More => value >= goal,
            Better::Less => value <= goal,
        };
        match (reaches(self.ambition), reaches(self.must)) {
            (true, _) => Verdict::Ambition,
            (false, true) => Verdict::Must,
            (false, false) => Verdict::Missed,
        }
    }
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        Ok(Self {
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            model: model
                .map_or("unknown", |model| model.trim_start_matches(['\t', ' ', ':']))
                .to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_before: load()?,
            load_after: String::new(),
        })
    }

    pub(crate) fn done(&mut self) -> Result<()> {
        self.load_after = load()?;
        Ok(())
    }
}

fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            cpus,
            model,
            kernel,
            load_before,
            load_after,
        } = &self.machine;
        writeln!(
            f,
            "\n{cpus} CPUs, {model}, Linux {kernel}; load average {load_before} before, {load_after} after"
        )?;
        writeln!(
            f,
            "Ratios are the peer's CPU time for each request divided by Mantlet's, medians of one interleaved run.\n"
        )?;
        writeln!(
            f,
            "{:<4} {:<52} {:>9} {:>9} {:>9}  verdict",
            "row", "what", "measured", "must", "ambition"
        )?;
        for row in &self.rows {
            let (sign, unit) = (if row.better == Better::More { "≥" } else { "≤" }, row.unit);
            let figure = |value: f64| {
                if unit == "×" {
                    format!("{value:.2} {unit}")
                } else {
                    format!("{value:.1} {unit}")
                }
            };
            let measured = match &row.measured {
                Measured::Value(value) => figure(*value),
                Measured::Skipped(_) => "–".to_owned(),
            };
            let goal = |value: f64| format!("{sign} {value}");
            write!(
                f,
                "{:<4} {:<52} {measured:>9} {:>9} {:>9}  {}",
                row.row,
                row.what,
                goal(row.must),
                goal(row.ambition),
                row.verdict().word()
            )?;
            match &row.measured {
                Measured::Skipped(why) => writeln!(f, ": {why}")?,
                Measured::Value(_) => writeln!(f)?,
            }
        }
        let missed: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.verdict() == Verdict::Missed)
            .collect();
        if !missed.is_empty() {
            writeln!(
                f,
                "\n!!! {} of {} figures miss what they must reach; docs/src/performance.md says why",
                missed.len(),
                self.rows.len()
            )?;
        }
        Ok(())
    }
}

impl Report {
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let (value, skipped) = match &row.measured {
                    Measured::Value(value) => (Some(*value), None),
                    Measured::Skipped(why) => (None, Some(why)),
                };
                json!({"row": row.row, "what": row.what, "unit": row.unit, "value": value, "skipped": skipped, "must": row.must,
                    "ambition": row.ambition, "moreIsBetter": row.better == Better::More, "verdict": row.verdict().word()})
            })
            .collect();
        let samples: Vec<Value> = self
            .samples
            .iter()
            .map(|((call, shape, kind), samples)| {
                let each = |value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
                json!({"call": format!("{call:?}"), "shape": shape.name(), "target": kind.name(),
                    "cpuMicrosecondsPerRequest": each(|sample| sample.cost), "afterwards": each(|sample| sample.afterwards),
                    "threads": samples.iter().map(|sample| json!(sample.threads)).collect::<Vec<_>>(),
                    "requests": samples.iter().map(|sample| sample.requests).collect::<Vec<_>>()})
            })
            .collect();
        let Machine {
            cpus,
            model,
            kernel,
            load_before,
            load_after,
        } = &self.machine;
        let machine =
            json!({"cpus": cpus, "model": model, "kernel": kernel, "loadBefore": load_before, "loadAfter": load_after});
        format!("{:#}\n", json!({"machine": machine, "rows": rows, "samples": samples}))
    }
}
