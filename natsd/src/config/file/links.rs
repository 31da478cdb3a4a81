//! Whether the exports and imports of all accounts fit together.

use std::collections::{HashMap, HashSet};

use super::entry::Report;
use crate::config::conf::Place;
use crate::config::subjects::{collide, is_literal, is_subset, is_valid};
use crate::config::{Account, Config, ResponseType};

/// How far a chain of imports is followed.
const CHAIN_MAX: usize = 1024;

/// Checks exports, then imports, as nats-server adds them one by one.
pub(super) fn check(config: &Config, place: &Place, report: &mut Report) {
    let accounts: HashMap<&str, &Account> =
        config.accounts.iter().map(|account| (account.name.as_str(), account)).collect();
    let mut texts = Vec::new();
    for account in &config.accounts {
        check_exports(account, &accounts, config.no_system_account, &mut texts);
    }
    for account in &config.accounts {
        check_stream_imports(account, &accounts, &mut texts);
    }
    for account in &config.accounts {
        check_service_imports(account, &accounts, &mut texts);
    }
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
        _ => Err("invalid subject"),
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

fn check_stream_imports(account: &Account, accounts: &Accounts<'_>, texts: &mut Vec<String>) {
    for (i, import) in account.stream_imports.iter().enumerate() {
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
        let local = local_subject(import.prefix.as_deref(), import.to.as_deref(), subject);
        let mut search = Search { accounts, visited: HashSet::from([account.name.clone()]) };
        let cycle = search.streams(from, &local) || {
            search.visited = HashSet::from([account.name.clone()]);
            search.streams(from, subject)
        };
        let before = account.stream_imports.iter().take(i);
        let twice = before.clone().any(|o| o.account == import.account && o.subject == *subject);
        if cycle {
            fault("import forms a cycle");
        } else if twice {
            fault("stream import already exists");
        }
    }
}

/// The subject under which an imported stream is seen.
fn local_subject(prefix: Option<&str>, to: Option<&str>, subject: &str) -> String {
    match (prefix, to) {
        (Some(prefix), _) => format!("{}.{subject}", prefix.trim_end_matches('.')),
        (None, Some(to)) => to.to_owned(),
        (None, None) => subject.to_owned(),
    }
}

fn check_service_imports(account: &Account, accounts: &Accounts<'_>, texts: &mut Vec<String>) {
    for import in &account.service_imports {
        let subject = &import.subject;
        let mut fault = |error: &str| {
            texts.push(format!("Error adding service import {subject:?}: {error}"));
        };
        let Some(from) = accounts.get(import.account.as_str()) else {
            texts.push(format!("{:?} account not defined for service import", import.account));
            continue;
        };
        if !is_valid(subject) || !is_valid(&import.to) {
            fault("invalid subject");
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
        let mut search = Search { accounts, visited: HashSet::from([account.name.clone()]) };
        if search.services(from, &import.to) {
            fault("import forms a cycle");
        }
    }
}

/// A walk along imports, looking for a way back.
struct Search<'a> {
    accounts: &'a Accounts<'a>,
    visited: HashSet<String>,
}

impl Search<'_> {
    /// Tells whether a stream imported from here comes from an account already passed.
    fn streams(&mut self, first: &Account, subject: &str) -> bool {
        let mut open = vec![(first.name.clone(), subject.to_owned())];
        let mut steps = 0;
        while let Some((name, subject)) = open.pop() {
            let Some(account) = self.accounts.get(name.as_str()) else { continue };
            if !account.stream_exports.iter().any(|export| is_subset(&subject, &export.subject)) {
                continue;
            }
            for import in &account.stream_imports {
                let local =
                    local_subject(import.prefix.as_deref(), import.to.as_deref(), &import.subject);
                if !collide(&subject, &local) {
                    continue;
                }
                steps += 1;
                if self.visited.contains(&import.account) || steps > CHAIN_MAX {
                    return true;
                }
                self.visited.insert(name.clone());
                let next = if is_subset(&local, &subject) { local } else { subject.clone() };
                open.push((import.account.clone(), next));
            }
        }
        false
    }

    /// The same for services.
    fn services(&mut self, first: &Account, subject: &str) -> bool {
        let mut open = vec![(first.name.clone(), subject.to_owned())];
        let mut steps = 0;
        while let Some((name, subject)) = open.pop() {
            let Some(account) = self.accounts.get(name.as_str()) else { continue };
            for import in &account.service_imports {
                if !collide(&subject, &import.to) {
                    continue;
                }
                steps += 1;
                if self.visited.contains(&import.account) || steps > CHAIN_MAX {
                    return true;
                }
                self.visited.insert(name.clone());
                let local = &import.to;
                let next = if is_subset(local, &subject) { local } else { &subject };
                open.push((import.account.clone(), next.clone()));
            }
        }
        false
    }
}
