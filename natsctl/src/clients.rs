//! The NATS clients natsctl is itself: for `verify`, `kill`, `pub` and `sub`.
//!
//! A pinned client stays with one node and fails with it; a roaming one learns the other nodes
//! from INFO and moves, as any client of any language does.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::topology::{Server, is_hash};

/// Names the password of the user natsctl is, where the server's config has its hash only.
pub const PASSWORD: &str = "NATSCTL_PASSWORD";

/// How long connecting to one node may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What a client must show to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nothing.
    Open,
    /// A token.
    Token(String),
    /// User and password.
    User(String, String),
}

impl Login {
    /// Finds a login in the passed-through config: the cluster's own `authorization`, else the
    /// first user of an account. Where that is a hash, the secret is that of [`PASSWORD`]; without
    /// it, the login is the first whose secret is plain.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        Self::with(server, std::env::var(PASSWORD).ok().filter(|secret| !secret.is_empty()))
    }

    fn with(server: &Server, secret: Option<String>) -> Self {
        let logins = Self::all(server);
        match (logins.first(), secret) {
            (None, _) => Self::Open,
            (Some(Self::Token(hash)), Some(secret)) if is_hash(hash) => Self::Token(secret),
            (Some(Self::User(user, hash)), Some(secret)) if is_hash(hash) => {
                Self::User(user.clone(), secret)
            }
            (Some(first), _) => {
                logins.iter().find(|login| login.usable().is_ok()).unwrap_or(first).clone()
            }
        }
    }

    /// Whether a server can let us in by it.
    ///
    /// # Errors
    /// In words: it is a hash.
    pub fn usable(&self) -> Result<(), String> {
        let whose = match self {
            Self::Token(token) if is_hash(token) => "the token".to_owned(),
            Self::User(user, password) if is_hash(password) => format!("the password of `{user}`"),
            _ => return Ok(()),
        };
        Err(format!(
            "{whose} in `server.config` is a bcrypt hash; natsctl is a client of the cluster and \
             needs the plain one, in {PASSWORD}"
        ))
    }

    /// All logins, those of the cluster first.
    fn all(server: &Server) -> Vec<Self> {
        let authorization = server.config.get("authorization");
        let token = authorization.and_then(|block| block.get("token")?.as_str());
        let token = token.map(|token| Self::Token(token.to_owned()));
        let own = authorization.and_then(user);
        let accounts = server.config.get("accounts").and_then(serde_json::Value::as_object);
        let accounts = accounts.into_iter().flat_map(serde_json::Map::values);
        let users = authorization.into_iter().chain(accounts).flat_map(|block| {
            let users = block.get("users").and_then(serde_json::Value::as_array);
            users.into_iter().flatten().filter_map(user)
        });
        token.into_iter().chain(own).chain(users).collect()
    }

    fn options(&self) -> Result<ConnectOptions, String> {
        self.usable()?;
        Ok(match self {
            Self::Open => ConnectOptions::new(),
            Self::Token(token) => ConnectOptions::with_token(token.clone()),
            Self::User(user, password) => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
        })
    }
}

fn user(block: &serde_json::Value) -> Option<Login> {
    let text = |keys: [&str; 2]| keys.iter().find_map(|key| block.get(key)?.as_str());
    let user = text(["user", "username"])?;
    let password = text(["password", "pass"])?;
    Some(Login::User(user.to_owned(), password.to_owned()))
}

/// Connects to one node and stays with it.
///
/// # Errors
/// In words: refused, timed out, or somebody else answered.
pub async fn pinned(address: SocketAddr, login: &Login, name: &str) -> Result<Client, String> {
    let options = login
        .options()?
        .name(name)
        .connection_timeout(PATIENCE)
        .ignore_discovered_servers()
        .max_reconnects(1);
    connect(options, address).await
}

/// What happened to a roaming client, on the clock of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Its connection broke.
    Cut(Instant),
    /// It is connected again, to the server of this name.
    Back(Instant, String),
    /// The server is about to leave and says so.
    LameDuck(Instant),
}

/// A client that moves to another node when its own is gone, and tells of it.
pub struct Roamer {
    /// The client.
    pub client: Client,
    events: mpsc::Receiver<(Instant, Event)>,
    server_id: String,
}

/// More events than this at once are not kept: they are a handful per failover.
const EVENTS_MAX: usize = 1024;
/// A client knows the name of its new server a moment after it is connected.
const NAME_PATIENCE: Duration = Duration::from_millis(500);

