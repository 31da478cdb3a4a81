//! Why a connection ended, in the words of nats-server's `/connz` and logs.

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed it.
    #[error("Client Closed")]
    ClientClosed,
    /// No valid CONNECT in time.
    #[error("Authentication Timeout")]
    AuthenticationTimeout,
    /// Bad or missing credentials.
    #[error("Authentication Failure")]
    AuthenticationFailure,
    /// TLS could not be agreed on.
    #[error("TLS Handshake Failure")]
    TlsHandshakeError,
    /// More bytes waiting for it than allowed.
    #[error("Slow Consumer (Pending Bytes)")]
    SlowConsumerPendingBytes,
    /// It did not read for longer than allowed.
    #[error("Slow Consumer (Write Deadline)")]
    SlowConsumerWriteDeadline,
    /// Writing failed.
    #[error("Write Error")]
    WriteError,
    /// Reading failed.
    #[error("Read Error")]
    ReadError,
    /// It sent arguments that cannot be understood.
    #[error("Parse Error")]
    ParseError,
    /// It did not answer PINGs.
    #[error("Stale Connection")]
    StaleConnection,
    /// It sent something that is not the protocol.
    #[error("Protocol Violation")]
    ProtocolViolation,
    /// It asked for a protocol version that does not exist.
    #[error("Bad Client Protocol Version")]
    BadClientProtocolVersion,
    /// It is of a kind that this port does not serve.
    #[error("Incorrect Port")]
    WrongPort,
    /// `max_connections` reached.
    #[error("Maximum Connections Exceeded")]
    MaxConnectionsExceeded,
    /// The account's limit reached.
    #[error("Maximum Account Connections Exceeded")]
    MaxAccountConnectionsExceeded,
    /// Message larger than `max_payload`.
    #[error("Maximum Message Payload Exceeded")]
    MaxPayloadExceeded,
    /// Line longer than `max_control_line`.
    #[error("Maximum Control Line Exceeded")]
    MaxControlLineExceeded,
    /// Too many subscriptions after a limit was lowered.
    #[error("Maximum Subscriptions Exceeded")]
    MaxSubscriptionsExceeded,
    /// Another connection to the same server serves already.
    #[error("Duplicate Route")]
    DuplicateRoute,
    /// The route was taken out of the configuration.
    #[error("Route Removed")]
    RouteRemoved,
    /// This server stops.
    #[error("Server Shutdown")]
    ServerShutdown,
    /// Credentials ran out.
    #[error("Authentication Expired")]
    AuthenticationExpired,
    /// Account is not known.
    #[error("Missing Account")]
    MissingAccount,
    /// Credentials were revoked.
    #[error("Credentials Revoked")]
    Revocation,
    /// Header lengths make no sense.
    #[error("Message Header Violation")]
    MsgHeaderViolation,
    /// `no_responders` without `headers`.
    #[error("No Responders Requires Headers")]
    NoRespondersRequiresHeaders,
    /// Cluster names differ.
    #[error("Cluster Name Conflict")]
    ClusterNameConflict,
    /// Another server carries our name.
    #[error("Duplicate Server Name")]
    DuplicateServerName,
    /// It says that it comes through a proxy, which is not trusted.
    #[error("Proxy Not Trusted")]
    ProxyNotTrusted,
    /// It must come through a trusted proxy, and does not.
    #[error("Proxy Required")]
    ProxyRequired,
    /// Closed by an operator's request.
    #[error("Kicked")]
    Kicked,
}

impl CloseReason {
    /// Whether bytes that still wait for the peer are worth one more write.
    #[must_use]
    pub fn wants_last_flush(self) -> bool {
        !matches!(
            self,
            Self::SlowConsumerPendingBytes
                | Self::SlowConsumerWriteDeadline
                | Self::WriteError
                | Self::ReadError
        )
    }
}
