//! What crosses routes: `permissions` of the `cluster` block.

use crate::auth::{Permissions, SubscribeLeave};
use crate::config::{self, ClusterPermissions, PermissionSubject, SubjectPermission};
use crate::subject;

/// Subjects of MQTT cross whether they are allowed or not, unless denied (nats-server 2.15).
const ALWAYS: &str = "$MQTT.>";

/// Which interest is told to peers, and which of theirs counts.
#[derive(Debug)]
pub struct Terms(Permissions);

impl Terms {
    /// Compiles configured permissions; `None` when there are none.
    #[must_use]
    pub fn new(source: &ClusterPermissions) -> Option<Self> {
        if *source == ClusterPermissions::default() {
            return None;
        }
        Some(Self(Permissions::new(&config::Permissions {
            publish: source.import.as_ref().map(with_always),
            subscribe: source.export.as_ref().map(with_always),
            responses: None,
        })))
    }

    /// Whether local interest in this is told to peers, so that they send such messages.
    #[must_use]
    pub fn may_import(&self, pattern: &[u8]) -> bool {
        self.0.may_publish(pattern)
    }

    /// Whether interest of peers in this counts.
    #[must_use]
    pub fn may_export(&self, pattern: &[u8]) -> bool {
        !matches!(self.0.may_subscribe(pattern, None), SubscribeLeave::Denied)
    }

    /// Whether a message goes to a peer that announced this pattern: one with wildcards may reach
    /// into what is denied.
    #[must_use]
    pub(super) fn delivers(&self, pattern: &[u8], subject: &[u8]) -> bool {
        match self.0.may_subscribe(pattern, None) {
            SubscribeLeave::Denied => false,
            SubscribeLeave::Granted => true,
            SubscribeLeave::Filtered(denied) => !denied.covers(subject, None),
        }
    }
}

fn with_always(rules: &SubjectPermission) -> SubjectPermission {
    let mut rules = rules.clone();
    if let Some(allow) = &mut rules.allow {
        allow.push(PermissionSubject { subject: ALWAYS.into(), queue: None });
    }
    rules
}

/// Whether a peer that says it exports this takes interest in a subject: what it did not take
/// before is told to it again.
#[must_use]
pub fn takes_interest(allow: &[String], deny: &[String], pattern: &[u8]) -> bool {
    let any = |list: &[String]| list.iter().any(|one| subject::matches(one.as_bytes(), pattern));
    (allow.is_empty() || any(allow)) && !any(deny)
}
