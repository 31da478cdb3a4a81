//! From a user's JWT to an identity.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::claims::limit;
use super::permissions::{configured, connection_types};
use super::{Claims, Terms, Trust};
use crate::auth::{Credentials, Grant, Identity, Permissions, Proof, is_signed};
use crate::config::Secret;
use crate::jwt::{AccountNames, Token, User, UserRights, expand, in_time, is_source_allowed};

/// The circumstances under which somebody comes.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// Where from.
    pub host: IpAddr,
    /// When.
    pub now: Timestamp,
}

/// What was found of a user's JWT.
#[derive(Debug)]
pub enum Finding {
    /// It is good.
    Admitted(Box<Identity>),
    /// It is not, and why.
    Refused(String),
    /// It is not, and an operator should know why.
    RefusedAloud(String),
    /// It must come through a trusted proxy.
    ProxyRequired,
    /// Its account must be fetched first.
    Unknown(String),
    /// The account has a service that decides, about somebody who showed this.
    Delegated(Box<Delegation>),
}

/// Somebody about whom a service decides.
#[derive(Debug, Default)]
pub struct Delegation {
    /// The account that has the service.
    pub account: String,
    /// The JWT that was shown.
    pub jwt: Secret,
    /// The user's name and tags in it.
    pub name: String,
    /// Tags.
    pub tags: Vec<String>,
    /// The user's public key.
    pub user: String,
}

type Judged<T> = Result<T, Finding>;

fn refused<T>(text: impl Into<String>) -> Judged<T> {
    Err(Finding::Refused(text.into()))
}

impl Terms {
    /// The JWT that somebody shows, or that stands for those who show none.
    fn shown<'a>(&'a self, given: &Credentials<'a>) -> &'a str {
        match &self.sentinel {
            Some(sentinel) if Token::<User>::decode(given.jwt).is_err() => sentinel.expose(),
            _ => given.jwt,
        }
    }
}

impl Trust {
    /// Judges somebody. `claims` finds what is known of an account.
    pub fn judge(
        &self,
        given: &Credentials<'_>,
        visit: Visit,
        claims: impl FnOnce(&str) -> Option<Arc<Claims>>,
    ) -> Finding {
        let terms = self.terms.load_full();
        let jwt = terms.shown(given);
        self.user(jwt, given.by_proxy, visit)
            .and_then(|user| self.member(given, visit, jwt, user, claims))
            .unwrap_or_else(|finding| finding)
    }

    /// Reads a user's JWT and checks that it is good now.
    fn user(&self, jwt: &str, by_proxy: bool, visit: Visit) -> Judged<Token<User>> {
        if jwt.is_empty() {
            return refused("Authentication requires a user JWT");
        }
        let user = match Token::<User>::decode(jwt) {
            Ok(user) => user,
            Err(error) => return refused(format!("User JWT not valid: {error}")),
        };
        if user.body.rights.proxy_required && !by_proxy {
            return Err(Finding::ProxyRequired);
        }
        if user.validate(visit.now.as_second()).are_blocking() {
            return refused("User JWT no longer valid");
        }
        Ok(user)
    }