impl Roamer {
    /// Connects to one node; the others it learns from INFO.
    ///
    /// # Errors
    /// In words.
    pub async fn connect(address: SocketAddr, login: &Login, name: &str) -> Result<Self, String> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let options = login.options()?.name(name).connection_timeout(PATIENCE);
        let options = options.event_callback(move |event| {
            // A full channel means nobody listens: then nobody misses it.
            drop(sender.try_send((Instant::now(), event)));
            std::future::ready(())
        });
        let client = connect(options, address).await?;
        let server_id = client.server_info().server_id;
        Ok(Self { client, events, server_id })
    }

    /// Name of the server it is connected to.
    #[must_use]
    pub fn server_name(&self) -> String {
        self.client.server_info().server_name
    }

    /// Waits for the next thing that happens to it; `None` when it was closed for good.
    pub async fn next_move(&mut self) -> Option<Move> {
        loop {
            match self.events.recv().await? {
                (at, Event::Disconnected) => return Some(Move::Cut(at)),
                (at, Event::LameDuckMode) => return Some(Move::LameDuck(at)),
                // The first connection tells itself too.
                (at, Event::Connected) => {
                    if let Some(name) = self.landed().await {
                        return Some(Move::Back(at, name));
                    }
                }
                (_, Event::Closed) => return None,
                _ => {}
            }
        }
    }

    /// Name of the server it moved to, once that is known; `None` when it did not move.
    async fn landed(&mut self) -> Option<String> {
        let until = Instant::now() + NAME_PATIENCE;
        loop {
            let info = self.client.server_info();
            if info.server_id != self.server_id {
                self.server_id = info.server_id;
                return Some(info.server_name);
            }
            if Instant::now() > until {
                return None;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Connects, and gives up after [`PATIENCE`].
async fn connect(options: ConnectOptions, address: SocketAddr) -> Result<Client, String> {
    match tokio::time::timeout(PATIENCE, options.connect(format!("nats://{address}"))).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(format!("connect to {address}: {error}")),
        Err(_elapsed) => {
            Err(format!("connect to {address}: no answer within {}s", PATIENCE.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(config: serde_json::Value) -> Login {
        login_with(config, None)
    }

    fn login_with(config: serde_json::Value, secret: Option<&str>) -> Login {
        let serde_json::Value::Object(config) = config else { panic!("an object") };
        let server = Server {
            binary: None,
            client_port: 1,
            cluster_port: 2,
            monitor_port: 3,
            log: crate::topology::LogLevel::Info,
            config,
        };
        Login::with(&server, secret.map(str::to_owned))
    }

    #[test]
    fn a_hash_is_replaced_by_what_was_given_else_passed_over_else_refused() {
        let hash = "$2a$04$abcdefghijklmnopqrstuuJZ3vQnZ1tJ0bYxW6z5y0q8n1Yb0e3uK";
        let hashed = serde_json::json!({"user": "u", "password": hash});
        let plain = serde_json::json!({"user": "v", "password": "p"});
        let given = login_with(serde_json::json!({"authorization": hashed}), Some("s"));
        assert_eq!(given, Login::User("u".into(), "s".into()));
        let token = login_with(serde_json::json!({"authorization": {"token": hash}}), Some("s"));
        assert_eq!(token, Login::Token("s".into()));
        let other = login(serde_json::json!({"accounts": {"A": {"users": [hashed, plain]}}}));
        assert_eq!(other, Login::User("v".into(), "p".into()));
        let why = login(serde_json::json!({"authorization": hashed})).usable().unwrap_err();
        assert!(
            why.starts_with("the password of `u` in `server.config` is a bcrypt hash"),
            "{why}"
        );
        // What is plain is never replaced.
        let plain = login_with(serde_json::json!({"authorization": plain}), Some("s"));
        assert_eq!(plain, Login::User("v".into(), "p".into()));
    }

    #[test]
    fn a_login_is_found_where_nats_server_keeps_it() {
        let user = || Login::User("u".into(), "p".into());
        let users = serde_json::json!([{"user": "u", "password": "p"}]);
        assert_eq!(login(serde_json::json!({})), Login::Open);
        assert_eq!(
            login(serde_json::json!({"authorization": {"token": "t"}})),
            Login::Token("t".into())
        );
        assert_eq!(login(serde_json::json!({"authorization": {"user": "u", "pass": "p"}})), user());
        assert_eq!(login(serde_json::json!({"authorization": {"users": users}})), user());
        assert_eq!(login(serde_json::json!({"accounts": {"A": {"users": users}}})), user());
    }
}
