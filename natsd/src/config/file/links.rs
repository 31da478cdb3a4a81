//! Whether the exports and imports of all accounts fit together.

use std::collections::{HashMap, HashSet};

use super::entry::Report;
use crate::config::conf::Place;
use crate::config::subjects::{collide, is_literal, is_subset, is_valid};
use crate::config::{Account, Config, ResponseType};

/// How far a chain of imports is followed.
const CHAIN_MAX: usize = 1024;

/// Checks exports, then imports, as nats-server adds them one by one.
pub(super) fn check(config: &Config, place: &Place, report: &mut Report<'_>) {
    let accounts: HashMap<&str, &Account> =
        config.accounts.iter().map(|account| (account.name.as_str(), account)).collect();
    let mut texts = Vec::new();
    for account in &config.accounts {
        check_exports(account, &accounts, config.no_system_account, &mut texts);
    }
    check_stream_imports(&accounts, &config.accounts, &mut texts);
    check_service_imports(&accounts, &config.accounts, &mut texts);
    for text in texts {
        report.error(place, text);
    }
}

type Accounts<'a> = HashMap<&'a str, &'a Account>;

fn check_exports(
    account: &Account,
    accounts: &Accounts<'_>,
    no_system_account: bool,
    texts: &mut Vec<String>,
) {
    for export in &account.stream_exports {
        let subject = &export.subject;
        for name in unknown(&export.accounts, accounts) {
            texts.push(format!("{name:?} account not defined for stream export"));
        }
        if let Err(error) = token_position(subject, export.account_token_position) {
            texts.push(format!("Error adding stream export {subject:?}: {error}"));
        }
    }
    for export in &account.service_exports {
        let subject = &export.subject;
        for name in unknown(&export.accounts, accounts) {
            texts.push(format!("{name:?} account not defined for service export"));
        }
        if let Err(error) = token_position(subject, export.account_token_position) {
            texts.push(format!("Error adding service export {subject:?}: {error}"));
        }
        let Some(latency) = &export.latency else { continue };
        if no_system_account {
            texts.push(format!(
                "Error adding service latency sampling for {subject:?}: system account not setup"
            ));
            continue;
        }
        let to = &latency.subject;
        let own = account.service_exports.iter().any(|other| is_subset(to, &other.subject));
        let error = if !is_valid(to) || !is_literal(to) || own {
            "invalid publish subject"
        } else if export.response_type != ResponseType::Singleton {
            "bad service response type"
        } else {
            continue;
        };
        texts.push(format!(
            "Error adding service latency sampling for {subject:?} on subject {to:?}: {error}"
        ));
    }
}

fn unknown<'n>(names: &'n [String], accounts: &Accounts<'_>) -> Vec<&'n String> {
    names.iter().filter(|name| !accounts.contains_key(name.as_str())).collect()
}

fn token_position(subject: &str, position: Option<usize>) -> Result<(), &'static str> {
    let Some(position) = position else { return Ok(()) };
    match subject.split('.').nth(position - 1) {
        Some("*") => Ok(()),
        _ => Err("sublist: invalid subject"),
    }
}

/// An export as far as leave to import goes.
struct Offer<'a> {
    subject: &'a str,
    accounts: &'a [String],
    account_token_position: Option<usize>,
}

/// Tells whether an account may import a subject that these exports offer.
fn allowed<'a>(offers: impl Iterator<Item = Offer<'a>>, importer: &str, subject: &str) -> bool {
    let offers: Vec<Offer<'_>> = offers.collect();
    let exact = offers.iter().rev().find(|offer| offer.subject == subject);
    let offer = match exact {
        Some(offer) => offer,
        None => match offers.iter().find(|offer| is_subset(subject, offer.subject)) {
            Some(offer) => offer,
            None => return false,
        },
    };
    if let Some(position) = offer.account_token_position {
        return exact.is_none() && subject.split('.').nth(position - 1) == Some(importer);
    }
    offer.accounts.is_empty() || offer.accounts.iter().any(|name| name == importer)
}

/// An import that has been found good, as seen when looking for cycles.
struct Link {
    /// Exporting account.
    account: String,
    /// Subject under which the importing account sees it.
    local: String,
    subject: String,
}

