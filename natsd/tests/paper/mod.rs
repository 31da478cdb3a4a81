//! Clients on paper: the state machine of a client with a sheet in place of its socket.
//!
//! Shared by the allocation test, the benches and the fuzz targets.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each user takes what it needs; a failed step is a failed test"
)]

use std::io::{self, IoSlice};
use std::sync::Arc;

use natsd::client::Client;
use natsd::close::CloseReason;
use natsd::config::Config;
use natsd::discovery::Discovery;
use natsd::net::Conversation;
use natsd::node::{Identity, Node};
use natsd::outbound::{Outbound, Sink};
use natsd::protocol::info::Info;
use natsd::router::Publisher;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What a peer of a server was sent.
#[derive(Debug, Default)]
pub struct Sheet {
    seen: Mutex<Vec<u8>>,
}

impl Sink for Sheet {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut seen = self.seen.lock();
        slices.iter().for_each(|slice| seen.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

/// A peer that forgets what it is sent.
#[derive(Debug)]
pub struct Void;

impl Sink for Void {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

/// A server without sockets.
pub fn node(config: Config) -> Arc<Node> {
    let identity = Identity {
        id: "NTEST".into(),
        name: "test".into(),
        started: jiff::Timestamp::now(),
        started_at: Instant::now(),
    };
    let discovery = Discovery::new(Info::default(), Vec::new(), false);
    Arc::new(Node::new(identity, config, discovery))
}

/// A client of such a server.
#[derive(Debug)]
pub struct Peer {
    client: Client,
    publisher: Publisher,
    sheet: Arc<Sheet>,
    /// A turn was too short for what it said last.
    was_cut: bool,
}

impl Peer {
    /// Connects one whose answers are kept, up to the first INFO.
    pub fn open(node: &Arc<Node>) -> Self {
        let sheet = Arc::new(Sheet::default());
        let mut peer = Self::over(node, Arc::clone(&sheet) as Arc<dyn Sink>, sheet);
        peer.client.on_begin();
        peer.client.on_open(&mut peer.publisher).expect("a connection");
        peer.publisher.flush();
        peer.sheet.seen.lock().clear();
        peer
    }

    /// Connects one whose answers are thrown away, and says CONNECT.
    pub fn mute(node: &Arc<Node>) -> Self {
        let mut peer = Self::over(node, Arc::new(Void), Arc::default());
        peer.client.on_begin();
        peer.client.on_open(&mut peer.publisher).expect("a connection");
        peer.say(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n")
            .expect("CONNECT is accepted");
        peer
    }

    fn over(node: &Arc<Node>, sink: Arc<dyn Sink>, sheet: Arc<Sheet>) -> Self {
        let outbound = Arc::new(Outbound::new(node.next_id(), sink, 64 << 20));
        let address = ([127, 0, 0, 1], 1).into();
        let client = Client::new(Arc::clone(node), address, outbound);
        Self { client, publisher: Publisher::new(1), sheet, was_cut: false }
    }

    /// Says something, in one read.
    ///
    /// # Errors
    /// When the connection ends by it.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), CloseReason> {
        self.publisher.begin_turn();
        let result = self.client.on_bytes(bytes, None, &mut self.publisher);
        self.was_cut = self.client.left() > 0;
        let result = result.and_then(|()| self.client.finish(&mut self.publisher));
        self.publisher.flush();
        result
    }

    /// Whether a turn was too short for what it said last, so that a part was kept for the next:
    /// turns end by the clock, also while another program has the processor.
    pub const fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// All it was sent so far.
    pub fn heard(&self) -> Vec<u8> {
        self.client.outbound().flush();
        self.sheet.seen.lock().clone()
    }

    /// Ends the connection.
    pub fn close(&mut self, reason: CloseReason) {
        self.client.on_close(reason, &mut self.publisher);
        self.publisher.flush();
    }
}
