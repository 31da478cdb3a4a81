//! What an account takes from others: streams and services.
//!
//! A stream import works at SUB: the subscription gets a shadow in the exporting account, which
//! renames what it delivers. A service import is a subscription of the server itself in the
//! importing account; `router` carries requests over and answers back.

use std::collections::HashMap;
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
    /// The server's own subscriptions for imported services.
    services: Vec<Arc<Subscription>>,
    shadows: Mutex<Shadows>,
}

#[derive(Debug, Default)]
struct Shadows {
    /// By the address of the subscription that they belong to, which is held with them.
    of: HashMap<usize, (Arc<Subscription>, Vec<Shadow>)>,
    /// Others have taken the place of these imports: no new shadows.
    retired: bool,
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
    /// Traces may come in.
    allow_trace: bool,
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
    /// Traces may come in with the stream.
    pub allow_trace: bool,
}

impl RenamedTarget {
    /// What a message becomes behind the import: its subject, and the account that imports it.
    #[must_use]
    pub fn resolve(&self, subject: &[u8]) -> Option<(Vec<u8>, Arc<Account>)> {
        Some((self.rename.apply(subject)?, self.importer.upgrade()?))
    }
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
    /// Traces may go on there.
    pub allow_trace: bool,
    /// Some of the requests are measured.
    pub latency: Option<Box<config::Latency>>,
}

impl ServiceTarget {
    /// What a request is called in the account of the service.
    #[must_use]
    pub fn subject_of(&self, subject: &[u8]) -> Option<Vec<u8>> {
        let subject = self.rename.apply(subject)?;
        Some(self.exporter.map(&subject).unwrap_or(subject))
    }
}

impl Imports {
    /// What an account takes from others; `None` when that is nothing.
    pub(super) fn new(
        importer: &Arc<Account>,
        streams: Vec<StreamLink>,
        services: Vec<Arc<Subscription>>,
    ) -> Option<Self> {
        (!streams.is_empty() || !services.is_empty()).then(|| Self {
            importer: Arc::downgrade(importer),
            streams,
            services,
            shadows: Mutex::default(),
        })
    }

    /// How many streams it takes.
    pub(super) const fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Gives a subscription its shadows in the accounts that its subject comes from, once.
    pub(super) fn cast(&self, subscription: &Arc<Subscription>, touched: &mut dyn Touch) {
        if matches!(
            subscription.target,
            Target::Service(_) | Target::Answers(_) | Target::Internal(_) | Target::Renamed(_)
        ) {
            return; // streams go one account far (nats-server): exporting them on exports nothing
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
        let mut shadows = self.shadows.lock();
        let key = Arc::as_ptr(subscription).addr();
        if shadows.retired || shadows.of.contains_key(&key) {
            return;
        }
        shadows.of.insert(key, (Arc::clone(subscription), made.clone()));
        drop(shadows);
        for (exporter, shadow) in &made {
            exporter.subscribe(shadow, touched);
        }
        if self.shadows.lock().retired {
            for (exporter, shadow) in &made {
                exporter.unsubscribe(shadow, touched);
            }
        }
    }

    /// Whether all accounts that it names are still there.
    pub(super) fn are_whole(&self) -> bool {
        let service = |held: &Arc<Subscription>| match &held.target {
            Target::Service(service) => !service.exporter.is_removed(),
            _ => true,
        };
        self.streams.iter().all(|link| !link.exporter.is_removed())
            && self.services.iter().all(service)
    }

    /// Begins: the services are subscribed to.
    fn begin(&self, touched: &mut dyn Touch) {
        let Some(importer) = self.importer.upgrade() else { return };
        self.services.iter().for_each(|service| importer.subscribe(service, touched));
    }

    /// Ends: services are unsubscribed from, and all shadows go.
    pub(super) fn retire(&self, touched: &mut dyn Touch) {
        if let Some(importer) = self.importer.upgrade() {
            for service in &self.services {
                importer.unsubscribe(service, touched);
            }
        }
        let mut shadows = self.shadows.lock();
        shadows.retired = true;
        let gone = std::mem::take(&mut shadows.of);
        drop(shadows);
        for (exporter, shadow) in gone.into_values().flat_map(|(_, made)| made) {
            exporter.unsubscribe(&shadow, touched);
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
                allow_trace: link.allow_trace,
            })),
        })
    }

    /// Removes the shadows of a subscription that is gone.
    pub(super) fn dispel(&self, subscription: &Arc<Subscription>, touched: &mut dyn Touch) {
        let shadows = self.shadows.lock().of.remove(&Arc::as_ptr(subscription).addr());
        for (exporter, shadow) in shadows.into_iter().flat_map(|(_, made)| made) {
            exporter.unsubscribe(&shadow, touched);
        }
    }
}

