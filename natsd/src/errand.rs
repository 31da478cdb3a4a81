//! What a connection waits for that takes long: an account to be fetched, a service to decide.
//!
//! A connection hands an [`Errand`] in and is woken when its answer is there; who runs it is up to
//! the server's composition. There is a bound: when too many wait already, a new one is answered
//! "no" at once, as if the account were not known or the service silent.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};

use crate::auth::Identity;
use crate::config::{ConnectionType, Secret};

/// Errands that may wait.
const WAITING_MAX: usize = 4096;

/// Something that takes long.
#[derive(Debug)]
pub enum Errand {
    /// Find out what is known of an account.
    Fetch {
        /// Its public key.
        account: String,
        /// Told when that was tried.
        done: oneshot::Sender<()>,
    },
    /// Ask an authorization service about a client.
    Decide {
        /// Who that is.
        question: Box<Question>,
        /// Whom it takes the client for, if for anybody.
        ruling: oneshot::Sender<Option<Identity>>,
    },
}

/// A client about whom a service decides.
#[derive(Debug)]
pub struct Question {
    /// Account that has the service.
    pub account: String,
    /// Connection id.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// How it is connected.
    pub kind: ConnectionType,
    /// What it was given to sign.
    pub nonce: String,
    /// The JWT that it showed, or that stands for it.
    pub jwt: Secret,
    /// Name and tags of the user in that.
    pub name_tag: String,
    /// Tags.
    pub tags: Vec<String>,
    /// What it said of itself: `user`, `pass`, and so on.
    pub connect: crate::protocol::info::Connect,
    /// The user as monitoring would show it.
    pub user: String,
    /// A trusted proxy vouches for it.
    pub by_proxy: bool,
    /// Version and cipher suite of TLS, if it is used.
    pub tls: Option<TlsFacts>,
}

/// TLS of a connection, as services are told of it.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// `1.3`
    pub version: String,
    /// `TLS_AES_128_GCM_SHA256`
    pub cipher: String,
    /// PEM of the verified certificates, the client's first.
    pub chain: Vec<String>,
}

/// Where errands are handed in.
#[derive(Debug, Default)]
pub struct Errands {
    runner: OnceLock<mpsc::Sender<Errand>>,
}

/// The answer to come; `None` when there is none.
#[derive(Debug)]
pub struct Awaited<T>(oneshot::Receiver<T>);

impl<T> Awaited<T> {
    /// The answer, once it is known.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

impl Errands {
    /// From now on errands arrive here; only the first caller gets them.
    pub fn receive(&self) -> Option<mpsc::Receiver<Errand>> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        self.runner.set(sender).is_ok().then_some(receiver)
    }

    /// Has an account fetched.
    #[must_use]
    pub fn fetch(&self, account: String) -> Awaited<()> {
        let (done, answer) = oneshot::channel();
        self.hand_in(Errand::Fetch { account, done });
        Awaited(answer)
    }

    /// Asks an authorization service.
    #[must_use]
    pub fn decide(&self, question: Question) -> Awaited<Option<Identity>> {
        let (ruling, answer) = oneshot::channel();
        self.hand_in(Errand::Decide { question: Box::new(question), ruling });
        Awaited(answer)
    }

    fn hand_in(&self, errand: Errand) {
        let taken = self.runner.get().is_some_and(|runner| runner.try_send(errand).is_ok());
        if !taken {
            tracing::error!("Too many clients wait for accounts or authorization: refused one");
        }
    }
}