    /// Checks a user against its account.
    fn member(
        &self,
        given: &Credentials<'_>,
        visit: Visit,
        jwt: &str,
        mut user: Token<User>,
        claims: impl FnOnce(&str) -> Option<Arc<Claims>>,
    ) -> Judged<Finding> {
        let account = match user.body.issuer_account.as_str() {
            "" => user.standard.issuer.clone(),
            account => account.to_owned(),
        };
        if !self.serves(&account) {
            return refused(format!("Account {account} not listed as operator pinned account"));
        }
        let Some(claims) = claims(&account).filter(|t| !t.is_expired(visit.now.as_second())) else {
            return Err(Finding::Unknown(account));
        };
        if !self.is_trusted(&claims.standard.issuer) {
            return refused("Account JWT not signed by trusted operator");
        }
        scope(&mut user, &claims)?;
        if user.body.rights.proxy_required && !given.by_proxy {
            return Err(Finding::ProxyRequired);
        }
        if user.body.rights.bearer_token && claims.account.limits.disallow_bearer {
            return refused("Account does not allow bearer tokens");
        }
        let kinds = connection_types(&user.body.rights.allowed_connection_types);
        if kinds.is_some_and(|kinds| !kinds.contains(&given.kind)) {
            return refused("Connection type not allowed");
        }
        let Token { standard, body } = &user;
        if !body.rights.bearer_token && !is_signed(&standard.subject, given.nonce, given.signature)
        {
            return refused("Signature not verified");
        }
        if claims.is_revoked(&standard.subject, standard.issued_at) {
            return refused("User authentication revoked");
        }
        if !is_source_allowed(&body.rights, visit.host) {
            return Err(Finding::RefusedAloud(format!("Bad src Ip {}", visit.host.to_canonical())));
        }
        let Some(stays) = in_time(&body.rights, visit.now) else {
            return Err(Finding::RefusedAloud("Outside connect times".into()));
        };
        let external = &claims.account.authorization;
        if claims.has_external_authorization() && !external.auth_users.contains(&standard.subject) {
            return Ok(Finding::Delegated(Box::new(Delegation {
                account,
                jwt: Secret::new(jwt),
                name: standard.name.clone(),
                tags: body.tags.clone(),
                user: standard.subject.clone(),
            })));
        }
        let identity = identity(&user, &claims, jwt, Proof::Jwt, stays, visit.now);
        Ok(Finding::Admitted(Box::new(identity)))
    }
}

/// Checks that a user's issuer may sign for its account, and gives the user the rights of a
/// scoped key.
pub(crate) fn scope(user: &mut Token<User>, claims: &Claims) -> Judged<()> {
    let Some(scope) = claims.signer(&user.standard.issuer) else {
        return refused("User JWT issuer is not known");
    };
    let Some(rights) = scope else { return Ok(()) };
    if user.body.rights != UserRights::default() {
        return refused("User JWT is not valid: scoped users require no permissions or limits set");
    }
    let names = AccountNames { name: claims.name(), tags: &claims.account.tags };
    let permissions = expand(&rights.permissions, user, names).map_err(|error| {
        Finding::Refused(format!("User JWT generated invalid permissions: {error}"))
    })?;
    user.body.rights = UserRights { permissions, ..rights.clone() };
    Ok(())
}

/// What a good user of an account is here.
pub(crate) fn identity(
    user: &Token<User>,
    claims: &Claims,
    jwt: &str,
    proof: Proof,
    stays: Option<Duration>,
    now: Timestamp,
) -> Identity {
    let Token { standard, body } = user;
    let rights = &body.rights;
    let own = configured(&rights.permissions).map(|source| Arc::new(Permissions::new(&source)));
    let signing_key = (!body.issuer_account.is_empty()).then(|| standard.issuer.clone());
    let account: Arc<str> = claims.standard.subject.as_str().into();
    Identity {
        proof,
        user: standard.subject.as_str().into(),
        grant: Some(Arc::new(Grant {
            jwt: Secret::new(jwt),
            name: standard.name.clone(),
            tags: body.tags.clone(),
            issuer_key: signing_key.clone().unwrap_or_else(|| account.to_string()),
            signing_key,
            account_jwt: Arc::clone(&claims.jwt),
            issued_at: standard.issued_at,
            bearer: rights.bearer_token,
            default_permissions: own.is_none(),
            max_subscriptions: limit(rights.subs),
            max_payload: limit(rights.payload),
            stays: sooner(stays, time_left(standard.expires, now)),
        })),
        account: Some(account),
        permissions: own.or_else(|| claims.default_permissions.clone()),
    }
}

/// Until a token expires; `None` for one that does not.
pub(crate) fn time_left(expires: i64, now: Timestamp) -> Option<Duration> {
    let left = u64::try_from(expires - now.as_second()).unwrap_or(0);
    (expires != 0).then(|| Duration::from_secs(left))
}

/// The sooner of two ends.
pub(crate) fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

/// Whether a JWT can stand for those who show none.
pub(super) fn check_sentinel(jwt: &str) -> Result<(), String> {
    let token = Token::<User>::decode(jwt)
        .map_err(|_not_one| "default sentinel JWT not valid".to_owned())?;
    let User { rights, issuer_account, .. } = &token.body;
    // A scoped user may turn out to be a bearer.
    let scoped = !issuer_account.is_empty() && *rights == UserRights::default();
    if rights.bearer_token || scoped {
        Ok(())
    } else {
        Err("default sentinel must be a bearer token".into())
    }
}
