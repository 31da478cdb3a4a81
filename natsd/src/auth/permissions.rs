//! What a user may publish and subscribe to, ready to be asked for every op.

use std::sync::Arc;

use crate::config;
use crate::config::ResponsePermission;
use crate::interest::{Interest, Interested, PatternSet};
use crate::subject;

/// What a user may publish and subscribe to.
#[derive(Debug, Default)]
pub struct Permissions {
    publish_allow: Option<PatternSet>,
    publish_deny: PatternSet,
    subscribe_allow: Option<Interest<Rule>>,
    /// Also a filter on what wildcard subscriptions deliver.
    subscribe_deny: Arc<Denied>,
    responses: Option<ResponsePermission>,
    /// As configured, to notice changes.
    source: config::Permissions,
}

/// One entry about subscriptions.
#[derive(Clone, Debug)]
struct Rule {
    subject: Arc<[u8]>,
    queue: Option<Box<[u8]>>,
}

/// The answer about a subscription.
#[derive(Clone, Debug)]
pub enum SubscribeLeave {
    /// No.
    Denied,
    /// Yes.
    Granted,
    /// Yes, but it overlaps what is denied: these subjects are kept from it.
    Filtered(Arc<Denied>),
}

/// What is kept from subscriptions: from all, or from those of some queue groups.
#[derive(Debug, Default)]
pub struct Denied {
    rules: Interest<Rule>,
    subjects: Vec<Box<[u8]>>,
}

impl Denied {
    fn new(list: &[config::PermissionSubject]) -> Self {
        let subjects = list.iter().map(|rule| rule.subject.as_bytes().into()).collect();
        Self { rules: rules(list), subjects }
    }

    /// Whether a subject is kept from a subscription of this queue group, or of none.
    #[must_use]
    pub fn covers(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let found = Found::of(&self.rules, subject, queue);
        found.plain || found.queue == Some(true)
    }
}

impl Permissions {
    /// Compiles configured permissions.
    #[must_use]
    pub fn new(source: &config::Permissions) -> Self {
        let (publish_allow, publish_deny) = match &source.publish {
            None => (None, PatternSet::default()),
            Some(rules) => (rules.allow.as_ref().map(|list| set(list)), set(&rules.deny)),
        };
        let subscribe = source.subscribe.clone().unwrap_or_default();
        Self {
            publish_allow,
            publish_deny,
            subscribe_allow: subscribe.allow.as_ref().map(|list| rules(list)),
            subscribe_deny: Arc::new(Denied::new(&subscribe.deny)),
            responses: source.responses,
            source: source.clone(),
        }
    }

    /// The same with one subject more that must not be published to.
    #[must_use]
    pub fn without_publishing(&self, subject: &str) -> Self {
        let mut source = self.source.clone();
        let publish = source.publish.get_or_insert_default();
        publish.deny.push(config::PermissionSubject { subject: subject.into(), queue: None });
        Self::new(&source)
    }

    /// Whether a message may be published, leave to answer requests apart.
    #[must_use]
    pub fn may_publish(&self, subject: &[u8]) -> bool {
        self.publish_allow.as_ref().is_none_or(|allowed| allowed.matches(subject))
            && !self.publish_deny.matches(subject)
    }

    /// Whether a subscription is possible.
    #[must_use]
    pub fn may_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> SubscribeLeave {
        let allowed = self.subscribe_allow.as_ref().is_none_or(|rules| {
            let found = Found::of(rules, subject, queue);
            found.queue.unwrap_or(found.plain)
        });
        if !allowed {
            return SubscribeLeave::Denied;
        }
        let denied = &self.subscribe_deny;
        if denied.covers(subject, queue) {
            return SubscribeLeave::Denied;
        }
        let overlaps = subject::has_wildcard(subject)
            && denied.subjects.iter().any(|denied| subject::overlaps(denied, subject));
        if overlaps {
            SubscribeLeave::Filtered(Arc::clone(denied))
        } else {
            SubscribeLeave::Granted
        }
    }

    /// What is kept from subscriptions whose leave is [`SubscribeLeave::Filtered`], if anything is.
    /// It covers nothing that the others deliver.
    #[must_use]
    pub fn kept(&self) -> Option<&Arc<Denied>> {
        Some(&self.subscribe_deny).filter(|denied| !denied.subjects.is_empty())
    }

    /// How requests that were received may be answered, beyond what may be published anyway.
    #[must_use]
    pub const fn responses(&self) -> Option<&ResponsePermission> {
        self.responses.as_ref()
    }
}

impl PartialEq for Permissions {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// What rules say about a subscription. Where it is about leave, rules for queue groups decide
/// when there are such for this subject; what is denied to all is denied to groups (nats-server
/// 2.15).
struct Found {
    plain: bool,
    queue: Option<bool>,
}

impl Found {
    fn of(rules: &Interest<Rule>, subject: &[u8], queue: Option<&[u8]>) -> Self {
        let mut found = Self { plain: false, queue: None };
        rules.for_each_match(subject, |rule| match (&rule.queue, queue) {
            (None, _) => found.plain = true,
            (Some(rule), Some(queue)) => {
                *found.queue.get_or_insert(false) |= queue_matches(rule, queue);
            }
            (Some(_), None) => {}
        });
        found
    }
}

/// A queue name of the reference may hold wildcards, or be one literally.
fn queue_matches(rule: &[u8], queue: &[u8]) -> bool {
    rule == queue || (subject::has_wildcard(rule) && subject::is_subset(queue, rule))
}

fn set(list: &[config::PermissionSubject]) -> PatternSet {
    list.iter().map(|rule| rule.subject.as_bytes()).collect()
}

fn rules(list: &[config::PermissionSubject]) -> Interest<Rule> {
    let mut rules = Interest::new();
    for rule in list {
        rules.insert(Rule {
            subject: rule.subject.as_bytes().into(),
            queue: rule.queue.as_ref().map(|queue| queue.as_bytes().into()),
        });
    }
    rules
}

impl Interested for Rule {
    fn pattern(&self) -> &[u8] {
        &self.subject
    }

    fn identity(&self) -> usize {
        self.subject.as_ptr().addr()
    }
}
