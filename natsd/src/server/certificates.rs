//! The certificates of clients, routes and monitoring, as the configuration names them.

use super::StartError;
use crate::config::Config;
use crate::tls::TlsSetup;

/// Reads all certificates.
pub(crate) fn read_certificates(
    config: &Config,
) -> Result<(Option<TlsSetup>, Option<TlsSetup>), StartError> {
    let fault = |what| move |source| StartError::Tls { what, source: Box::new(source) };
    let clients =
        config.tls.as_ref().map(TlsSetup::for_clients).transpose().map_err(fault("tls"))?;
    let routes = config.cluster.as_ref().and_then(|cluster| cluster.tls.as_ref());
    let routes = routes.map(TlsSetup::for_routes).transpose().map_err(fault("cluster tls"))?;
    Ok((clients, routes))
}

/// Reads the certificates of monitoring: those of clients.
pub(crate) fn read_monitoring_certificates(
    config: &Config,
) -> Result<Option<TlsSetup>, StartError> {
    let secure = config.monitor.as_ref().is_some_and(|monitor| monitor.tls);
    let tls = config.tls.as_ref().filter(|_| secure);
    tls.map(TlsSetup::for_monitoring)
        .transpose()
        .map_err(|source| StartError::Tls { what: "tls", source: Box::new(source) })
}
