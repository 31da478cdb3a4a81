//! Everybody who may connect, and the judgement of who asks to.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nkeys::KeyPair;

use super::{Credentials, Identity, Judgement, PeerNames, Permissions, Proof, Verdict, verify};
use crate::config::{AuthCallout, Config, ConnectionType, Secret};

/// Name of the account that is the system's unless another is configured.
const SYSTEM_ACCOUNT: &str = "$SYS";
/// Where the server asks authorization services.
pub(crate) const CALLOUT_SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// Everybody who may connect.
#[derive(Debug, Default)]
pub struct Authenticator {
    required: bool,
    users: HashMap<Arc<str>, Login>,
    nkeys: HashMap<Arc<str>, Login>,
    single: Option<(Arc<str>, Secret)>,
    token: Option<Secret>,
    no_auth_user: Option<Arc<str>>,
    /// Users are found by their certificates.
    map_certificates: bool,
    /// Only users of the system account are configured: all others come in without credentials.
    open_default: bool,
    plain_passwords: bool,
    /// A service that decides in the server's place.
    callout: Option<AuthCallout>,
    /// Keys of proxies whose word counts.
    proxies: Vec<Arc<str>>,
    /// Where no user says so itself: whoever comes must come through one of them.
    proxy_required: bool,
    /// Kinds of connection whose listeners find users by their certificates.
    mapping_kinds: Vec<ConnectionType>,
}

/// Whether a proxy vouches for a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Voucher {
    /// None says so, or none is asked.
    #[default]
    None,
    /// The proxy with this key.
    Trusted(Arc<str>),
    /// Somebody says so who is not trusted.
    Void,
}

/// What a client is after a reload.
#[derive(Debug)]
pub enum Standing {
    /// What it was.
    Same,
    /// The same user with other permissions.
    Changed(Identity),
    /// Its user is no more, or in another account.
    Gone,
    /// Its credentials are good no more.
    Stranger,
}

/// One who may connect.
#[derive(Debug, PartialEq)]
struct Login {
    identity: Identity,
    password: Secret,
    kinds: Option<BTreeSet<ConnectionType>>,
    proxy_required: bool,
}

impl Login {
    /// Whether a proxy that it needs is missing.
    fn lacks_proxy(&self, given: &Credentials<'_>) -> bool {
        self.proxy_required && !given.by_proxy
    }

    fn allows(&self, kind: ConnectionType) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}

