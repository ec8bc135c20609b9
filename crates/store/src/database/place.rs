//! Where a database is, read from its URL.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::StoreFault;

pub use mantlet_api::config::DatabaseUrl;

/// No `Debug`: the options hold the password.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// sqlx takes any other with a warning that repeats its value, which may be a password under a name that was mistyped.
const PARAMETERS: [&str; 8] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "application_name",
    "dbname",
];

impl Place {
    pub(crate) fn of(url: &DatabaseUrl) -> Result<Self, StoreFault> {
        let unusable = |why: &str, hint: &str| StoreFault::Url {
            database: url.shown(),
            why: why.to_owned(),
            hint: hint.to_owned(),
        };
        match url.as_str().split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(("postgres" | "postgresql", rest)) => postgres(url.as_str(), rest)
                .map(|options| Self::Postgres(Box::new(options)))
                .map_err(|(why, hint)| unusable(&why, hint)),
            Some(_) | None => Err(unusable("it is not a database that can be used", EXAMPLE)),
        }
    }
}

const EXAMPLE: &str = "write `sqlite:///var/lib/mantlet/mantlet.db` or `postgres://mantlet@db.example.com/mantlet`";

fn postgres(url: &str, rest: &str) -> Result<PgConnectOptions, (String, &'static str)> {
    let mut verify = true;
    for parameter in rest.split_once('?').map_or("", |(_, query)| query).split('&') {
        let name = parameter.split('=').next().unwrap_or_default();
        if !name.is_empty() && !PARAMETERS.contains(&name) {
            let known = format!("`{name}` is not a parameter that can be used");
            return Err((
                known,
                "see `storage.database` in docs/src/configuration.md for those that can be",
            ));
        }
        verify &= name != "sslmode";
    }
    // sqlx's own text names what it did not understand, which may be a part of the password.
    let unread = |_| {
        (
            String::from("it cannot be read as a URL"),
            "write `%40` for `@` in a password, `%2F` for `/`",
        )
    };
    let mut options = PgConnectOptions::from_str(url).map_err(unread)?;
    let named = !rest
        .split(['/', '?'])
        .next()
        .unwrap_or_default()
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .is_empty();
    if !named && options.get_socket().is_none() && !rest.contains("host=") {
        return Err((String::from("it names no host"), EXAMPLE));
    }
    if options.get_database().is_none_or(str::is_empty) {
        return Err((String::from("it names no database"), EXAMPLE));
    }
    if !here(&options) {
        if verify {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
            let why = String::from("PostgreSQL on another machine is reached with `sslmode=verify-full` only");
            return Err((
                why,
                "leave `sslmode` out; for an authority of your own add `sslrootcert=/path/to/ca.crt`",
            ));
        }
    }
    Ok(options.application_name("mantlet"))
}

/// On this machine: nobody else sees the bytes.
fn here(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    options.get_socket().is_some() || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<PgConnectOptions, String> {
        match Place::of(&DatabaseUrl::from(url)) {
            Ok(Place::Postgres(options)) => Ok(*options),
            Ok(Place::Sqlite(path)) => Err(path.display().to_string()),
            Err(fault) => Err(fault.to_string()),
        }
    }

    #[test]
    fn another_machine_is_reached_with_verified_tls_only() {
        for url in [
            "postgres://m@db.example/m",
            "postgresql://m:p@10.0.0.7:5433/m?sslrootcert=/ca.crt",
        ] {
            assert!(
                matches!(place(url).unwrap().get_ssl_mode(), PgSslMode::VerifyFull),
                "{url}"
            );
        }
        for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let said = place(&format!("postgres://m:hunter2@db.example/m?sslmode={mode}")).unwrap_err();
            assert!(
                said.contains("verify-full") && said.contains("hint:") && !said.contains("hunter2"),
                "{said}"
            );
        }
    }

    #[test]
    fn on_this_machine_tls_is_a_choice() {
        for host in ["127.0.0.1", "[::1]:5433", "localhost"] {
            let options = place(&format!("postgres://m@{host}/m?sslmode=disable")).unwrap();
            assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable), "{host}");
        }
        assert!(
            place("postgres:///m?host=/run/postgresql")
                .unwrap()
                .get_socket()
                .is_some()
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_without_repeating_the_password() {
        for url in [
            "postgres://m:hunter2@db.example",
            "postgres://m:hunter2@db.example/m?pasword=hunter2",
            "postgres://m:hunter2@db.example/m?password=hunter2",
            "postgres://m:hunter2@db.example:port/m",
            "postgres:///m",
            "mysql://m:hunter2@db/m",
            "hunter2",
            "sqlite://",
        ] {
            let said = place(url).unwrap_err();
            assert!(said.contains("hint:") && !said.contains("hunter2"), "{url}: {said}");
        }
    }
}
