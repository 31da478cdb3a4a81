//! What the JWT of a client says of its connection, and what its account says to all.

use std::sync::Arc;

use tokio::time::Instant;

use super::Client;
use crate::account::Account;
use crate::auth::Identity;
use crate::close::CloseReason;
use crate::protocol::error;
use crate::router::Publisher;
use crate::trust::Claims;

/// What the JWT of a client says of its connection.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) max_subscriptions: Option<usize>,
    pub(super) max_payload: Option<usize>,
    /// When it must go.
    pub(super) until: Option<Instant>,
    /// Its permissions are those that the account gave to all with these claims.
    follows: Option<Arc<Claims>>,
}

impl Terms {
    pub(super) fn of(identity: &Identity, account: &Account) -> Self {
        let Some(grant) = &identity.grant else { return Self::default() };
        let size = |limit: Option<u32>| limit.map(|limit| limit as usize);
        Self {
            max_subscriptions: size(grant.max_subscriptions),
            max_payload: size(grant.max_payload),
            until: grant.stays.map(|stays| Instant::now() + stays),
            follows: account.claims().filter(|_| grant.default_permissions),
        }
    }
}

impl Client {
    /// Takes over what the account gives to all by now.
    pub(super) fn follow_account(&mut self) {
        let Some(seen) = &self.terms.follows else { return };
        let Some(now) = self.account.claims().filter(|now| !Arc::ptr_eq(now, seen)) else {
            return;
        };
        if seen.default_permissions != now.default_permissions {
            self.permissions.clone_from(&now.default_permissions);
            let responses = self.permissions.as_ref().and_then(|held| held.responses());
            self.subscriber.track_replies(responses.copied());
            self.last_line.forget();
        }
        self.terms.follows = Some(now);
    }

    /// Its time is up.
    pub(super) fn expire(&self, publisher: &mut Publisher) -> CloseReason {
        tracing::debug!("{} - {}", self.entry.label(), error::USER_EXPIRED);
        self.send_error(error::USER_EXPIRED, publisher);
        CloseReason::AuthenticationExpired
    }
}