impl Authenticator {
    /// Reads who may connect from the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let auth = &config.auth;
        let identity = |proof, name: &str, account: &Option<String>, permissions: &Option<_>| {
            let permissions: &Option<crate::config::Permissions> = permissions;
            Identity {
                proof,
                user: name.into(),
                account: account.as_deref().map(Into::into),
                permissions: permissions.as_ref().map(|p| Arc::new(Permissions::new(p))),
                grant: None,
            }
        };
        let users = auth.users.iter().map(|user| {
            let login = Login {
                identity: identity(Proof::User, &user.name, &user.account, &user.permissions),
                password: user.password.clone(),
                kinds: user.connection_types.clone(),
                proxy_required: user.proxy_required,
            };
            (Arc::clone(&login.identity.user), login)
        });
        let nkeys = auth.nkeys.iter().map(|user| {
            let login = Login {
                identity: identity(Proof::Nkey, &user.nkey, &user.account, &user.permissions),
                password: Secret::default(),
                kinds: user.connection_types.clone(),
                proxy_required: user.proxy_required,
            };
            (Arc::clone(&login.identity.user), login)
        });
        let secrets = auth.password.iter().chain(&auth.token);
        let plain = |secret: &Secret| !secret.is_empty() && !secret.is_bcrypt();
        Self {
            required: auth.user.is_some()
                || auth.token.is_some()
                || !auth.users.is_empty()
                || !auth.nkeys.is_empty(),
            plain_passwords: secrets.chain(auth.users.iter().map(|user| &user.password)).any(plain),
            users: users.collect(),
            nkeys: nkeys.collect(),
            single: auth
                .user
                .as_deref()
                .map(|user| (user.into(), auth.password.clone().unwrap_or_default())),
            token: auth.token.clone(),
            no_auth_user: auth.no_auth_user.as_deref().map(Into::into),
            map_certificates: config.tls.as_ref().is_some_and(|tls| tls.verify_and_map),
            open_default: only_system_users(config),
            callout: auth.callout.clone(),
            proxies: config.proxies.trusted.iter().map(|key| key.as_str().into()).collect(),
            proxy_required: auth.proxy_required,
            mapping_kinds: mapping_kinds(config),
        }
    }

    /// The same for clients that come by WebSocket: the block may have credentials of its own,
    /// which then stand for those of everybody else (nats-server 2.15).
    #[must_use]
    pub fn for_websocket(config: &Config) -> Self {
        let general = Self::new(config);
        let Some(websocket) = &config.websocket else { return general };
        let map_certificates = websocket.tls.as_ref().is_some_and(|tls| tls.verify_and_map);
        let has_own = websocket.user.is_some()
            || websocket.token.is_some()
            || websocket.no_auth_user.is_some();
        if !has_own {
            return Self { map_certificates, ..general };
        }
        let password = websocket.password.clone().unwrap_or_default();
        Self {
            required: true,
            map_certificates,
            single: websocket.user.as_deref().map(|user| (user.into(), password)),
            token: websocket.token.clone(),
            no_auth_user: websocket.no_auth_user.as_deref().map(Into::into),
            open_default: false,
            ..general
        }
    }

    /// Whether clients must say who they are.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// Whether clients that say nothing are somebody nevertheless: INFO then asks nothing of them.
    #[must_use]
    pub fn admits_strangers(&self) -> bool {
        self.no_auth_user.is_some() || self.open_default
    }

    /// Whether everybody but the system's users comes in without credentials.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_default
    }

    /// Whether clients need something to sign.
    #[must_use]
    pub fn wants_nonce(&self) -> bool {
        !self.nkeys.is_empty() || !self.proxies.is_empty()
    }

    /// Whether the signature of a proxy is good, with which it vouches for a client.
    #[must_use]
    pub fn voucher(&self, signature: &str, nonce: &str) -> Voucher {
        if signature.is_empty() || self.proxies.is_empty() {
            return Voucher::None;
        }
        let signer = self.proxies.iter().find(|key| is_signed(key, nonce, signature));
        signer.map_or(Voucher::Void, |key| Voucher::Trusted(Arc::clone(key)))
    }

    /// Whether the word of a proxy counts.
    #[must_use]
    pub fn trusts_proxy(&self, key: &str) -> bool {
        self.proxies.iter().any(|trusted| **trusted == *key)
    }

    /// Whether passwords or tokens stand in the configuration as they are.
    #[must_use]
    pub fn has_plain_passwords(&self) -> bool {
        self.plain_passwords
    }

    /// Whether a client that an earlier configuration admitted would be admitted still, and as
    /// the same: the same secret, account and permissions.
    #[must_use]
    pub fn keeps(&self, earlier: &Self, identity: &Identity) -> bool {
        matches!(self.standing(earlier, identity), Standing::Same)
    }

    /// What a client that an earlier configuration admitted is by now.
    #[must_use]
    pub fn standing(&self, earlier: &Self, identity: &Identity) -> Standing {
        let same = |kept: bool| if kept { Standing::Same } else { Standing::Stranger };
        match identity.proof {
            // Operators do not change while the server runs, and services are asked at login.
            Proof::Jwt | Proof::Callout => Standing::Same,
            Proof::None => same(!self.required || self.open_default),
            Proof::Token => same(self.token == earlier.token),
            Proof::Nkey => compare(&self.nkeys, &earlier.nkeys, identity),
            // Whoever was the one user, or is to be it, may come back as what it is now.
            Proof::User if self.single.is_some() || earlier.single.is_some() => {
                if self.single == earlier.single { Standing::Same } else { Standing::Gone }
            }
            Proof::User => compare(&self.users, &earlier.users, identity),
        }
    }

    /// The service that decides in the server's place, if there is one.
    #[must_use]
    pub const fn callout(&self) -> Option<&AuthCallout> {
        self.callout.as_ref()
    }

    /// The configured user whom credentials name, right or wrong.
    #[must_use]
    pub fn named(&self, given: &Credentials<'_>) -> Option<Arc<str>> {
        let fallback = || self.no_auth_user.clone().filter(|_| given.is_empty());
        let configured = |name: &str| {
            let found = self.nkeys.get_key_value(name).or_else(|| self.users.get_key_value(name));
            found.map(|(name, _)| Arc::clone(name))
        };
        if !given.nkey.is_empty() {
            return configured(given.nkey);
        }
        if let Some(login) = given.certificate.filter(|_| self.map_certificates) {
            return self.mapped(login, given.kind).map(|login| Arc::clone(&login.identity.user));
        }
        let single =
            self.single.as_ref().map(|(user, _)| user).filter(|user| ***user == *given.user);
        configured(given.user)
            .or_else(|| single.cloned())
            .or_else(|| fallback().and_then(|name| configured(&name)))
    }

    /// Users of the service's account must not ask in the server's name.
    #[must_use]
    pub fn within_callout(&self, identity: Identity) -> Identity {
        let account = identity.account.as_deref().unwrap_or("$G");
        match &self.callout {
            Some(callout) if callout.account == account => without_callout_subject(identity),
            _ => identity,
        }
    }

    /// Judges a client.
    #[must_use]
    pub fn judge(&self, given: &Credentials<'_>) -> Judgement {
        if !self.required {
            return Judgement::Admitted(Identity::default());
        }
        if given.is_empty()
            && let Some(judgement) = self.stranger(given)
        {
            return judgement;
        }
        if !given.nkey.is_empty() && !self.nkeys.is_empty() {
            return self.judge_nkey(given);
        }
        if !self.users.is_empty() {
            if self.map_certificates {
                return self.judge_certificate(given);
            }
            if !given.user.is_empty() {
                return self.judge_user(given);
            }
        }
        if self.proxy_required && !given.by_proxy {
            return Judgement::ProxyRequired;
        }
        if let Some(token) = &self.token {
            return conclude(
                verify(token, given.token),
                Identity { proof: Proof::Token, ..Identity::default() },
            );
        }
        match &self.single {
            Some((user, password)) if **user == *given.user => conclude(
                verify(password, given.password),
                Identity { proof: Proof::User, user: Arc::clone(user), ..Identity::default() },
            ),
            _ => Judgement::Refused,
        }
    }

    /// Who a client without credentials is.
    fn stranger(&self, given: &Credentials<'_>) -> Option<Judgement> {
        if self.open_default && self.no_auth_user.is_none() {
            return Some(Judgement::Admitted(Identity::default()));
        }
        if self.map_certificates && !self.users.is_empty() {
            return None;
        }
        let name = self.no_auth_user.as_deref()?;
        let login = self.nkeys.get(name).or_else(|| self.users.get(name))?;
        if login.lacks_proxy(given) {
            return Some(Judgement::ProxyRequired);
        }
        login.allows(given.kind).then(|| Judgement::Admitted(login.identity.clone()))
    }

    fn judge_nkey(&self, given: &Credentials<'_>) -> Judgement {
        let Some(login) = self.nkeys.get(given.nkey).filter(|login| login.allows(given.kind))
        else {
            return Judgement::Refused;
        };
        if login.lacks_proxy(given) {
            return Judgement::ProxyRequired;
        }
        let is_no_auth_user = self.no_auth_user.as_deref() == Some(given.nkey);
        if is_no_auth_user || is_signed(given.nkey, given.nonce, given.signature) {
            Judgement::Admitted(login.identity.clone())
        } else {
            Judgement::Refused
        }
    }

    fn judge_user(&self, given: &Credentials<'_>) -> Judgement {
        match self.users.get(given.user).filter(|login| login.allows(given.kind)) {
            Some(login) if login.lacks_proxy(given) => Judgement::ProxyRequired,
            Some(login) if self.needs_certificate(login) => Judgement::Refused,
            Some(login) => {
                conclude(verify(&login.password, given.password), login.identity.clone())
            }
            None => Judgement::Refused,
        }
    }

    /// A user without a password is its certificate, wherever a listener looks at certificates:
    /// nobody else may come in under its name by another listener.
    fn needs_certificate(&self, login: &Login) -> bool {
        login.password.is_empty()
            && self.no_auth_user.as_ref() != Some(&login.identity.user)
            && self.mapping_kinds.iter().any(|kind| login.allows(*kind))
    }

    /// The user whom the certificate names. A password that it has is asked for as well, and one
    /// that it does not have must not be given (nats-server).
    fn judge_certificate(&self, given: &Credentials<'_>) -> Judgement {
        let Some(names) = given.certificate else { return Judgement::Refused };
        match self.mapped(names, given.kind) {
            Some(login) if login.lacks_proxy(given) => Judgement::ProxyRequired,
            Some(login) => {
                if !given.user.is_empty() {
                    let user = given.user;
                    tracing::warn!(
                        "User {user:?} found in connect proto, but user required from cert"
                    );
                }
                conclude(verify(&login.password, given.password), login.identity.clone())
            }
            None => Judgement::Refused,
        }
    }

    fn mapped(&self, names: &PeerNames, kind: ConnectionType) -> Option<&Login> {
        let line = names.subject_line();
        let mut candidates = names.alternatives().chain([line.as_str()]);
        let by_name = candidates.find_map(|name| self.users.get(name));
        let found = by_name
            .or_else(|| self.users.iter().find(|(name, _)| names.is_subject(name)).map(|(_, l)| l));
        found.filter(|login| login.allows(kind))
    }
}

