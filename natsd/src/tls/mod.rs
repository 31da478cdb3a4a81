//! TLS as it is configured: files read, checked and made into what rustls runs on.
//!
//! Nothing here touches a socket; `net` shakes hands and moves bytes. Certificates are read once
//! at the start and at every reload; connections keep what they began with.

mod certificate;
mod chain;
mod fault;
mod provider;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use certificate::Certificate;
pub use chain::chain;
pub use fault::handshake_fault;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Tls;

const SECOND: Duration = Duration::from_secs(1);

/// Why TLS cannot be had as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("error reading {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds nothing of use.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key cannot be used together.
    #[error("certificate {} and key {}: {source}", cert.display(), key.display())]
    Pair {
        /// Certificate.
        cert: PathBuf,
        /// Key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// An authority cannot be trusted.
    #[error("authority in {}: {source}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system trusts nobody and no `ca_file` is configured.
    #[error("no `ca_file` is configured and the system has no certificate authorities")]
    NoAuthorities,
    /// No suite is left.
    #[error("none of the configured cipher suites or curves is spoken by natsd: {0}")]
    Nothing(String),
    /// rustls refuses the whole.
    #[error("TLS: {0}")]
    Refused(#[from] rustls::Error),
    /// rustls refuses the authorities.
    #[error("TLS client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What a handshake told.
#[derive(Clone, Debug, Default)]
pub struct Secured {
    /// What the peer showed, its own certificate first; verified as configured.
    pub chain: Vec<Certificate>,
    /// `1.3`
    pub version: &'static str,
    /// `TLS_AES_128_GCM_SHA256`
    pub cipher: String,
    /// It came before the greeting.
    pub is_first: bool,
}

impl Secured {
    /// The peer's own certificate, if it showed one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// Logs what was agreed on with the peer of this label, to those who debug.
    pub fn log(&self, label: &str) {
        tracing::debug!("{label} - TLS handshake complete");
        tracing::debug!("{label} - TLS version {}, cipher suite {}", self.version, self.cipher);
    }
}

/// TLS of one listener, and of the connections dialed under the same configuration.
#[derive(Debug)]
pub struct TlsSetup {
    /// As configured.
    pub config: Tls,
    /// For accepted connections.
    pub server: Arc<ServerConfig>,
    /// For dialed ones; only made when asked for.
    pub client: Option<Arc<ClientConfig>>,
    /// Configured authorities of clients' certificates.
    pub authorities: Vec<Vec<u8>>,
    /// When the first of its certificates ends.
    pub not_after: Option<Timestamp>,
    begun: Mutex<Begun>,
}

/// Handshakes of the current second.
#[derive(Debug, Default)]
struct Begun {
    second: Option<Instant>,
    count: u64,
}

impl TlsSetup {
    /// Reads the files of a client listener.
    ///
    /// # Errors
    /// Says which file and why.
    pub fn for_clients(config: &Tls) -> Result<Self, TlsError> {
        let verify = config.verify || config.verify_and_map;
        let server = Arc::new(server_config(config, verify)?);
        let authorities = match config.ca_file.as_ref().filter(|_| verify) {
            Some(path) => certificates(path)?.iter().map(|held| held.to_vec()).collect(),
            None => Vec::new(),
        };
        Ok(Self { authorities, ..Self::new(config, server, None) })
    }

    /// Reads the files of the monitoring listener: that of clients, who are asked for nothing.
    ///
    /// # Errors
    /// Says which file and why.
    pub fn for_monitoring(config: &Tls) -> Result<Self, TlsError> {
        let server = Arc::new(server_config(config, false)?);
        Ok(Self::new(config, server, None))
    }

    /// Reads the files of a route listener: both sides always show and check certificates.
    ///
    /// # Errors
    /// Says which file and why.
    pub fn for_routes(config: &Tls) -> Result<Self, TlsError> {
        let server = Arc::new(server_config(config, true)?);
        let client = Some(Arc::new(client_config(config)?));
        Ok(Self::new(config, server, client))
    }

    fn new(config: &Tls, server: Arc<ServerConfig>, client: Option<Arc<ClientConfig>>) -> Self {
        let not_after = first_certificate(config).and_then(|first| first.not_after);
        let (authorities, begun) = (Vec::new(), Mutex::default());
        Self { config: config.clone(), server, client, authorities, not_after, begun }
    }

    /// Whether one more handshake may begin: `connection_rate_limit` per second.
    pub fn may_begin(&self) -> bool {
        let Some(most) = self.config.connection_rate_limit else { return true };
        let now = Instant::now();
        let mut begun = self.begun.lock();
        let same = begun.second.is_some_and(|start| now.duration_since(start) < SECOND);
        if !same {
            *begun = Begun { second: Some(now), count: 0 };
        }
        begun.count += 1;
        begun.count <= most
    }
}

fn server_config(config: &Tls, verify: bool) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider::provider(config)?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(provider::versions(config))?;
    let builder = if verify || config.check_known_urls {
        let roots = Arc::new(roots(config)?);
        let signed = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        builder.with_client_cert_verifier(Arc::new(verify::Signed(signed.build()?)))
    } else {
        builder.with_no_client_auth()
    };
    Ok(builder.with_cert_resolver(Arc::new(Certificates(pairs(config, &provider)?))))
}

/// How a server is dialed that is no peer: a web server.
///
/// # Errors
/// Says which file and why.
pub fn dialing(config: &Tls) -> Result<ClientConfig, TlsError> {
    client_config(config)
}

fn client_config(config: &Tls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider::provider(config)?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(provider::versions(config))?;
    let builder = if config.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verify::Anybody(
            provider.signature_verification_algorithms,
        )))
    } else {
        builder.with_root_certificates(roots(config)?)
    };
    let pairs = pairs(config, &provider)?;
    Ok(match pairs.into_iter().next() {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(verify::Own(pair.key))),
        None => builder.with_no_client_auth(),
    })
}

