//! Clients that may not stay, or may do less or more than before.

use std::sync::Arc;

use crate::account::Account;
use crate::auth::{Grant, Identity};
use crate::client::enforce;
use crate::close::CloseReason;
use crate::net::with_publisher;
use crate::node::Node;
use crate::protocol::error;
use crate::registry::ClientEntry;
use crate::trust::Claims;

/// Ends all connections of an account: its time is up.
pub(super) fn expire_all(node: &Node, account: &Arc<Account>) {
    for client in node.registry.members(account) {
        cut(&client, Some(error::ACCOUNT_EXPIRED), CloseReason::AuthenticationExpired);
    }
}

/// Ends all connections of an account: it is no more.
pub(super) fn refuse_all(node: &Node, account: &Arc<Account>) {
    for client in node.registry.members(account) {
        let reason = CloseReason::AuthenticationFailure;
        cut(&client, Some(error::AUTHORIZATION_VIOLATION), reason);
    }
}

/// Ends the connections that an account's new claims do not allow; to the others applies what the
/// account gives to all.
pub(super) fn judge_anew(
    node: &Node,
    account: &Arc<Account>,
    claims: &Claims,
    earlier: Option<&Claims>,
) {
    let Some(earlier) = earlier else { return };
    node.registry.dismiss_surplus(account);
    for client in &node.registry.members(account) {
        if client.subscriber.outbound.closed().is_some() {
            continue;
        }
        let about = client.about();
        let Some(identity) = &about.identity else { continue };
        let Some(grant) = identity.grant.clone() else { continue };
        let subscriptions = [grant.max_subscriptions, claims.limits().max_subscriptions];
        let too_many = subscriptions
            .into_iter()
            .flatten()
            .min()
            .is_some_and(|most| client.subscriber.count() > most as usize);
        if grant.bearer && claims.account.limits.disallow_bearer {
            let reason = CloseReason::AuthenticationFailure;
            cut(client, Some(error::AUTHORIZATION_VIOLATION), reason);
        } else if claims.is_revoked(&identity.user, grant.issued_at) {
            cut(client, Some(error::USER_REVOKED), CloseReason::Revocation);
        } else if lost_its_signer(&grant, claims, earlier) {
            cut(client, None, CloseReason::AuthenticationFailure);
        } else if too_many {
            let reason = CloseReason::MaxSubscriptionsExceeded;
            cut(client, Some(error::MAX_SUBSCRIPTIONS), reason);
        } else if grant.default_permissions
            && claims.default_permissions != earlier.default_permissions
        {
            let permissions = claims.default_permissions.clone();
            let changed = Identity { permissions, ..identity.clone() };
            if client.change_identity(identity, changed.clone()) {
                with_publisher(|publisher| enforce(client, &changed, publisher));
            }
        }
    }
    // Clients that wait in their own threads see what they may do by now.
    node.begin_epoch();
}

/// Whether the key that signed a user may do so no more, or for other rights.
fn lost_its_signer(grant: &Grant, claims: &Claims, earlier: &Claims) -> bool {
    let Some(key) = &grant.signing_key else { return false };
    !claims.has_same_signers(earlier) && !claims.has_same_signer(earlier, key)
}

fn cut(client: &ClientEntry, text: Option<&str>, reason: CloseReason) {
    match text {
        Some(text) => {
            tracing::debug!("{} - {text}", client.label());
            client.dismiss(text, reason);
        }
        None => client.subscriber.outbound.close(reason),
    }
}
