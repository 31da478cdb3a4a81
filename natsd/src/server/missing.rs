//! What a configuration may ask for and this server does not have.

use super::StartError;
use crate::config::Config;

/// natsd never serves without protection that the configuration asks for.
pub(crate) fn refuse_what_is_missing(config: &Config) -> Result<(), StartError> {
    let missing = [
        (needs_proxy(config), "proxy_required"),
        (
            config
                .accounts
                .iter()
                .any(|account| account.service_exports.iter().any(|e| e.latency.is_some())),
            "latency",
        ),
    ];
    match missing.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, what)) => Err(StartError::Refused(format!(
            "the configuration asks for `{what}`, which natsd {} does not have yet",
            env!("CARGO_PKG_VERSION")
        ))),
    }
}

fn needs_proxy(config: &Config) -> bool {
    let auth = &config.auth;
    config.proxies != crate::config::Proxies::default()
        || auth.proxy_required
        || auth.users.iter().any(|user| user.proxy_required)
        || auth.nkeys.iter().any(|user| user.proxy_required)
}
