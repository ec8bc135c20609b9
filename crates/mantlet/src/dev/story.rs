//! What `mantlet dev` prints once it serves: for each identity one line to copy and five commands to try. Then it is quiet.

use std::fmt::Write as _;
use std::path::Path;

use super::cast::Player;
use super::home::kubeconfig;

/// The whole text.
pub fn story(
    players: &[Player],
    dir: &Path,
    address: std::net::SocketAddr,
    kubectl: Option<&Path>,
    notes: &[String],
) -> String {
    let mut out = String::new();
    let mut say = |line: &str| {
        let _ = writeln!(out, "{line}");
    };
    say(&format!(
        "\nMantlet serves on https://{address} ; everything lies in {}",
        dir.display()
    ));
    say("It is no boundary against other processes of your user: they can read the keys in there.");
    for note in notes {
        say(note);
    }
    if let Some(kubectl) = kubectl.and_then(Path::parent) {
        say(&format!(
            "There is no kubectl on your PATH; the sandbox has one:  export PATH=$PATH:{}",
            kubectl.display()
        ));
    }
    for player in players {
        say(&format!("\n{}: {}", player.name, player.line));
        say(&format!(
            "  export KUBECONFIG={}",
            kubeconfig(dir, &player.name).display()
        ));
        let width = player
            .tries
            .iter()
            .map(|(command, _)| command.len())
            .max()
            .unwrap_or(0)
            .min(72);
        for (command, expect) in &player.tries {
            say(&format!("    {command:<width$}  # {expect}"));
        }
    }
    say("\nCtrl-C ends it, a sandbox's cluster too. The record stays in the folder.");
    out
}
