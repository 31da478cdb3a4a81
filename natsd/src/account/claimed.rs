//! Accounts that a JWT describes: made when they are needed, changed while they are in use.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::imports::{Imports, service_import, stream_link};
use super::{Account, Accounts, Mappings, Touch};
use crate::config::{self, ServiceExport, ServiceImport, StreamImport};
use crate::subject;
use crate::trust::{Claims, Imported, imported};

/// Imports of imports are followed so far.
const DEPTH_MAX: usize = 16;

/// What became of an account's claims.
#[derive(Debug)]
pub struct Applied {
    /// The account.
    pub account: Arc<Account>,
    /// What was claimed before.
    pub earlier: Option<Arc<Claims>>,
    /// It was not there before, or nothing was known of it.
    pub is_new: bool,
    /// What is wrong with mappings that are left out: source and reason.
    pub faults: Vec<(String, String)>,
}

/// The imports of an account as they are in effect.
#[derive(Debug, Default)]
pub(super) struct Linked {
    streams: Vec<StreamImport>,
    services: Vec<(ServiceImport, ServiceExport)>,
    /// Imports that have no effect, with the reason.
    missing: Vec<(String, &'static str)>,
    /// When the first leave to import ends; 0 is never.
    until: i64,
}

impl Account {
    /// What its JWT says, if it has one and that is known.
    #[must_use]
    pub fn claims(&self) -> Option<Arc<Claims>> {
        self.claims.load_full()
    }

    /// What people call it.
    #[must_use]
    pub fn name_tag(&self) -> String {
        match &*self.claims.load() {
            Some(claims) if !claims.name().is_empty() => claims.name().to_owned(),
            _ => self.name.to_string(),
        }
    }

    /// When its claims were last changed.
    #[must_use]
    pub fn updated(&self) -> Option<Timestamp> {
        *self.updated.lock()
    }

    /// The account as a configuration file would have it that its JWT describes, with the imports
    /// that are in effect.
    #[must_use]
    pub fn claimed(&self) -> Option<config::Account> {
        let source = self.claims()?.configured();
        let linked = self.linked.lock();
        Some(config::Account {
            stream_imports: linked.streams.clone(),
            service_imports: linked.services.iter().map(|(import, _)| import.clone()).collect(),
            ..source
        })
    }

    /// Whether a JWT described it once: the configuration is no business of it.
    pub(super) fn was_claimed(&self) -> bool {
        self.was_claimed.load(Ordering::Relaxed)
    }

    /// Whether all it imports is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.linked.lock().missing.is_empty()
    }
}

impl Accounts {
    /// From now on an account is what its JWT says. Imports take effect with [`Self::relink`].
    pub fn apply(&self, claims: Arc<Claims>) -> Applied {
        let account = self.known_or_new(&claims.standard.subject);
        let source = claims.configured();
        account.set_limits(source.limits);
        account.set_trace(source.trace);
        let earlier = account.claims.swap(Some(claims));
        let (mappings, faults) = mappings_of(source.mappings, earlier.as_deref());
        account.set_mappings(Mappings::new(&mappings, &self.cluster));
        *account.updated.lock() = Some(Timestamp::now());
        let is_new = !account.was_claimed.swap(true, Ordering::Relaxed);
        Applied { account, earlier, is_new, faults }
    }

    /// Nothing is known of an account any more: it lets nobody in and takes nothing.
    pub fn withdraw(&self, account: &Arc<Account>, touched: &mut dyn Touch) {
        account.claims.store(None);
        self.relink_one(account, 0, touched);
    }

    /// Connects an account, and those that import from it, as their claims say now. Only one may
    /// do so at a time.
    pub fn relink(&self, account: &Arc<Account>, now: i64, touched: &mut dyn Touch) {
        self.relink_one(account, now, touched);
        for other in self.all() {
            let imports = other.claims().is_some_and(|claims| {
                claims.account.imports.iter().any(|import| *import.account == *account.name)
            });
            if imports && !Arc::ptr_eq(&other, account) {
                self.relink_one(&other, now, touched);
            }
        }
    }

    /// Accounts of which some leave to import has ended.
    #[must_use]
    pub fn with_ended_leave(&self, now: i64) -> Vec<Arc<Account>> {
        let ended = |account: &Arc<Account>| {
            let until = account.linked.lock().until;
            until != 0 && until <= now
        };
        self.all().into_iter().filter(ended).collect()
    }

