//! Why a handshake failed, in nats-server's words: operators search logs for them.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Says why a handshake failed. What is no TLS at all is [`io::ErrorKind::InvalidData`]: somebody
/// knocks at the wrong door, which nats-server logs for those who debug only.
#[must_use]
pub fn handshake_fault(error: &Error) -> io::Error {
    match (error, words(error)) {
        (Error::InvalidMessage(InvalidMessage::InvalidContentType), Some(words)) => {
            io::Error::new(io::ErrorKind::InvalidData, words)
        }
        (_, Some(words)) => io::Error::other(words),
        (other, None) => io::Error::other(other.clone()),
    }
}

const fn words(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "tls: first record does not look like a TLS handshake"
        }
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::Tls12NotOffered,
        ) => "tls: client offered only unsupported versions",
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "tls: no cipher suite supported by both client and server"
        }
        Error::AlertReceived(alert) => return said(*alert),
        _ => return None,
    })
}

/// What a peer said was wrong.
const fn said(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "remote error: tls: unknown certificate authority",
        AlertDescription::BadCertificate => "remote error: tls: bad certificate",
        AlertDescription::CertificateUnknown => "remote error: tls: unknown certificate",
        AlertDescription::CertificateExpired => "remote error: tls: expired certificate",
        AlertDescription::HandshakeFailure => "remote error: tls: handshake failure",
        AlertDescription::ProtocolVersion => "remote error: tls: protocol version not supported",
        AlertDescription::UnrecognisedName => "remote error: tls: unrecognized name",
        AlertDescription::InternalError => "remote error: tls: internal error",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_nats_server() {
        for (error, words, kind) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "tls: first record does not look like a TLS handshake",
                io::ErrorKind::InvalidData,
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                io::ErrorKind::Other,
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "remote error: tls: unknown certificate authority",
                io::ErrorKind::Other,
            ),
            (Error::HandshakeNotComplete, "handshake not complete", io::ErrorKind::Other),
        ] {
            let fault = handshake_fault(&error);
            assert_eq!((fault.to_string().as_str(), fault.kind()), (words, kind));
        }
    }
}
