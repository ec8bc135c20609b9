//! The benchmark: the gateway beside its peers, in one interleaved run.
//!
//! What counts is CPU time of the target's processes for each finished request, as a ratio to a peer measured in the same minutes: requests
//! per second say more about the machine and its neighbors. The target has CPU 0; the load generator and the API server that everybody
//! has behind them (`stub`) share CPU 1, where this process runs. Built and started by `cargo xtask bench`, which also brings the peers along.

mod ground;
mod stub;
mod process;
mod target;
mod load;
mod hold;
mod rows;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

/// What `cargo xtask bench` says.
#[derive(Debug)]
pub(crate) struct Options {
    /// 3 repetitions of 2 s instead of 5 of 3 s.
    pub(crate) quick: bool,
    /// Rows to measure; all if empty.
    pub(crate) rows: Vec<String>,
    /// Programs by name: `mantlet`, `nginx`, `go`, `envoy`, `h2load`.
    pub(crate) programs: BTreeMap<String, PathBuf>,
    /// Why one of them is not there.
    pub(crate) missing: BTreeMap<String, String>,
    /// A folder on a disk: the journal lies there.
    pub(crate) dir: PathBuf,
    /// Where the table is written as JSON.
    pub(crate) json: PathBuf,
}

fn main() -> ExitCode {
    match Options::read(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    process::raise_file_limit()?;
    let ground = ground::Ground::lay(&options.dir).context("cannot lay the ground")?;
    let stub = stub::Stub::start(&ground).context("the API server does not start")?;
    let report = rows::measure(options, &ground, &stub)?;
    println!("{report}");
    std::fs::write(&options.json, report.json()).with_context(|| format!("{}", options.json.display()))?;
    println!("as JSON: {}", options.json.display());
    Ok(())
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            quick: false,
            rows: Vec::new(),
            programs: BTreeMap::new(),
            missing: BTreeMap::new(),
            dir: PathBuf::new(),
            json: PathBuf::new(),
        };
        while let Some(flag) = arguments.next() {
            if flag == "--quick" {
                options.quick = true;
                continue;
            }
            let value = arguments.next().with_context(|| format!("`{flag}` needs a value"))?;
            let pair = |value: &str| {
                let (name, rest) = value
                    .split_once('=')
                    .with_context(|| format!("`{value}` is not NAME=VALUE"))?;
                anyhow::Ok((name.to_owned(), rest.to_owned()))
            };
            match flag.as_str() {
                "--row" => options.rows.push(value),
                "--program" => {
                    let (name, path) = pair(&value)?;
                    options.programs.insert(name, path.into());
                }
                "--missing" => {
                    let (name, why) = pair(&value)?;
                    options.missing.insert(name, why);
                }
                "--dir" => options.dir = value.into(),
                "--json" => options.json = value.into(),
                other => bail!("`{other}` is no flag"),
            }
        }
        if options.dir.as_os_str().is_empty() || options.json.as_os_str().is_empty() {
            bail!("--dir and --json are needed\nhint: cargo xtask bench --quick");
        }
        Ok(options)
    }

    /// The path of a program, or why there is none.
    pub(crate) fn program(&self, name: &str) -> Result<&PathBuf, String> {
        self.programs.get(name).ok_or_else(|| {
            let why = self.missing.get(name).map_or("not given", String::as_str);
            format!("no {name}: {why}")
        })
    }
}
