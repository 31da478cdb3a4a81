//! Operator mode: which issuers are trusted, and the judgement of users who show a JWT.
//!
//! Pure: no socket, no disk, no clock. A [`Trust`] is made of the configured operators; what an
//! account's JWT says is kept as its [`Claims`]; [`Trust::judge`] takes a user's credentials to an
//! [`Identity`](crate::auth::Identity), or says which account must be fetched first. Where account
//! JWTs come from is the business of `resolver`, what follows from them for live accounts that of
//! `claims`. The order of the checks is that of nats-server 2.15.

mod claims;
mod imports;
mod judge;
mod permissions;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::nkey::{Kind, is_public};
use crate::config::{Config, Secret};
use crate::jwt::{Account, JwtError, Operator, Token, UNLIMITED, UnixSeconds};

pub use claims::{Claims, check_mappings};
pub use imports::{Imported, NotAuthorized, imported};
pub use judge::{Delegation, Finding, Visit};
pub(crate) use judge::{sooner, time_left};
pub use permissions::{configured, connection_types};

/// The version whose place this server takes, for operators that ask for one.
const SERVER_VERSION: [u64; 3] = [2, 15, 1];

/// Whom this server trusts to issue accounts.
#[derive(Debug, Default)]
pub struct Trust {
    /// Operator keys that may sign accounts.
    keys: BTreeSet<String>,
    /// Those whose accounts may not sign users with their own key.
    strict: BTreeSet<String>,
    /// The operators.
    operators: Vec<Token<Operator>>,
    /// What a reload may change.
    terms: ArcSwap<Terms>,
}

/// What of operator mode a reload may change.
#[derive(Debug, Default)]
struct Terms {
    /// Accounts that are served; empty serves all.
    pinned: BTreeSet<String>,
    /// The JWT of those who bring none.
    sentinel: Option<Secret>,
}

impl Terms {
    fn new(config: &Config) -> Result<Self, String> {
        let configured = &config.operators;
        let mut pinned = configured.pinned_accounts.clone();
        if let Some(key) = pinned.iter().find(|key| !is_public(key, Kind::Account)) {
            return Err(format!("pinned account key {key:?} is not a valid public account nkey"));
        }
        if let (false, Some(system)) = (pinned.is_empty(), &config.system_account) {
            pinned.insert(system.clone());
        }
        let sentinel = configured.default_sentinel.clone();
        if let Some(sentinel) = &sentinel {
            judge::check_sentinel(sentinel.expose())?;
        }
        Ok(Self { pinned, sentinel })
    }

    fn serves(&self, account: &str) -> bool {
        self.pinned.is_empty() || self.pinned.contains(account)
    }
}

/// Why an account's JWT is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is no account JWT.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// It is void, or of an issuer that is not trusted.
    #[error("account validation failed")]
    Validation,
}

impl Trust {
    /// Reads the configured operators; `None` without any.
    ///
    /// # Errors
    /// When one of them is none, or they do not fit this server.
    pub fn new(config: &Config) -> Result<Option<Self>, String> {
        let configured = &config.operators;
        if configured.jwts.is_empty() && configured.trusted_keys.is_empty() {
            return Ok(None);
        }
        let mut trust =
            Self { keys: configured.trusted_keys.iter().cloned().collect(), ..Self::default() };
        for text in &configured.jwts {
            let token = Token::<Operator>::decode(text)
                .map_err(|error| format!("error parsing operator JWT: {error}"))?;
            trust.add(token)?;
        }
        trust.check()?;
        trust.terms.store(Arc::new(Terms::new(config)?));
        Ok(Some(trust))
    }

    fn add(&mut self, token: Token<Operator>) -> Result<(), String> {
        check_version(&token)?;
        let Operator { signing_keys, strict_signing_key_usage, .. } = &token.body;
        if *strict_signing_key_usage {
            self.strict.extend(signing_keys.iter().cloned());
        } else {
            self.keys.insert(token.standard.subject.clone());
        }
        self.keys.extend(signing_keys.iter().cloned());
        self.operators.push(token);
        Ok(())
    }

    /// From now on accounts are pinned, and strangers taken for somebody, as another configuration
    /// says.
    ///
    /// # Errors
    /// When that cannot be; then nothing has changed.
    pub fn reconfigure(&self, config: &Config) -> Result<(), String> {
        self.terms.store(Arc::new(Terms::new(config)?));
        Ok(())
    }

