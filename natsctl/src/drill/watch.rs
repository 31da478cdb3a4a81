//! Watches one survivor: when does it know that the victim is gone?

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clients::{self, Login};
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
async fn info_is_gone(survivor: Endpoint, victim: Endpoint, login: Login) -> Option<Instant> {
    let client = clients::pinned(survivor.client(), &login, "natsctl drill watcher").await.ok()?;
    let url = victim.client().to_string();
    let told = || client.server_info().connect_urls.iter().any(|known| known.ends_with(&url));
    let begun = Instant::now();
    while !told() {
        if begun.elapsed() > Duration::from_millis(200) {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
    while told() {
        tokio::time::sleep(PAUSE).await;
    }
    Some(Instant::now())
}
