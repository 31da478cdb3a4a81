//! What a configuration may ask for and this server does not have.

use super::StartError;
use crate::config::Config;

/// natsd never serves without protection that the configuration asks for.
pub(crate) fn refuse_what_is_missing(config: &Config) -> Result<(), StartError> {
    let missing = [
        (config.monitor.as_ref().is_some_and(|monitor| monitor.tls), "https"),
        (config.auth.callout.is_some(), "auth_callout"),
        (needs_proxy(config), "proxy_required"),
        (
            config
                .accounts
                .iter()
                .any(|account| account.service_exports.iter().any(|e| e.latency.is_some())),
            "latency",
        ),
        (config.operators != crate::config::Operators::default(), "operator"),
        (config.websocket.is_some(), "websocket"),
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