/// A certificate and the names that it is chosen by.
#[derive(Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

/// Several certificates, one of which is chosen by the name that the peer asks for.
#[derive(Debug)]
struct Certificates(Vec<Pair>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name();
        let named = wanted.and_then(|wanted| {
            self.0.iter().find(|pair| pair.names.iter().any(|name| covers(name, wanted)))
        });
        named.or_else(|| self.0.first()).map(|pair| Arc::clone(&pair.key))
    }
}

/// Whether a name in a certificate covers a host name; `*` stands for the first label only.
fn covers(name: &str, wanted: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => {
            wanted.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => name.eq_ignore_ascii_case(wanted),
    }
}

fn pairs(config: &Tls, provider: &rustls::crypto::CryptoProvider) -> Result<Vec<Pair>, TlsError> {
    let pair = |files: &crate::config::CertificatePair| {
        let chain = certificates(&files.cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&files.key_file)
            .map_err(|source| TlsError::File { path: files.key_file.clone(), source })?;
        let names = chain
            .first()
            .and_then(|first| Certificate::parse(first))
            .map(|certificate| certificate.names.dns)
            .unwrap_or_default();
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|source| {
            TlsError::Pair { cert: files.cert_file.clone(), key: files.key_file.clone(), source }
        })?;
        Ok(Pair { key: Arc::new(key), names })
    };
    config.certificates.iter().map(pair).collect()
}

/// The first certificate, as far as natsd reads it itself.
fn first_certificate(config: &Tls) -> Option<Certificate> {
    let chain = certificates(&config.certificates.first()?.cert_file).ok()?;
    Certificate::parse(chain.first()?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |source| TlsError::File { path: path.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(fault)?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(chain)
}

/// Whom to trust: `ca_file`, else the system.
fn roots(config: &Tls) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let Some(path) = &config.ca_file else {
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        return if store.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(store) };
    };
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|source| TlsError::Authority { path: path.clone(), source })?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label() {
        for (name, wanted, expected) in [
            ("a.b", "A.B", true),
            ("*.b", "a.b", true),
            ("*.b", "x.a.b", false),
            ("*.b", "b", false),
            ("a.b", "a.c", false),
        ] {
            assert_eq!(covers(name, wanted), expected, "{name} {wanted}");
        }
    }
}
