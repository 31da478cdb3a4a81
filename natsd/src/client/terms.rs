//! What the JWT of a client says of its connection.

use tokio::time::Instant;

use super::Client;
use crate::auth::Identity;
use crate::close::CloseReason;
use crate::protocol::error;
use crate::router::Publisher;

/// What the JWT of a client says of its connection.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) max_subscriptions: Option<usize>,
    pub(super) max_payload: Option<usize>,
    /// When it must go.
    pub(super) until: Option<Instant>,
}

impl Terms {
    pub(super) fn of(identity: &Identity) -> Self {
        let Some(grant) = &identity.grant else { return Self::default() };
        let size = |limit: Option<u32>| limit.map(|limit| limit as usize);
        Self {
            max_subscriptions: size(grant.max_subscriptions),
            max_payload: size(grant.max_payload),
            until: grant.stays.map(|stays| Instant::now() + stays),
        }
    }
}

impl Client {
    /// Its time is up.
    pub(super) fn expire(&self, publisher: &mut Publisher) -> CloseReason {
        tracing::debug!("{} - {}", self.entry.label(), error::USER_EXPIRED);
        self.send_error(error::USER_EXPIRED, publisher);
        CloseReason::AuthenticationExpired
    }
}
