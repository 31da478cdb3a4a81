//! JWTs of operators, accounts and users: decoded, verified, judged.
//!
//! Pure: no socket, no disk but the system's time zones, no clock (the time comes in). A token is
//! read with [`Token::decode`], which checks the signature by the key that the token itself names
//! as its issuer; whether that issuer is to be trusted is decided by `trust`. What a token says is
//! checked by `validate.rs`. Formats: the jwt/v2 library of nats-server 2.15, in both of its
//! versions.

mod claims;
mod encode;
mod template;
mod times;
mod token;
mod validate;

pub use claims::{
    Account, AccountLimits, Activation, AuthorizationResponse, Export, ExportKind,
    ExternalAuthorization, Import, MessageTrace, Operator, Permission, Permissions, Responses,
    SamplingRate, ServiceLatency, SigningKey, TimeRange, User, UserRights, WeightedMapping,
};
pub use encode::sign;
pub use template::{AccountNames, expand};
pub use times::{in_time, is_source_allowed};
pub use token::{Body, JwtError, Standard, Token, payload};
pub use validate::{Issue, Issues, Severity, import as check_import};

/// Seconds since 1970, as tokens count them.
pub type UnixSeconds = i64;
/// What a limit says when there is none.
pub const UNLIMITED: i64 = -1;
/// Stands for every key in a list of revocations.
pub const EVERYBODY: &str = "*";

/// Whether a key is revoked for what was issued at a time: revoked then or later.
#[must_use]
pub fn is_revoked(
    revocations: &std::collections::BTreeMap<String, UnixSeconds>,
    key: &str,
    issued_at: UnixSeconds,
) -> bool {
    [key, EVERYBODY].iter().any(|key| revocations.get(*key).is_some_and(|at| *at >= issued_at))
}

#[cfg(test)]
mod tests;