/// Connects accounts as they are configured; what does not fit was refused with the
/// configuration. Accounts for which nothing changes since `before` are left alone.
pub(super) fn connect(
    accounts: &HashMap<Arc<str>, Arc<Account>>,
    before: &[config::Account],
    configured: &[config::Account],
    touched: &mut dyn Touch,
) {
    for source in configured {
        let Some(importer) = accounts.get(source.name.as_str()) else { continue };
        if importer.is_connected() && sources(source, configured) == earlier(source, before) {
            continue;
        }
        let imports = imports_of(importer, source, accounts, configured);
        importer.set_imports(imports, touched);
    }
}

/// All that the imports of an account depend on.
type Sources<'a> = (
    &'a [config::StreamImport],
    &'a [config::ServiceImport],
    Vec<Option<&'a [config::ServiceExport]>>,
);

fn sources<'a>(source: &'a config::Account, all: &'a [config::Account]) -> Sources<'a> {
    let services = source.service_imports.iter().map(|import| import.account.as_str());
    let streams = source.stream_imports.iter().map(|import| import.account.as_str());
    let exports = services.chain(streams).map(|name| {
        let exporter = all.iter().find(|account| account.name == name);
        exporter.map(|account| &*account.service_exports)
    });
    (&source.stream_imports, &source.service_imports, exports.collect())
}

fn earlier<'a>(source: &config::Account, before: &'a [config::Account]) -> Sources<'a> {
    let held = before.iter().find(|account| account.name == source.name);
    held.map_or_else(|| (&[][..], &[][..], Vec::new()), |held| sources(held, before))
}

fn imports_of(
    importer: &Arc<Account>,
    source: &config::Account,
    accounts: &HashMap<Arc<str>, Arc<Account>>,
    configured: &[config::Account],
) -> Option<Imports> {
    let streams: Vec<StreamLink> = source
        .stream_imports
        .iter()
        .filter_map(|import| stream_link(import, accounts.get(import.account.as_str())?))
        .collect();
    let services: Vec<Arc<Subscription>> = source
        .service_imports
        .iter()
        .filter_map(|import| {
            let exporter = configured.iter().find(|account| account.name == import.account);
            let exports = exporter.map_or(&[][..], |account| &account.service_exports);
            let exporter = accounts.get(import.account.as_str())?;
            service_import(import, exports, exporter).map(Arc::new)
        })
        .collect();
    Imports::new(importer, streams, services)
}

/// Puts new imports in the place of older ones. What a subscription gets by both it gets on;
/// services go first, so that no request is served twice.
pub(super) fn replace(
    account: &Account,
    old: Option<Arc<Imports>>,
    new: Option<Arc<Imports>>,
    touched: &mut dyn Touch,
) {
    if let Some(new) = &new {
        let mut held = Vec::new();
        account.for_each(|subscription| held.push(Arc::clone(subscription)));
        for subscription in held.iter().filter(|held| held.is_local()) {
            new.cast(subscription, touched);
            // It may have ended meanwhile: whoever ends it looks for shadows afterwards.
            if !account.has(subscription) {
                new.dispel(subscription, touched);
            }
        }
    }
    if let Some(old) = old {
        old.retire(touched);
    }
    if let Some(new) = new {
        new.begin(touched);
    }
}

pub(super) fn stream_link(
    import: &config::StreamImport,
    exporter: &Arc<Account>,
) -> Option<StreamLink> {
    let theirs = import.subject.as_bytes();
    let to = import.destination();
    let ours = import.local_subject();
    let outward = if ours == to { Transform::new(ours.as_bytes(), theirs) } else { None };
    Some(StreamLink {
        exporter: Arc::clone(exporter),
        theirs: theirs.into(),
        inward: Transform::new(theirs, to.as_bytes())?,
        ours: ours.into_bytes().into(),
        outward,
        allow_trace: import.allow_trace,
    })
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
    let ours = config::untokenize(&import.to);
    Some(Subscription {
        pattern: ours.as_bytes().into(),
        queue: None,
        target: Target::Service(Box::new(ServiceTarget {
            exporter: Arc::clone(exporter),
            rename: Transform::service(
                import.subject.as_bytes(),
                import.to.as_bytes(),
                ours.as_bytes(),
            )?,
            share: import.share,
            response_type: export.response_type,
            threshold: export.response_threshold.unwrap_or(RESPONSE_THRESHOLD),
            allow_trace: export.allow_trace,
            latency: export.latency.clone().map(Box::new),
        })),
    })
}
