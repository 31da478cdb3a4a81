//! What an account takes from others: streams and services.
//!
//! A stream import works at SUB: the subscription gets a shadow in the exporting account, which
//! renames what it delivers. A service import is a subscription of the server itself in the
//! importing account; `router` carries requests over and answers back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Account, Subscription, Target, Touch};
use crate::config::{self, ResponseType};
use crate::subject::{self, Transform};

/// How long an answer is waited for unless the export says otherwise (nats-server 2.15).
const RESPONSE_THRESHOLD: Duration = Duration::from_secs(120);

/// The streams that an account imports, and what follows from them for its subscriptions.
#[derive(Debug)]
pub(super) struct Imports {
    importer: Weak<Account>,
    streams: Vec<StreamLink>,
    /// Shadows by the address of the subscription that they belong to.
    shadows: Mutex<HashMap<usize, Vec<Shadow>>>,
}

/// A shadow and the account it is in.
type Shadow = (Arc<Account>, Arc<Subscription>);

/// An imported stream.
#[derive(Debug)]
pub(super) struct StreamLink {
    exporter: Arc<Account>,
    theirs: Box<[u8]>,
    ours: Box<[u8]>,
    /// Their subjects to ours.
    inward: Transform,
    /// Our patterns to theirs, where that is possible.
    outward: Option<Transform>,
}

/// Delivery of an imported stream: by the subscription that the client made, under its subject.
#[derive(Debug)]
pub struct RenamedTarget {
    /// What the client subscribed to, in its own account.
    pub original: Arc<Subscription>,
    /// That account.
    pub importer: Weak<Account>,
    /// Makes subjects of the exporting account into those of the importing one.
    pub rename: Transform,
}

/// Delivery of requests to a service of another account.
#[derive(Debug)]
pub struct ServiceTarget {
    /// Account that has the service.
    pub exporter: Arc<Account>,
    /// Makes our subjects into theirs.
    pub rename: Transform,
    /// Tell the service who asks.
    pub share: bool,
    /// How many answers a request has.
    pub response_type: ResponseType,
    /// How long they are waited for.
    pub threshold: Duration,
}

impl Imports {
    pub(super) fn new(importer: &Arc<Account>, streams: Vec<StreamLink>) -> Self {
        Self { importer: Arc::downgrade(importer), streams, shadows: Mutex::default() }
    }

    /// Gives a new subscription its shadows in the accounts that its subject comes from.
    pub(super) fn cast(&self, subscription: &Arc<Subscription>, touched: &mut dyn Touch) {
        if matches!(subscription.target, Target::Service(_) | Target::Answers(_)) {
            return;
        }
        let made: Vec<Shadow> = self
            .streams
            .iter()
            .filter(|link| subject::overlaps(&link.ours, &subscription.pattern))
            .map(|link| (Arc::clone(&link.exporter), self.shadow(link, subscription)))
            .collect();
        if made.is_empty() {
            return;
        }
        {
            let mut shadows = self.shadows.lock();
            // Whoever replaces imports may have been faster.
            match shadows.entry(Arc::as_ptr(subscription).addr()) {
                Entry::Occupied(_) => return,
                Entry::Vacant(entry) => {
                    entry.insert(made.clone());
                }
            }
        }
        for (exporter, shadow) in &made {
            exporter.subscribe(shadow, touched);
        }
    }

    fn shadow(&self, link: &StreamLink, subscription: &Arc<Subscription>) -> Arc<Subscription> {
        let narrow = subject::is_subset(&subscription.pattern, &link.ours)
            .then(|| link.outward.as_ref()?.apply(&subscription.pattern))
            .flatten();
        Arc::new(Subscription {
            pattern: narrow.map_or_else(|| link.theirs.clone(), Into::into),
            queue: subscription.queue.clone(),
            target: Target::Renamed(Box::new(RenamedTarget {
                original: Arc::clone(subscription),
                importer: Weak::clone(&self.importer),
                rename: link.inward.clone(),
            })),
        })
    }

    /// Removes the shadows of a subscription that is gone.
    pub(super) fn dispel(&self, subscription: &Arc<Subscription>, touched: &mut dyn Touch) {
        let shadows = self.shadows.lock().remove(&Arc::as_ptr(subscription).addr());
        for (exporter, shadow) in shadows.into_iter().flatten() {
            exporter.unsubscribe(&shadow, touched);
        }
    }
}

/// Connects accounts as they are configured; what does not fit was refused with the
/// configuration.
pub(super) fn connect(accounts: &HashMap<Arc<str>, Arc<Account>>, configured: &[config::Account]) {
    for source in configured {
        let Some(importer) = accounts.get(source.name.as_str()) else { continue };
        let streams: Vec<StreamLink> = source
            .stream_imports
            .iter()
            .filter_map(|import| stream_link(import, accounts.get(import.account.as_str())?))
            .collect();
        if !streams.is_empty() {
            importer.set_imports(Imports::new(importer, streams));
        }
        for import in &source.service_imports {
            let exports = configured
                .iter()
                .find(|account| account.name == import.account)
                .map_or(&[][..], |account| &account.service_exports);
            if let Some(exporter) = accounts.get(import.account.as_str())
                && let Some(service) = service_import(import, exports, exporter)
            {
                importer.subscribe(&Arc::new(service), &mut Nobody);
            }
        }
    }
}

/// At the start there is nobody to tell.
struct Nobody;

impl Touch for Nobody {
    fn touch(&mut self, _outbound: &Arc<crate::outbound::Outbound>) {}
}

pub(super) fn stream_link(
    import: &config::StreamImport,
    exporter: &Arc<Account>,
) -> Option<StreamLink> {
    let theirs = import.subject.as_bytes();
    let to = match (&import.to, &import.prefix) {
        (Some(to), _) => to.clone(),
        (None, Some(prefix)) => format!("{}.{}", prefix.trim_end_matches('.'), import.subject),
        (None, None) => import.subject.clone(),
    };
    let ours = untokenize(&to);
    let outward = if ours == to { Transform::new(ours.as_bytes(), theirs) } else { None };
    Some(StreamLink {
        exporter: Arc::clone(exporter),
        theirs: theirs.into(),
        inward: Transform::new(theirs, to.as_bytes())?,
        ours: ours.into_bytes().into(),
        outward,
    })
}

/// The pattern of what a destination with `$1` or `{{wildcard(1)}}` makes.
fn untokenize(destination: &str) -> String {
    let tokens = destination.split('.').map(|token| {
        if token.starts_with('$') && token.len() > 1 || token.starts_with("{{") {
            "*"
        } else {
            token
        }
    });
    tokens.collect::<Vec<_>>().join(".")
}

pub(super) fn service_import(
    import: &config::ServiceImport,
    exports: &[config::ServiceExport],
    exporter: &Arc<Account>,
) -> Option<Subscription> {
    let export = exports.iter().find(|export| export.subject == import.subject).or_else(|| {
        exports
            .iter()
            .find(|export| subject::is_subset(import.subject.as_bytes(), export.subject.as_bytes()))
    })?;
    let ours = untokenize(&import.to);
    Some(Subscription {
        pattern: ours.as_bytes().into(),
        queue: None,
        target: Target::Service(Box::new(ServiceTarget {
            exporter: Arc::clone(exporter),
            rename: Transform::new(ours.as_bytes(), import.subject.as_bytes())?,
            share: import.share,
            response_type: export.response_type,
            threshold: export.response_threshold.unwrap_or(RESPONSE_THRESHOLD),
        })),
    })
}
