//! One measurement: h2load on a target, and what each request cost it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::ground::Ground;
use crate::stub::{Stub, config_map};
use crate::target::Target;

/// How many connections, with how many requests in flight on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// HTTP/1.1, 64 connections.
    H1,
    /// HTTP/2, 16 connections of 4 streams.
    H2,
    /// HTTP/2, 4 connections of 32 streams.
    H2m,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// GET of a pod of 4 KB.
    Read,
    /// POST of a ConfigMap of 1 KB.
    Write,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// CPU time for each request, in microseconds; what is done after the load for its sake is in it.
    pub(crate) cost: f64,
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// Which part of the cost came after the load.
    pub(crate) afterwards: f64,
    /// The cost by thread, in microseconds for each request.
    pub(crate) threads: BTreeMap<String, f64>,
}

/// Connections are made and caches filled in this time; it is not measured.
const BEFORE: Duration = Duration::from_millis(600);

impl Shape {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::H1 => "h1",
            Shape::H2 => "h2",
            Shape::H2m => "h2m",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Shape::H1 => &["--h1", "-c", "64", "-m", "1"],
            Shape::H2 => &["-c", "16", "-m", "4"],
            Shape::H2m => &["-c", "4", "-m", "32"],
        }
    }
}

/// The means of a measurement.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) h2load: &'a Path,
    pub(crate) ground: &'a Ground,
    pub(crate) stub: &'a Stub,
    pub(crate) token: &'a str,
    pub(crate) lasts: Duration,
}

impl Bench<'_> {
    pub(crate) fn measure(&self, target: &Target, shape: Shape, call: Call) -> Result<Sample> {
        target.quiet()?;
        let mut h2load = self.command(target, shape, call)?;
        let running = h2load
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("h2load")?;
        sleep(BEFORE);
        let (begun, cpu, requests) = (Instant::now(), target.cpu()?, self.stub.answered());
        let threads = target.threads()?;
        sleep(self.lasts);
        // Both at the same moment: what is under way then is a hundred requests of tens of thousands.
        let (took, during) = (begun.elapsed(), target.cpu()? - cpu);
        let measured = self.stub.answered() - requests;
        let output = running.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "h2load failed: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        check(&said).with_context(|| format!("{} {}", target.kind.name(), shape.name()))?;
        ensure!(measured > 100, "{} answered {measured} requests", target.kind.name());
        let ended = self.stub.answered() - requests;
        target.quiet()?;
        let all = target.cpu()? - cpu;
        // What the end of h2load's time cost beyond the measured stretch is shared out by requests.
        let cost = all.as_secs_f64() / ended as f64;
        let spent = |(name, spent): (String, Duration)| {
            let more = spent.saturating_sub(threads.get(&name).copied().unwrap_or_default());
            (name, more.as_secs_f64() * 1e6 / ended as f64)
        };
        let threads = target.threads()?.into_iter().map(spent).collect();
        let steady = during.as_secs_f64() / measured as f64;
        Ok(Sample {
            cost: cost * 1e6,
            requests: ended,
            per_second: measured as f64 / took.as_secs_f64(),
            afterwards: 1.0 - steady / cost,
            threads,
        })
    }

    fn command(&self, target: &Target, shape: Shape, call: Call) -> Result<Command> {
        let mut command = Command::new(self.h2load);
        let lasts = BEFORE + self.lasts + Duration::from_millis(200);
        command
            .args(["-t", "1", "-D", &format!("{}ms", lasts.as_millis())])
            .args(shape.flags())
            .args(["-H", &format!("authorization: Bearer {}", self.token)]);
        let url = |path: &str| format!("https://{}/api/v1/namespaces/bench/{path}", target.address);
        match call {
            Call::Read => command.arg(url("pods/web-6d4b75cb6d-hk4x2")),
            Call::Write => {
                let body = self.ground.write("body.json", &config_map().to_string())?;
                command
                    .arg("-d")
                    .arg(body)
                    .args(["-H", "content-type: application/json"])
                    .arg(url("configmaps"))
            }
        };
        Ok(command)
    }
}

/// Answers other than 2xx would be cheap ones.
fn check(said: &str) -> Result<()> {
    let line = said
        .lines()
        .find(|line| line.starts_with("status codes:"))
        .context("h2load shows no status codes")?;
    let numbers: Vec<u64> = line
        .trim_start_matches("status codes:")
        .split(',')
        .filter_map(|part| part.split_whitespace().next()?.parse().ok())
        .collect();
    match numbers.as_slice() {
        [good, 0, 0, 0] if *good > 0 => Ok(()),
        _ => bail!("not every answer was a good one: {line}"),
    }
}