    fn relink_one(&self, account: &Arc<Account>, now: i64, touched: &mut dyn Touch) {
        let wanted = self.linkable(account, now);
        let mut linked = account.linked.lock();
        let same = linked.streams == wanted.streams && linked.services == wanted.services;
        *linked = wanted;
        if same {
            return;
        }
        let (streams, services) = (linked.streams.clone(), linked.services.clone());
        drop(linked);
        let streams = streams.iter().filter_map(|import| {
            let exporter = self.find(import.account.as_bytes())?;
            stream_link(import, &exporter)
        });
        let services = services.iter().filter_map(|(import, export)| {
            let exporter = self.find(import.account.as_bytes())?;
            service_import(import, std::slice::from_ref(export), &exporter).map(Arc::new)
        });
        let imports = Imports::new(account, streams.collect(), services.collect());
        account.set_imports(imports, touched);
    }

    /// What an account may import now.
    fn linkable(&self, account: &Arc<Account>, now: i64) -> Linked {
        let mut linked = Linked::default();
        let Some(claims) = account.claims() else { return linked };
        for import in &claims.account.imports {
            let exporter = self.find(import.account.as_bytes()).and_then(|held| held.claims());
            let leave = match &exporter {
                Some(exporter) => exporter.lets_import(&account.name, import, now),
                None => Err(crate::trust::NotAuthorized("its account is not known")),
            };
            match (leave, imported(import)) {
                (Err(why), _) => linked.missing.push((import.subject.clone(), why.0)),
                (Ok(_), Imported::Stream(stream)) if self.forms_cycle(account, &stream) => {
                    linked.missing.push((stream.subject, "it forms a cycle"));
                }
                (Ok(until), found) => {
                    if until != 0 && (linked.until == 0 || until < linked.until) {
                        linked.until = until;
                    }
                    match found {
                        Imported::Stream(stream) => linked.streams.push(stream),
                        Imported::Service(service) => {
                            let exports = exporter.map(|held| held.configured().service_exports);
                            let export = exports.and_then(|list| export_of(list, &service));
                            linked.services.extend(export.map(|export| (service, export)));
                        }
                    }
                }
            }
        }
        linked
    }

    /// Whether an import would bring an account its own messages.
    fn forms_cycle(&self, importer: &Arc<Account>, import: &StreamImport) -> bool {
        let mut open = vec![(import.account.clone(), import.subject.clone())];
        for _ in 0..DEPTH_MAX {
            let mut next = Vec::new();
            for (name, subject) in &open {
                if **name == *importer.name {
                    return true;
                }
                let Some(account) = self.find(name.as_bytes()) else { continue };
                for link in &account.linked.lock().streams {
                    let ours = link.to.as_ref().unwrap_or(&link.subject);
                    if subject::overlaps(ours.as_bytes(), subject.as_bytes())
                        || link.prefix.is_some()
                    {
                        next.push((link.account.clone(), link.subject.clone()));
                    }
                }
            }
            if next.is_empty() {
                return false;
            }
            open = next;
        }
        true
    }
}

impl Account {
    /// Imports that have no effect: subject and reason.
    #[must_use]
    pub fn missing_imports(&self) -> Vec<(String, &'static str)> {
        self.linked.lock().missing.clone()
    }
}

/// Mappings that are good, and faults of the others. While there are such, mappings of before stay
/// (nats-server 2.15): an account does not lose them by a slip.
fn mappings_of(
    wanted: Vec<config::Mapping>,
    earlier: Option<&Claims>,
) -> (Vec<config::Mapping>, Vec<(String, String)>) {
    let mut faults = Vec::new();
    let mut good = Vec::new();
    for mapping in wanted {
        match mapping.check() {
            Ok(()) => good.push(mapping),
            Err(fault) => faults.push((mapping.source, fault.text)),
        }
    }
    if let Some(earlier) = earlier.filter(|_| !faults.is_empty()) {
        let before = earlier.configured().mappings.into_iter();
        let stays = |held: &config::Mapping| {
            held.check().is_ok() && good.iter().all(|new| new.source != held.source)
        };
        let kept: Vec<config::Mapping> = before.filter(stays).collect();
        good.extend(kept);
    }
    (good, faults)
}

fn export_of(exports: Vec<ServiceExport>, import: &ServiceImport) -> Option<ServiceExport> {
    let exact = exports.iter().position(|export| export.subject == import.subject);
    let wide = || {
        exports.iter().position(|export| {
            subject::is_subset(import.subject.as_bytes(), export.subject.as_bytes())
        })
    };
    let index = exact.or_else(wide)?;
    exports.into_iter().nth(index)
}