/// The same user, who may not publish where the server asks authorization services.
pub(crate) fn without_callout_subject(identity: Identity) -> Identity {
    let permissions = identity.permissions.unwrap_or_default();
    let permissions = permissions.without_publishing(CALLOUT_SUBJECT);
    Identity { permissions: Some(Arc::new(permissions)), ..identity }
}

/// What a user is by now.
fn compare(
    logins: &HashMap<Arc<str>, Login>,
    earlier: &HashMap<Arc<str>, Login>,
    identity: &Identity,
) -> Standing {
    let (Some(now), Some(before)) = (logins.get(&identity.user), earlier.get(&identity.user))
    else {
        return Standing::Gone;
    };
    if now == before {
        return Standing::Same;
    }
    if now.identity.account != identity.account {
        return Standing::Gone;
    }
    let differs = now.password != before.password || now.kinds != before.kinds;
    if differs || now.proxy_required != before.proxy_required {
        return Standing::Stranger;
    }
    Standing::Changed(now.identity.clone())
}

fn conclude(verdict: Verdict, identity: Identity) -> Judgement {
    match verdict {
        Verdict::Same => Judgement::Admitted(identity),
        Verdict::Different => Judgement::Refused,
        Verdict::Hashed(check) => Judgement::Pending(check, identity),
    }
}

