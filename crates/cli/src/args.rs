//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mantlet_api::policy::{Owner, ServiceAccountRef};
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
    /// Check and try agents and policies before they are used
    Policy(PolicyArgs),
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
pub struct PolicyArgs {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say everything that is wrong with agents and policies, and which rules can hardly be meant
    ///
    /// Reads files only. Exits 1 if something is wrong; what can hardly be meant is a warning: a rule that is never reached, never
    /// acts, speaks about nothing that there is, or decides nothing.
    Validate(PolicyValidateArgs),
    /// Try the cases that files of kind PolicyTest hold
    ///
    /// Reads files only: nothing is asked of a cluster. Exits 0 if every case ends as it says, 1 if not.
    Test(PolicyTestArgs),
}

#[derive(Debug, Args)]
pub struct PolicyValidateArgs {
    /// Files, or folders of files, of Agent and Policy objects
    #[arg(value_name = "PATH", default_value = "policies")]
    pub paths: Vec<PathBuf>,
    /// Exit 1 for warnings, too
    #[arg(long)]
    pub strict: bool,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Report::Text)]
    pub output: Report,
}

#[derive(Debug, Args)]
pub struct PolicyTestArgs {
    /// Files, or folders in which every PolicyTest counts
    #[arg(value_name = "PATH", default_value = "policies")]
    pub paths: Vec<PathBuf>,
    /// How to print what came of it
    #[arg(long, short, value_enum, default_value_t = TestOutput::Table)]
    pub output: TestOutput,
    /// Write it to this file as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TestOutput {
    Table,
    Json,
    Junit,
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
    /// Print the rights that the gateway needs on a cluster by its configuration, for kubectl to apply
    ///
    /// Reads files only. Agents are named one by one, people as far as they are known: from `authorization.roles`, from `owners` of Agents, and
    /// from here. Without a name there is no rule.
    Rbac(RbacArgs),
    /// Write everything that lets a new agent in: its account and role, the Agent, a kubeconfig, an egress policy, what to tell it
    ///
    /// Nothing is applied to a cluster; it prints what to type.
    Init(Box<InitArgs>),
    /// Let a suspended agent act again; takes a credential that this gateway cannot check yet
    Resume {
        /// Name of the agent
        name: String,
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub struct RbacArgs {
    /// The gateway's configuration file
    #[arg(long, value_name = "FILE", env = "MANTLET_CONFIG", default_value = "mantlet.yaml")]
    pub config: PathBuf,
    /// Which of its clusters [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// What the roles and bindings are called
    #[arg(long, value_name = "NAME", default_value = "mantlet-gateway")]
    pub name: String,
    /// The user that the gateway is to the cluster [default: mantlet-gateway; with `inCluster` its account]
    #[arg(long, value_name = "NAME", conflicts_with = "service_account")]
    pub user: Option<String>,
    /// The ServiceAccount that it is [default with `inCluster`: mantlet-system/mantlet-gateway]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account)]
    pub service_account: Option<ServiceAccountRef>,
    /// A person who may come, as the claim mapping names them; may be repeated
    #[arg(long, value_name = "NAME")]
    pub person: Vec<String>,
    /// Let the gateway become any user name, since those of people cannot all be listed
    #[arg(long)]
    pub any_person: bool,
    /// A group that a person's token may carry; may be repeated
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// The user that the observer is to the cluster, where there is one [default: mantlet-observer]
    #[arg(long, value_name = "NAME", conflicts_with = "observer_service_account")]
    pub observer_user: Option<String>,
    /// The ServiceAccount that it is [default with `inCluster`: mantlet-system/mantlet-observer]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account)]
    pub observer_service_account: Option<ServiceAccountRef>,
}

#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Name of the agent, and of its ServiceAccount
    pub name: String,
    /// A namespace that it works in; may be repeated
    #[arg(long, short, value_name = "NAME", required = true)]
    pub namespace: Vec<String>,
    /// What it may do there
    #[arg(long, value_enum, default_value_t = Template::Readonly)]
    pub template: Template,
    /// The cluster, as `clusters[].name` of the gateway's configuration [default: its only one]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The gateway's configuration file, if it is at hand; only `clusters` is looked at
    #[arg(long, value_name = "FILE", env = "MANTLET_CONFIG", default_value = "mantlet.yaml")]
    pub config: PathBuf,
    /// Which identities it is: CEL over `user` and `claims`; may be repeated, all must be true [default: claims.sub == 'NAME']
    #[arg(long = "match", value_name = "EXPR")]
    pub matching: Vec<String>,
    /// The issuer that vouches for it; every other identity is not this agent
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Who answers for it: `issuer=URL,group=NAME` or `issuer=URL,user=NAME`; may be repeated
    #[arg(long, value_name = "OWNER", value_parser = owner)]
    pub owner: Vec<Owner>,
    /// A Secret (glob) that it may write and its workloads may reference; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub secret: Vec<String>,
    /// Let it run commands in pods, which the gateway's policies then judge one by one
    #[arg(long)]
    pub exec: bool,
    /// How the gateway acts as its account
    #[arg(long, value_enum, default_value_t = InitVia::Impersonation)]
    pub via: InitVia,
    /// The namespace of the accounts of agents; not one where it works
    #[arg(long, value_name = "NAME", default_value = "mantlet-agents")]
    pub accounts: String,
    /// Where the gateway is, for the kubeconfig
    #[arg(long, value_name = "URL", default_value = InitArgs::SERVER)]
    pub server: String,
    /// PEM file of the authority of the gateway's certificate [default: the machine's own]
    #[arg(long, value_name = "FILE")]
    pub certificate_authority: Option<PathBuf>,
    /// The file that its token is in, renewed by whoever puts it there
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/mantlet/token")]
    pub token_file: PathBuf,
    /// Take the token from `mantlet dev` on this machine instead
    #[arg(long, conflicts_with = "token_file")]
    pub dev: bool,
    /// An address of the gateway, where pods reach it by an address and not by its Service; may be repeated
    #[arg(long, value_name = "CIDR")]
    pub gateway_address: Vec<String>,
    /// An address of the API server: pods may go everywhere else; may be repeated [default: they may go nowhere outside]
    #[arg(long, value_name = "CIDR")]
    pub api_server: Vec<String>,
    /// Where the files go [default: a new folder of its name]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print the files and write none
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// Apply, roll out, look and clean up what an application is made of
    Deployer,
    /// Look, at everything but Secrets
    Readonly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitVia {
    Impersonation,
    Token,
}

impl InitArgs {
    /// The gateway in a pod of the cluster itself.
    pub const SERVER: &str = "https://mantlet.mantlet-system.svc:8443";
}

fn account(text: &str) -> Result<ServiceAccountRef, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ServiceAccountRef {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        Some(_) | None => Err("write NAMESPACE/NAME".to_owned()),
    }
}

/// An issuer's URL may hold a comma, though none does: what follows the last `,group=` or `,user=` is the name.
fn owner(text: &str) -> Result<Owner, String> {
    let wanted = || "write issuer=URL,group=NAME or issuer=URL,user=NAME".to_owned();
    let rest = text.strip_prefix("issuer=").ok_or_else(wanted)?;
    let split = |key: &str| {
        rest.rsplit_once(key)
            .filter(|(issuer, name)| !issuer.is_empty() && !name.is_empty())
    };
    match (split(",user="), split(",group=")) {
        (Some((issuer, user)), None) => Ok(Owner {
            issuer: issuer.to_owned(),
            user: Some(user.to_owned()),
            group: None,
        }),
        (None, Some((issuer, group))) => Ok(Owner {
            issuer: issuer.to_owned(),
            user: None,
            group: Some(group.to_owned()),
        }),
        (Some(_), Some(_)) | (None, None) => Err(wanted()),
    }
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
