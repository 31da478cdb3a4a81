//! Who is it, and what may they do: credentials to an [`Identity`].
//!
//! Pure: no socket, no clock, no thread. An [`Authenticator`] is made of the configuration and
//! judges [`Credentials`]; a check that takes long (bcrypt) comes back as a [`HashCheck`], to be
//! run where nobody else waits. Secrets are compared in constant time and appear in no log and
//! no `Debug`. `client` and `route` ask here and nowhere else. The order of the checks is that
//! of nats-server 2.15.

mod authenticator;
mod certificate;
mod password;
mod permissions;

use std::sync::Arc;
use std::time::Duration;

pub use authenticator::{Authenticator, Standing, Voucher};
pub(crate) use authenticator::{CALLOUT_SUBJECT, is_signed, without_callout_subject};
pub use certificate::PeerNames;
pub use password::{HashCheck, Verdict, verify};
pub use permissions::{Denied, Permissions, SubscribeLeave};

use crate::config::{ConnectionType, Secret};

/// What a client shows to be let in. Secrets stay borrowed from its CONNECT.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// `user`
    pub user: &'a str,
    /// `pass`
    pub password: &'a str,
    /// `auth_token`
    pub token: &'a str,
    /// `nkey`
    pub nkey: &'a str,
    /// `sig`: the signature of `nonce`.
    pub signature: &'a str,
    /// `jwt`
    pub jwt: &'a str,
    /// What this connection was given to sign.
    pub nonce: &'a str,
    /// How it is connected.
    pub kind: ConnectionType,
    /// A trusted proxy vouches for it.
    pub by_proxy: bool,
    /// Names in its TLS certificate, if it showed one that was verified.
    pub certificate: Option<&'a PeerNames>,
}

impl Credentials<'_> {
    /// How a refused one is named in the log.
    #[must_use]
    pub fn label(&self) -> String {
        match self.claim() {
            ("", _) => String::new(),
            (kind, name) => format!(" - {kind} {name:?}"),
        }
    }

    /// Whom they claim to be of, proven or not, as monitoring and events show it.
    #[must_use]
    pub fn claimed(&self) -> &str {
        self.claim().1
    }

    /// The same of one who was let in, as the log shows it behind the account.
    #[must_use]
    pub fn login(&self) -> String {
        match self.claim() {
            ("Token", _) => "token".into(),
            ("", _) => String::new(),
            (kind, name) => format!("{}:{name}", kind.to_lowercase()),
        }
    }

    /// The most telling credential: of what kind, and whose.
    const fn claim(&self) -> (&'static str, &str) {
        if !self.nkey.is_empty() {
            ("Nkey", self.nkey)
        } else if !self.user.is_empty() {
            ("User", self.user)
        } else if !self.token.is_empty() {
            ("Token", "[REDACTED]")
        } else {
            ("", "")
        }
    }

    fn is_empty(&self) -> bool {
        self.user.is_empty()
            && self.password.is_empty()
            && self.token.is_empty()
            && self.nkey.is_empty()
    }
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("nkey", &self.nkey)
            .finish_non_exhaustive()
    }
}

/// Whom a client turned out to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// How it showed that.
    pub proof: Proof,
    /// User name or public key; empty when nobody needs one.
    pub user: Arc<str>,
    /// Account by name; `None` is the default one.
    pub account: Option<Arc<str>>,
    /// What it may do; `None` is everything.
    pub permissions: Option<Arc<Permissions>>,
    /// What its JWT says beyond that, if it showed one or a service gave it one.
    pub grant: Option<Arc<Grant>>,
}

/// What a user's JWT says beyond permissions.
#[derive(Debug, PartialEq)]
pub struct Grant {
    /// The JWT itself; empty where a service gave it.
    pub jwt: Secret,
    /// What people call the user.
    pub name: String,
    /// Tags.
    pub tags: Vec<String>,
    /// The signing key, or the account.
    pub issuer_key: String,
    /// The key of the account that signed it, if not the account's own.
    pub signing_key: Option<String>,
    /// The JWT of the account under which all this was found; empty where accounts have none.
    pub account_jwt: Arc<str>,
    /// When it was issued, in seconds since 1970.
    pub issued_at: i64,
    /// It need not be signed for.
    pub bearer: bool,
    /// Its permissions are the account's default ones.
    pub default_permissions: bool,
    /// Most subscriptions of the connection.
    pub max_subscriptions: Option<u32>,
    /// Most bytes of a message.
    pub max_payload: Option<u32>,
    /// How long it may stay, from its admission.
    pub stays: Option<Duration>,
}

/// What made a client known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: no credentials are asked for.
    #[default]
    None,
    /// A user name.
    User,
    /// A token.
    Token,
    /// A signature.
    Nkey,
    /// A JWT, and a signature.
    Jwt,
    /// The word of an authorization service.
    Callout,
}

/// What became of credentials.
#[derive(Debug)]
pub enum Judgement {
    /// They are good.
    Admitted(Identity),
    /// They are not.
    Refused,
    /// They are not looked at without the word of a trusted proxy.
    ProxyRequired,
    /// It depends on a hash: run the check where it disturbs nobody.
    Pending(HashCheck, Identity),
}

#[cfg(test)]
mod tests;
