//! `mantlet dev token NAME`: a fresh token of the local issuer, signed here and now, without a network or a runtime.
//!
//! kubectl runs this for every command, so it does as little as it can.

use std::path::Path;

use anyhow::{Context, Result, bail};
use mantlet_core::time::Timestamp;

use super::cast::Player;
use super::files::{AUDIENCE, issuer_name};
use super::issuer::{DevIssuer, LIFE, exec_credential};

/// The two forms it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Token,
    ExecCredential,
}

/// What goes to stdout.
pub fn token(dir: &Path, name: &str, form: Form, now: Timestamp) -> Result<String> {
    let cast = dir.join("cast.json");
    let text = std::fs::read_to_string(&cast).with_context(|| {
        format!(
            "`{}` is no data directory of `mantlet dev`\nhint: mantlet dev --sandbox --data-dir {}",
            dir.display(),
            dir.display()
        )
    })?;
    let players: Vec<Player> =
        serde_json::from_str(&text).with_context(|| format!("cannot read `{}`", cast.display()))?;
    let Some(player) = players.iter().find(|p| p.name == name) else {
        let names: Vec<&str> = players.iter().map(|p| p.name.as_str()).collect();
        bail!("there is no identity `{name}` here\nhint: one of {}", names.join(", "));
    };
    let issuer = DevIssuer::load(dir, issuer_name(player.population))?;
    let minted = issuer.mint(&player.identity(), AUDIENCE, now, LIFE)?;
    Ok(match form {
        Form::Token => minted.token,
        Form::ExecCredential => exec_credential(&minted).to_string(),
    })
}
