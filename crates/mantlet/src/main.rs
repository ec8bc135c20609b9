//! The command `mantlet`.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use mantlet::{agent, config, dev, policy, serve, verify};
use mantlet_cli::{
    AgentArgs, AgentCommand, Command, ConfigArgs, ConfigCommand, DevArgs, DevCommand, Mantlet, PolicyArgs,
    PolicyCommand, PolicyTestArgs, PolicyValidateArgs, Report, ServeArgs, SessionsArgs, SessionsCommand, TestOutput,
    TokenArgs, TokenOutput, ValidateArgs,
};
use mantlet_core::law::Epoch;
use mantlet_core::time::Clock;
use mantlet_store::{MissingKey, Store, StoreConfig, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Mantlet::parse().command {
        Command::Serve(args) => log("info", false).and_then(|()| run(serve_command(args))),
        Command::Dev(DevArgs {
            command: Some(DevCommand::Token(args)),
            data_dir,
            ..
        }) => token(&args, data_dir),
        Command::Dev(args) => {
            log(if args.verbose { "info" } else { "warn" }, true).and_then(|()| run(dev_command(args)))
        }
        Command::Config(ConfigArgs {
            command: ConfigCommand::Validate(args),
        }) => return validate(&args),
        Command::Policy(args) => return policies(args),
        Command::Sessions(SessionsArgs {
            command: SessionsCommand::Rebuild(args),
        }) => log("warn", true).and_then(|()| run(rebuild(args))),
        Command::Sessions(SessionsArgs {
            command: SessionsCommand::Verify(args),
        }) => return checked(&args),
        Command::Sessions(SessionsArgs {
            command: SessionsCommand::RotateKey(args),
        }) => return rotated(&args),
        Command::Sessions(args) => return online(mantlet_cli::sessions(args, &mut std::io::stdout())),
        Command::Agent(AgentArgs {
            command: AgentCommand::Rbac(args),
        }) => agent::rbac::rbac(&args).and_then(|text| say(&text)),
        Command::Agent(AgentArgs {
            command: AgentCommand::Init(args),
        }) => agent::init::init(&args).and_then(|text| say(&text)),
        Command::Agent(args) => return online(mantlet_cli::agent(args, &mut std::io::stdout())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&told(&error));
            ExitCode::FAILURE
        }
    }
}

/// One sentence, from the outside in, and then every hint: what to type next stands last.
fn told(error: &anyhow::Error) -> String {
    let (mut sentence, mut hints) = (String::from("error"), String::new());
    for cause in error.chain() {
        let text = cause.to_string();
        let (said, hint) = text
            .split_once("\nhint: ")
            .map_or((text.as_str(), None), |(said, hint)| (said, Some(hint)));
        // Some errors quote their cause.
        if !sentence.ends_with(said) {
            sentence = format!("{sentence}: {said}");
        }
        if let Some(hint) = hint {
            hints = format!("{hints}\nhint: {hint}");
        }
    }
    format!("{sentence}{hints}")
}

async fn serve_command(args: ServeArgs) -> Result<()> {
    if !args.config.exists() {
        bail!(
            "there is no `{}`\nhint: mantlet serve --config FILE, or try it without one: mantlet dev --sandbox",
            args.config.display()
        );
    }
    let config = config::load(&args.config, Epoch::new(1)).map_err(|faults| serve::faults(&faults))?;
    let bound = serve::bind(config, Arc::new(SystemClock)).await?;
    tracing::info!(address = %bound.address()?, telemetry = %bound.telemetry_address()?, "serving");
    bound.serve(told_to_stop()?).await
}

async fn rebuild(args: ServeArgs) -> Result<()> {
    let config = config::load(&args.config, Epoch::new(1)).map_err(|faults| serve::faults(&faults))?;
    let place = StoreConfig {
        missing_key: MissingKey::Refuse,
        ..serve::store_config(&config)
    };
    let rows = Store::rebuild(place, Arc::new(SystemClock)).await;
    let rows = rows.context("cannot make the index anew")?;
    say(&format!("{} sessions and {} events\n", rows.sessions, rows.events))
}

