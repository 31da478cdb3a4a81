//! What is played to both servers: steps of some connections, and their text.

use std::fmt;

use blackbox::wire::escape;

/// Who does something. Clients dial the client port, peers the route port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Client(u8),
    Peer(u8),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "c{number}"),
            Self::Peer(number) => write!(f, "r{number}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Leaves what it had and dials.
    Open,
    /// `${reply}` is the last reply subject that it was shown.
    Send(Vec<u8>),
    /// In two packets, the second behind that many bytes.
    Cut(Vec<u8>, usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) who: Who,
    pub(crate) act: Act,
}

impl Step {
    pub(crate) fn open(who: Who) -> Self {
        Self { who, act: Act::Open }
    }

    pub(crate) fn send(who: Who, bytes: impl Into<Vec<u8>>) -> Self {
        Self { who, act: Act::Send(bytes.into()) }
    }
}

impl fmt::Display for Step {
    /// As in a golden transcript.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::Open => write!(f, "{} connect", self.who),
            Act::Send(bytes) => write!(f, "{}>> {}", self.who, escape(bytes)),
            Act::Cut(bytes, at) => {
                let (first, second) = bytes.split_at(*at);
                write!(f, "{0}>> {1}\n{0}>> {2}", self.who, escape(first), escape(second))
            }
        }
    }
}
