//! Waits until a started server serves, or tells why it does not.

use std::time::Duration;

use tokio::time::Instant;

use super::{DeployError, Service};
use crate::monitor::{self, MonitorError};
use crate::topology::Endpoint;

/// How long a server may take from its start to its first answer.
pub const READY: Duration = Duration::from_secs(15);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the process itself is looked at meanwhile.
const LOOK_AT_PROCESS: Duration = Duration::from_millis(250);

/// Waits until monitoring answers as the server of `node`.
///
/// # Errors
/// When the process ends, somebody else answers, or nobody does in time.
pub async fn ready(service: &Service, endpoint: &Endpoint, node: &str) -> Result<(), DeployError> {
    let begun = Instant::now();
    let mut looked = begun;
    loop {
        let last = match look(endpoint).await {
            Ok(name) if name == node => return Ok(()),
            Ok(seen) => {
                let address = endpoint.monitor().to_string();
                return Err(DeployError::Stranger { address, seen, expected: node.to_owned() });
            }
            Err(error) => error,
        };
        if looked.elapsed() > LOOK_AT_PROCESS {
            looked = Instant::now();
            if service.pid().await?.is_none() {
                return Err(DeployError::Died { said: service.last_log_lines().await? });
            }
        }
        if begun.elapsed() > READY {
            return Err(DeployError::Silent {
                address: endpoint.monitor().to_string(),
                seconds: READY.as_secs(),
                said: last.to_string(),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(endpoint: &Endpoint) -> Result<String, MonitorError> {
    monitor::healthz(endpoint.monitor()).await?;
    Ok(monitor::varz(endpoint.monitor()).await?.server_name)
}