async fn dev_command(args: DevArgs) -> Result<()> {
    let data_dir = args.data_dir.map_or_else(dev::home::default_dir, Ok)?;
    let stop = told_to_stop()?;
    let options = dev::Options {
        data_dir,
        listen: args.listen,
        sandbox: args.sandbox,
        cluster: args.cluster.source(),
    };
    tokio::pin!(stop);
    let dev = tokio::select! {
        dev = dev::prepare(options, Arc::new(SystemClock)) => dev?,
        () = &mut stop => return Ok(()),
    };
    say(&dev.story)?;
    dev.serve(stop).await
}

/// Run by kubectl for every command: nothing is set up that it does not need.
fn token(args: &TokenArgs, data_dir: Option<std::path::PathBuf>) -> Result<()> {
    let dir = data_dir.map_or_else(dev::home::default_dir, Ok)?;
    let form = match args.output {
        TokenOutput::Token => dev::token::Form::Token,
        TokenOutput::ExecCredential => dev::token::Form::ExecCredential,
    };
    say(&format!(
        "{}\n",
        dev::token::token(&dir, &args.name, form, SystemClock.now())?
    ))
}

/// Faults are what was asked for: they go to standard output too.
fn validate(args: &ValidateArgs) -> ExitCode {
    let verdict = config::validate(&args.config);
    let told = match args.output {
        Report::Text => format!("{}\n", verdict.text),
        Report::Json => format!("{}\n", verdict.json),
    };
    match (say(&told), verdict.valid) {
        (Ok(()), true) => ExitCode::SUCCESS,
        (Ok(()), false) | (Err(_), _) => ExitCode::FAILURE,
    }
}

fn policies(args: PolicyArgs) -> ExitCode {
    let done = match args.command {
        PolicyCommand::Test(args) => policy_test(&args),
        PolicyCommand::Validate(args) => Ok(policy_validate(&args)),
    };
    match done.and_then(|told| say(&told.text).map(|()| told.good)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&told(&error));
            ExitCode::FAILURE
        }
    }
}

fn policy_validate(args: &PolicyValidateArgs) -> policy::Told {
    let form = match args.output {
        Report::Text => policy::ValidateForm::Text,
        Report::Json => policy::ValidateForm::Json,
    };
    policy::validate(&args.paths, form, args.strict)
}

fn policy_test(args: &PolicyTestArgs) -> Result<policy::Told> {
    let form = match args.output {
        TestOutput::Table => policy::Form::Table,
        TestOutput::Json => policy::Form::Json,
        TestOutput::Junit => policy::Form::JUnit,
    };
    let tried = |form| policy::test(&args.paths, form).map_err(|faults| serve::faults(&faults));
    if let Some(file) = &args.junit {
        std::fs::write(file, tried(policy::Form::JUnit)?.text)
            .with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    tried(form)
}

/// A command that is a client of the virtual API.
fn online(command: impl Future<Output = mantlet_cli::Exit>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command).into(),
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// 0 whole, 1 not whole, 2 whatever kept it from being checked: a check that did not take place is never a good one.
fn checked(args: &mantlet_cli::VerifyArgs) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match done
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(verify::verify(args, &mut out)))
    {
        Ok(verify::Seen::Whole) => ExitCode::SUCCESS,
        Ok(verify::Seen::Damaged) => ExitCode::from(1),
        Err(error) => {
            complain(&told(&error));
            ExitCode::from(2)
        }
    }
}

fn rotated(args: &mantlet_cli::RecordArgs) -> ExitCode {
    let rotate = async { say(&verify::rotate_key(args, SystemClock.now()).await?) };
    match run(rotate) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&told(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// SIGTERM (an orchestrator) or SIGINT (Ctrl-C).
fn told_to_stop() -> Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Lines for people in `dev`, JSON for machines in `serve`; `RUST_LOG` overrides.
fn log(level: &str, people: bool) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(level))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match people {
        true => {
            let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            subscriber.with_target(false).with_ansi(color).init();
        }
        false => subscriber.json().init(),
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
