//! Suites, curves and versions.

use rustls::crypto::{CryptoProvider, ring};
use rustls::{NamedGroup, ProtocolVersion, SupportedProtocolVersion, version};

use super::TlsError;
use crate::config::{Tls, TlsVersion};

/// ring, cut down to what is configured. As in nats-server, suites are chosen for TLS 1.2 only.
pub(super) fn provider(config: &Tls) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    if !config.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            suite.version().version == ProtocolVersion::TLSv1_3
                || suite
                    .suite()
                    .as_str()
                    .is_some_and(|name| config.cipher_suites.iter().any(|wanted| wanted == name))
        });
    }
    if !config.curve_preferences.is_empty() {
        let known = provider.kx_groups.clone();
        let wanted = config.curve_preferences.iter().filter_map(|name| {
            let group = match name.as_str() {
                "X25519" => NamedGroup::X25519,
                "CurveP256" => NamedGroup::secp256r1,
                "CurveP384" => NamedGroup::secp384r1,
                _ => return None,
            };
            known.iter().find(|held| held.name() == group).copied()
        });
        provider.kx_groups = wanted.collect();
    }
    if provider.cipher_suites.is_empty() || provider.kx_groups.is_empty() {
        let all = [config.cipher_suites.as_slice(), &config.curve_preferences].concat();
        return Err(TlsError::Nothing(all.join(", ")));
    }
    Ok(provider)
}

pub(super) fn versions(config: &Tls) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static NEWEST: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match config.min_version {
        TlsVersion::V1_2 => &BOTH,
        TlsVersion::V1_3 => &NEWEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for() {
        let config = Tls {
            cipher_suites: vec!["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384".into()],
            curve_preferences: vec!["CurveP384".into(), "CurveP521".into(), "X25519".into()],
            ..Tls::default()
        };
        let provider = provider(&config).unwrap();
        let old: Vec<_> = provider
            .cipher_suites
            .iter()
            .filter(|suite| suite.version().version == ProtocolVersion::TLSv1_2)
            .filter_map(|suite| suite.suite().as_str())
            .collect();
        assert_eq!(old, ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]);
        let curves: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(curves, [NamedGroup::secp384r1, NamedGroup::X25519]);
        let none = Tls { curve_preferences: vec!["CurveP521".into()], ..Tls::default() };
        assert!(super::provider(&none).is_err());
    }
}