/// Whether the owner of a public key signed the nonce.
pub(crate) fn is_signed(public: &str, nonce: &str, signature: &str) -> bool {
    let decoded = URL_SAFE_NO_PAD.decode(signature).or_else(|_other| STANDARD.decode(signature));
    let Ok(signature) = decoded else { return false };
    !nonce.is_empty()
        && KeyPair::from_public_key(public)
            .is_ok_and(|key| key.verify(nonce.as_bytes(), &signature).is_ok())
}

/// Kinds of connection whose listeners find users by their certificates.
fn mapping_kinds(config: &Config) -> Vec<ConnectionType> {
    let maps = |tls: Option<&crate::config::Tls>| tls.is_some_and(|tls| tls.verify_and_map);
    let websocket = config.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref());
    [
        (maps(config.tls.as_ref()), ConnectionType::Standard),
        (maps(websocket), ConnectionType::Websocket),
    ]
    .into_iter()
    .filter_map(|(maps, kind)| maps.then_some(kind))
    .collect()
}

/// Only the system account has users and nothing else is protected: then, as in nats-server,
/// everybody else works in the default account without credentials.
fn only_system_users(config: &Config) -> bool {
    let auth = &config.auth;
    let system = config.system_account.as_deref().unwrap_or(SYSTEM_ACCOUNT);
    let mut accounts =
        auth.users.iter().map(|user| &user.account).chain(auth.nkeys.iter().map(|u| &u.account));
    let protects_others = auth.block_defined
        || auth.user.is_some()
        || auth.token.is_some()
        || auth.no_auth_user.is_some()
        || config.accounts.iter().any(|account| account.name != system);
    let has_users = !auth.users.is_empty() || !auth.nkeys.is_empty();
    has_users
        && !config.no_system_account
        && !protects_others
        && accounts.all(|account| account.as_deref() == Some(system))
}
