//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mantlet_kubeconfig::Source;

/// A gateway between the identities of your people and agents and your Kubernetes API servers
#[derive(Debug, Parser)]
#[command(name = "mantlet", version, disable_help_subcommand = true)]
pub struct Mantlet {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(ServeArgs),
    /// Put a cluster behind a gateway on this machine, with everything generated
    Dev(DevArgs),
    /// Look at a configuration before it is used
    Config(ConfigArgs),
    /// See what agents and people did
    Sessions(SessionsArgs),
    /// See the agents, and stop one
    Agent(AgentArgs),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "MANTLET_CONFIG", default_value = "mantlet.yaml")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with a configuration and the files that it names, or what it would put into force
    ///
    /// Reads files only: no cluster, issuer or database is asked. `mantlet serve` starts with a configuration that passes, and takes it up
    /// while it runs.
    Validate(ValidateArgs),
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "MANTLET_CONFIG", default_value = "mantlet.yaml")]
    pub config: PathBuf,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Report::Text)]
    pub output: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    /// Bring a real Kubernetes along, with identities to try
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"])]
    pub sandbox: bool,
    /// Where everything lies [default: $XDG_DATA_HOME/mantlet/dev]
    #[arg(long, value_name = "FOLDER", env = "MANTLET_DEV_DATA", global = true)]
    pub data_dir: Option<PathBuf>,
    /// Where the gateway listens; must be a loopback address
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// One line for each request
    #[arg(long, short)]
    pub verbose: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Print a fresh token of one of the identities
    Token(TokenArgs),
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The identity, as `mantlet dev` printed it
    pub name: String,
    /// What to print: the token itself, or what kubectl wants from an exec plugin
    #[arg(long, short, value_enum, default_value_t = TokenOutput::Token)]
    pub output: TokenOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenOutput {
    Token,
    ExecCredential,
}

#[derive(Debug, Args)]
pub struct SessionsArgs {
    #[command(subcommand)]
    pub command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// Sessions that you may see
    List {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// One session and its requests
    Show {
        /// Name of the session, as `mantlet sessions list` prints it
        name: String,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Throw the index away and make it anew from the journal
    Rebuild(ServeArgs),
    /// End a session, so that its credential can do nothing more; takes the role operator
    End {
        /// Name of the session, as `mantlet sessions list` prints it
        name: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Check that the record on this machine is whole: no changed bit, no missing or moved record
    Verify(VerifyArgs),
    /// Let a new key sign checkpoints from the next start on; the old one vouches for it
    RotateKey(RecordArgs),
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    pub command: AgentCommand,
}

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Agents that you may see
    List {
        /// How to print them
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// One agent
    Get {
        /// Name of the agent
        name: String,
        /// How to print it
        #[arg(long, short, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Stop every identity of an agent, at once; takes the role operator
    Suspend {
        /// Name of the agent
        name: String,
        /// Why; shown to people who look at the agent
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Let a suspended agent act again; takes a credential that this gateway cannot check yet
    Resume {
        /// Name of the agent
        name: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

/// The record of a gateway, by its files.
#[derive(Debug, Clone, Args)]
pub struct RecordArgs {
    /// The gateway's configuration file
    #[arg(long, value_name = "FILE", env = "MANTLET_CONFIG", default_value = "mantlet.yaml")]
    pub config: PathBuf,
}

/// Needs no gateway. Exits 0 if the record is whole, 1 if it is not, 2 if it could not be checked.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub record: RecordArgs,
    /// Checkpoints that were anchored, one JSON document a line [default: what `recording.anchor` names]
    #[arg(long, value_name = "FILE")]
    pub anchor_file: Option<PathBuf>,
    /// Believe this key alone, as `--print-key` printed it
    #[arg(long, value_name = "ID:HEX")]
    pub public_key: Option<String>,
    /// Print the public keys that sign checkpoints, for an auditor to keep, and check nothing
    #[arg(long)]
    pub print_key: bool,
    /// How to print what was found
    #[arg(long, short, value_enum, default_value_t = VerifyOutput::Text)]
    pub output: VerifyOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyOutput {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// Go on with what happens from now on
    #[arg(long, short)]
    pub follow: bool,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Wide,
    Json,
    Yaml,
}

/// Which gateway, as which user: as kubectl finds it.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Path of the kubeconfig [default: as kubectl]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

impl ClusterArgs {
    pub fn source(&self) -> Source {
        match &self.kubeconfig {
            Some(path) => Source::File {
                path: path.clone(),
                context: self.context.clone(),
            },
            None => Source::Default {
                context: self.context.clone(),
            },
        }
    }
}