    /// Whether users of an account are served here.
    #[must_use]
    pub fn serves(&self, account: &str) -> bool {
        self.terms.load().serves(account)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(key) = self.keys.iter().find(|key| !is_public(key, Kind::Operator)) {
            return Err(format!(
                "trusted Keys {key:?} are required to be a valid public operator nkey"
            ));
        }
        Ok(())
    }

    /// The operators, for the log.
    #[must_use]
    pub fn operators(&self) -> &[Token<Operator>] {
        &self.operators
    }

    /// Whether a key may sign accounts.
    #[must_use]
    pub fn is_trusted(&self, issuer: &str) -> bool {
        self.keys.contains(issuer)
    }

    /// Whether the accounts of an issuer must sign users with signing keys.
    #[must_use]
    pub fn is_strict(&self, issuer: &str) -> bool {
        self.strict.contains(issuer)
    }

    /// Whether a key may have accounts deleted: those of the first operator.
    #[must_use]
    pub fn may_delete(&self, key: &str) -> bool {
        self.operators.first().is_some_and(|operator| {
            let own = !operator.body.strict_signing_key_usage && operator.standard.subject == key;
            own || operator.body.signing_keys.iter().any(|held| held == key)
        })
    }

    /// Whether an account must not be issued by the operator's own key, and is.
    #[must_use]
    pub fn is_issued_loosely(&self, issuer: &str) -> bool {
        self.operators.first().is_some_and(|operator| {
            operator.body.strict_signing_key_usage && operator.standard.subject == issuer
        })
    }

    /// What is taken for granted of the system account until its JWT is there: it is the first
    /// operator's, and its own key signs its users.
    #[must_use]
    pub fn provisional(&self, key: &str) -> Option<Claims> {
        let operator = self.operators.first()?;
        let mut token = Token { standard: operator.standard.clone(), body: Account::default() };
        key.clone_into(&mut token.standard.subject);
        token.standard.name.clear();
        token.standard.expires = 0;
        let limits = &mut token.body.limits;
        let numbers = [&mut limits.subs, &mut limits.data, &mut limits.payload, &mut limits.conn];
        numbers.into_iter().for_each(|limit| *limit = UNLIMITED);
        // The operator's own key is trusted here even where it must not sign otherwise.
        token.standard.issuer = self.keys.first().cloned().unwrap_or_default();
        Some(Claims::new("", token, false))
    }

    /// Reads an account's JWT and checks that it is good now.
    ///
    /// # Errors
    /// When it is not.
    pub fn account(&self, text: &str, now: UnixSeconds) -> Result<Claims, AccountError> {
        let token = Token::<Account>::decode(text)?;
        if !self.is_trusted(&token.standard.issuer) || token.validate(now).are_blocking() {
            return Err(AccountError::Validation);
        }
        let strict = self.is_strict(&token.standard.issuer);
        Ok(Claims::new(text, token, strict))
    }
}

/// Checks that a user's issuer may sign for its account, and gives the user the rights of a
/// scoped key.
///
/// # Errors
/// When it may not, or the user claims rights of its own.
pub fn scope(user: &mut Token<crate::jwt::User>, claims: &Claims) -> Result<(), String> {
    judge::scope(user, claims).map_err(|finding| match finding {
        Finding::Refused(text) | Finding::RefusedAloud(text) => text,
        other => format!("{other:?}"),
    })
}

/// Whether an operator asks for a newer server.
fn check_version(operator: &Token<Operator>) -> Result<(), String> {
    let wanted = &operator.body.assert_server_version;
    if wanted.is_empty() {
        return Ok(());
    }
    let subject = &operator.standard.subject;
    let fault = |text: String| {
        format!("operator {subject} expects version {wanted} got error instead: {text}")
    };
    let parts: Vec<&str> = wanted.split('.').collect();
    if parts.len() != 3 {
        return Err(fault(
            "asserted server version must be of the form <major>.<minor>.<update>".into(),
        ));
    }
    for ((part, own), what) in parts.iter().zip(SERVER_VERSION).zip(["major", "minor", "update"]) {
        let number: u64 = part
            .parse()
            .map_err(|_not| fault(format!("asserted server version cant parse {part} to int")))?;
        if number > own {
            return Err(format!(
                "operator {subject} expected {what} version {number} > server {what} version {own}"
            ));
        }
        if number < own {
            break;
        }
    }
    Ok(())
}