/// Imports by importing account. They are added one by one, as nats-server does: of a cycle only
/// the import that closes it is refused.
type Links = HashMap<String, Vec<Link>>;

fn check_stream_imports(accounts: &Accounts<'_>, all: &[Account], texts: &mut Vec<String>) {
    let mut links = Links::new();
    for (account, import) in all.iter().flat_map(|a| a.stream_imports.iter().map(move |i| (a, i))) {
        let subject = &import.subject;
        let mut fault = |error: &str| {
            texts.push(format!("Error adding stream import {subject:?}: {error}"));
        };
        let Some(from) = accounts.get(import.account.as_str()) else {
            texts.push(format!("{:?} account not defined for stream import", import.account));
            continue;
        };
        let offers = from.stream_exports.iter().map(|export| Offer {
            subject: &export.subject,
            accounts: &export.accounts,
            account_token_position: export.account_token_position,
        });
        if !is_valid(subject) || !allowed(offers, &account.name, subject) {
            fault("stream import not authorized");
            continue;
        }
        if import.prefix.as_ref().is_some_and(|prefix| !is_literal(prefix)) {
            fault("stream import prefix can not contain wildcard tokens");
            continue;
        }
        let local = match (&import.prefix, &import.to) {
            (Some(prefix), _) => format!("{}.{subject}", prefix.trim_end_matches('.')),
            (None, Some(to)) => to.clone(),
            (None, None) => subject.clone(),
        };
        let offered = |name: &str, subject: &str| {
            let exports = accounts.get(name).into_iter().flat_map(|a| &a.stream_exports);
            exports.into_iter().any(|export| is_subset(subject, &export.subject))
        };
        let circle = |subject: &str| leads_back(&links, &account.name, from, subject, &offered);
        if circle(&local) || circle(subject) {
            fault("import forms a cycle");
            continue;
        }
        let own = links.entry(account.name.clone()).or_default();
        if own.iter().any(|o| o.account == import.account && o.subject == *subject) {
            fault("stream import already exists");
            continue;
        }
        own.push(Link { account: import.account.clone(), local, subject: subject.clone() });
    }
}

fn check_service_imports(accounts: &Accounts<'_>, all: &[Account], texts: &mut Vec<String>) {
    let mut links = Links::new();
    for (account, import) in all.iter().flat_map(|a| a.service_imports.iter().map(move |i| (a, i)))
    {
        let subject = &import.subject;
        let mut fault = |error: &str| {
            texts.push(format!("Error adding service import {subject:?}: {error}"));
        };
        let Some(from) = accounts.get(import.account.as_str()) else {
            texts.push(format!("{:?} account not defined for service import", import.account));
            continue;
        };
        if !is_valid(subject) || !is_valid(&import.to) {
            fault("sublist: invalid subject");
            continue;
        }
        let offers = from.service_exports.iter().map(|export| Offer {
            subject: &export.subject,
            accounts: &export.accounts,
            account_token_position: export.account_token_position,
        });
        if !allowed(offers, &account.name, subject) {
            fault("service import not authorized");
            continue;
        }
        if leads_back(&links, &account.name, from, &import.to, &|_, _| true) {
            fault("import forms a cycle");
            continue;
        }
        links.entry(account.name.clone()).or_default().push(Link {
            account: import.account.clone(),
            local: import.to.clone(),
            subject: subject.clone(),
        });
    }
}

/// Walks from the exporting account along its own imports of the subject, and tells whether they
/// lead to an account already passed, the importing one first of all.
fn leads_back(
    links: &Links,
    importer: &str,
    from: &Account,
    subject: &str,
    offered: &dyn Fn(&str, &str) -> bool,
) -> bool {
    let mut visited: HashSet<&str> = HashSet::from([importer]);
    let mut open: Vec<(&str, &str)> = vec![(&from.name, subject)];
    let mut steps = 0;
    while let Some((name, subject)) = open.pop() {
        let Some(imports) = links.get(name).filter(|_| offered(name, subject)) else { continue };
        for link in imports.iter().filter(|link| collide(subject, &link.local)) {
            steps += 1;
            if visited.contains(link.account.as_str()) || steps > CHAIN_MAX {
                return true;
            }
            visited.insert(name);
            let local = link.local.as_str();
            open.push((&link.account, if is_subset(local, subject) { local } else { subject }));
        }
    }
    false
}
