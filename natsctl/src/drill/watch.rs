//! Watches one survivor: when does it know that the victim is gone?

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clients::Login;
use crate::monitor;
use crate::topology::Endpoint;

/// Pause between two looks; it is also the resolution of what is told.
const PAUSE: Duration = Duration::from_millis(1);

/// When a survivor knew, on the clock of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Sighting {
    /// `/routez` no longer names the victim.
    pub(super) route_gone: Option<Instant>,
    /// INFO no longer tells clients of the victim.
    pub(super) info_gone: Option<Instant>,
}

/// Looks at a survivor until both are seen or `done` says stop.
pub(super) async fn watch(
    survivor: Endpoint,
    victim: (String, Endpoint),
    login: Login,
    done: CancellationToken,
) -> Sighting {
    let (name, victim) = victim;
    let (route_gone, info_gone) = tokio::join!(
        until(done.clone(), route_is_gone(survivor, name)),
        until(done, info_is_gone(survivor, victim, login))
    );
    Sighting { route_gone, info_gone: info_gone.flatten() }
}

async fn until<T>(done: CancellationToken, sight: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        seen = sight => Some(seen),
        () = done.cancelled() => None,
    }
}

async fn route_is_gone(survivor: Endpoint, victim: String) -> Instant {
    loop {
        if let Ok(routez) = monitor::routez(survivor.monitor()).await
            && !routez.peers().contains(&victim)
        {
            return Instant::now();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `None` when the survivor never told clients of the victim, or lets no client in.
///
/// Reads the wire itself: the client library takes the INFO of a new connection only.
async fn info_is_gone(survivor: Endpoint, victim: Endpoint, login: Login) -> Option<Instant> {
    let mut stream = BufReader::new(TcpStream::connect(survivor.client()).await.ok()?);
    let url = victim.client().to_string();
    let mut told = false;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let (op, rest) = line.split_once(' ').unwrap_or((line, ""));
        match op {
            "INFO" => {
                let info: serde_json::Value = serde_json::from_str(rest).ok()?;
                let tells = tells_of(&info, &url);
                if told && !tells {
                    return Some(Instant::now());
                }
                let first = !told;
                told = tells;
                if first && !told {
                    return None;
                }
                if first {
                    let hello = format!("CONNECT {}\r\nPING\r\n", hello(&login));
                    stream.write_all(hello.as_bytes()).await.ok()?;
                }
            }
            "PING" => stream.write_all(b"PONG\r\n").await.ok()?,
            "-ERR" => return None,
            _ => {}
        }
    }
}

fn tells_of(info: &serde_json::Value, url: &str) -> bool {
    let urls = info.get("connect_urls").and_then(serde_json::Value::as_array);
    urls.into_iter().flatten().filter_map(serde_json::Value::as_str).any(|known| known == url)
}

fn hello(login: &Login) -> serde_json::Value {
    let mut hello = serde_json::json!({
        "verbose": false, "pedantic": false, "protocol": 1, "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"), "name": "natsctl drill watcher",
    });
    let fields = match login {
        Login::Open => Vec::new(),
        Login::Token(token) => vec![("auth_token", token)],
        Login::User(user, password) => vec![("user", user), ("pass", password)],
    };
    if let Some(object) = hello.as_object_mut() {
        object.extend(fields.into_iter().map(|(key, text)| (key.to_owned(), text.clone().into())));
    }
    hello
}
