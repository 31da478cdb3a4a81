//! What is known of one client connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::vitals::Vitals;
use crate::account::{Account, GLOBAL_ACCOUNT, Labelled, Subscriber};
use crate::auth::Identity;
use crate::close::CloseReason;
use crate::protocol::error;
use crate::tls::Secured;

/// What a client's protocol is carried by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with or without TLS.
    #[default]
    Tcp,
    /// A WebSocket.
    Websocket {
        /// Where a proxy says the client comes from.
        forwarded_for: Option<String>,
    },
}

impl Transport {
    /// Whether it is a WebSocket.
    #[must_use]
    pub const fn is_websocket(&self) -> bool {
        matches!(self, Self::Websocket { .. })
    }

    /// How monitoring and events name it.
    #[must_use]
    pub const fn client_type(&self) -> &'static str {
        match self {
            Self::Tcp => "nats",
            Self::Websocket { .. } => "websocket",
        }
    }
}

/// What is known of one client connection.
#[derive(Debug)]
pub struct ClientEntry {
    /// Connection id.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What carries its protocol.
    pub transport: Transport,
    /// Since when, and its signs of life.
    pub vitals: Vitals,
    /// Its receiving side.
    pub subscriber: Arc<Subscriber>,
    /// Messages and bytes it sent.
    pub received: TrafficCounters,
    /// It understands repeated INFO and has had its first PONG.
    takes_info: AtomicBool,
    secured: OnceLock<Box<Secured>>,
    /// How the log names it behind its address, once it was let in.
    introduction: OnceLock<Box<str>>,
    about: Mutex<About>,
}

/// What a client said of itself, and whom it turned out to be.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Connection name.
    pub name: String,
    /// Client library.
    pub lang: String,
    /// Its version.
    pub version: String,
    /// User, nkey or the like, as shown by monitoring.
    pub user: String,
    /// Whom it turned out to be, once it is admitted.
    pub identity: Option<Identity>,
    /// Account, once it is bound to one.
    pub account: Option<Arc<Account>>,
    /// Key of the trusted proxy that it came through.
    pub proxy: Option<Arc<str>>,
}

/// Messages and bytes, counted by one writer.
#[derive(Debug, Default)]
pub struct TrafficCounters {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Sums of traffic; "in" is what the server received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received by the server.
    pub in_messages: u64,
    /// Bytes of these.
    pub in_bytes: u64,
    /// Messages sent by the server.
    pub out_messages: u64,
    /// Bytes of these.
    pub out_bytes: u64,
    /// How often producers were slowed down.
    pub stalls: u64,
}

impl TrafficCounters {
    /// Counts one message. Only the connection's own task may call it: a plain load and store.
    pub fn count(&self, bytes: usize) {
        self.messages.store(self.messages.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }

    /// Messages and bytes so far.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Traffic {
    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.in_messages += other.in_messages;
        self.in_bytes += other.in_bytes;
        self.out_messages += other.out_messages;
        self.out_bytes += other.out_bytes;
        self.stalls += other.stalls;
    }
}

impl ClientEntry {
    /// Makes the entry of a connection that was just accepted.
    #[must_use]
    pub fn new(id: u64, peer: SocketAddr, subscriber: Arc<Subscriber>) -> Self {
        Self {
            id,
            peer,
            transport: Transport::Tcp,
            vitals: Vitals::begin(),
            subscriber,
            received: TrafficCounters::default(),
            takes_info: AtomicBool::new(false),
            secured: OnceLock::new(),
            introduction: OnceLock::new(),
            about: Mutex::default(),
        }
    }

    /// The same of a connection that is carried by something else than TCP.
    #[must_use]
    pub fn carried_by(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// TLS was agreed on, which happens once.
    pub fn note_secured(&self, secured: Secured) {
        self.secured.get_or_init(|| Box::new(secured));
    }

    /// What was agreed on, if it has TLS.
    #[must_use]
    pub fn secured(&self) -> Option<&Secured> {
        self.secured.get().map(|held| &**held)
    }

    /// From now on it gets an INFO whenever the cluster changes.
    pub fn start_taking_info(&self) {
        self.takes_info.store(true, Ordering::Release);
    }

    /// Whether it gets an INFO whenever the cluster changes.
    #[must_use]
    pub fn takes_info(&self) -> bool {
        self.takes_info.load(Ordering::Acquire)
    }

    /// What it said of itself.
    #[must_use]
    pub fn about(&self) -> About {
        self.about.lock().clone()
    }

    /// Replaces what it said of itself.
    pub fn set_about(&self, about: About) {
        *self.about.lock() = about;
    }

    /// It was let in: from now on the log names it as it said, and as whom it turned out to be
    /// (`account/user:name` or the like; may be empty). The first time counts (nats-server).
    pub fn introduce(&self, login: &str) {
        let introduction = self.about.lock().introduction(login);
        self.introduction.get_or_init(|| introduction.into());
    }

    /// Makes it another one than it turned out to be, unless it is somebody else by now: a client
    /// may say CONNECT again at any time.
    pub fn change_identity(&self, from: &Identity, to: Identity) -> bool {
        let mut about = self.about.lock();
        let same = about.identity.as_ref() == Some(from);
        if same {
            about.identity = Some(to);
        }
        same
    }

    /// Name of its account; of the global one as long as it is bound to none.
    #[must_use]
    pub fn account_name(&self) -> Arc<str> {
        let about = self.about.lock();
        about.account.as_ref().map_or_else(|| GLOBAL_ACCOUNT.into(), |held| Arc::clone(&held.name))
    }

    /// Its traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let (in_messages, in_bytes) = self.received.read();
        let delivered = self.subscriber.outbound.delivered();
        Traffic {
            in_messages,
            in_bytes,
            out_messages: delivered.messages,
            out_bytes: delivered.bytes,
            stalls: delivered.stalls,
        }
    }

    /// Ends the connection and tells the client why.
    pub fn dismiss(&self, text: &str, reason: CloseReason) {
        let outbound = &self.subscriber.outbound;
        outbound.append_bytes(error::line(text).as_bytes());
        outbound.close(reason);
    }

    /// How it is named in the log.
    #[must_use]
    pub fn label(&self) -> String {
        Labelled::label(self)
    }
}

impl Labelled for ClientEntry {
    /// `127.0.0.1:4711 - cid:5 - "v1.0:py:demo"`.
    fn label(&self) -> String {
        let mut label = match &self.transport {
            Transport::Tcp => format!("{} - cid:{}", self.peer, self.id),
            Transport::Websocket { forwarded_for } => {
                let proxied = forwarded_for
                    .as_ref()
                    .map(|ip| if ip.contains(':') { format!("[{ip}]/") } else { format!("{ip}/") });
                format!("{}{} - wid:{}", proxied.unwrap_or_default(), self.peer, self.id)
            }
        };
        if let Some(introduction) = self.introduction.get() {
            label.push_str(introduction);
        }
        label
    }
}

impl About {
    /// ` - "v1.0:py:demo" - "account/user:name"`, without what is empty.
    fn introduction(&self, login: &str) -> String {
        let version = match self.version.as_str() {
            "" => String::new(),
            version => format!("v{version}"),
        };
        let said: Vec<&str> = [version.as_str(), &self.lang, &self.name]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let quoted = |text: &str| match text {
            "" => String::new(),
            text => format!(" - {}", error::quoted(text.as_bytes())),
        };
        quoted(&said.join(":")) + &quoted(login)
    }
}
