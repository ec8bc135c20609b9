//! `mantlet agent list|get|suspend|resume`: a client of the virtual API, as `kubectl get agents` is.

use std::io::Write;

use mantlet_api::gate::StopOptions;
use serde_json::Value;

use crate::args::{AgentArgs, AgentCommand, ClusterArgs, Output};
use crate::client::{AS_JSON, AS_TABLE, Client};
use crate::exit::{Exit, Fault, finish};
use crate::sessions::{GROUP, get, named, parse, post, write_one_pretty};
use crate::table::{Printer, Table};

/// Carries out the command; data goes to `out`, what went wrong to standard error.
pub async fn agent(args: AgentArgs, out: &mut dyn Write) -> Exit {
    finish(match args.command {
        AgentCommand::List { output, cluster } => read("agents", output, &cluster, out).await,
        AgentCommand::Get { name, output, cluster } => one(&name, output, &cluster, out).await,
        AgentCommand::Suspend { name, reason, cluster } => stop(&name, "suspend", &reason, &cluster, out).await,
        AgentCommand::Resume { name, cluster } => stop(&name, "resume", "", &cluster, out).await,
        // No gateway is asked: the program itself does it.
        AgentCommand::Rbac(_) | AgentCommand::Init(_) => Err(Fault::Usage(String::from(
            "this command reads files, and is no client of a gateway",
        ))),
    })
}

async fn one(name: &str, output: Output, cluster: &ClusterArgs, out: &mut dyn Write) -> Result<(), Fault> {
    named(name, "an agent")?;
    read(&format!("agents/{name}"), output, cluster, out).await
}

async fn read(what: &str, output: Output, cluster: &ClusterArgs, out: &mut dyn Write) -> Result<(), Fault> {
    let client = Client::new(cluster.source()).await?;
    let path = format!("{GROUP}/{what}");
    match output {
        Output::Table | Output::Wide => {
            let table: Table = parse(&get(&client, &path, AS_TABLE).await?)?;
            Ok(Printer::new(output == Output::Wide).print(&table, out)?)
        }
        Output::Json | Output::Yaml => {
            write_one_pretty(&parse::<Value>(&get(&client, &path, AS_JSON).await?)?, output, out)
        }
    }
}

/// What the gateway says to it is printed: to resume is refused there, and it says why.
async fn stop(name: &str, what: &str, reason: &str, cluster: &ClusterArgs, out: &mut dyn Write) -> Result<(), Fault> {
    named(name, "an agent")?;
    let client = Client::new(cluster.source()).await?;
    let path = format!("{GROUP}/agents/{name}/{what}");
    post(&client, &path, &StopOptions::because(reason)).await?;
    Ok(writeln!(
        out,
        "agent/{name} {what}{}",
        if what.ends_with('e') { "d" } else { "ed" }
    )?)
}
