//! What may be asked of a document: by query over HTTP, by JSON over the system account.

use serde::{Deserialize, Serialize};

use super::query::{BadRequest, Query};

/// Which client connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum ConnState {
    /// Those that are there.
    #[default]
    Open,
    /// Those that are gone.
    Closed,
    /// Both.
    All,
}

impl TryFrom<u8> for ConnState {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Open),
            1 => Ok(Self::Closed),
            2 => Ok(Self::All),
            other => Err(format!("invalid state {other}")),
        }
    }
}

impl From<ConnState> for u8 {
    fn from(state: ConnState) -> Self {
        match state {
            ConnState::Open => 0,
            ConnState::Closed => 1,
            ConnState::All => 2,
        }
    }
}

/// What may be asked of `/connz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct ConnzOptions {
    pub sort: String,
    /// Show users and accounts.
    pub auth: bool,
    pub subscriptions: bool,
    pub subscriptions_detail: bool,
    pub offset: i64,
    pub limit: i64,
    pub cid: u64,
    pub mqtt_client: String,
    pub state: ConnState,
    pub user: String,
    pub acc: String,
    pub filter_subject: String,
}

impl ConnzOptions {
    /// Reads a query.
    ///
    /// # Errors
    /// When a value is none.
    pub fn from_query(query: &Query) -> Result<Self, BadRequest> {
        let auth = query.bool("auth")?;
        let (subscriptions, subscriptions_detail) = query.subscriptions()?;
        Ok(Self {
            sort: query.text("sort").into(),
            auth,
            subscriptions,
            subscriptions_detail,
            offset: query.int("offset")?,
            limit: query.int("limit")?,
            cid: query.uint("cid")?,
            mqtt_client: query.text("mqtt_client").into(),
            state: state_of(query.text("state"))?,
            user: query.text("user").into(),
            acc: query.text("acc").into(),
            filter_subject: String::new(),
        })
    }
}

fn state_of(text: &str) -> Result<ConnState, BadRequest> {
    match text.to_ascii_lowercase().as_str() {
        "" | "open" => Ok(ConnState::Open),
        "closed" => Ok(ConnState::Closed),
        "any" | "all" => Ok(ConnState::All),
        _ => Err(BadRequest(format!("Error decoding state for {text}"))),
    }
}

/// What may be asked of `/routez`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct RoutezOptions {
    pub subscriptions: bool,
    pub subscriptions_detail: bool,
}

impl RoutezOptions {
    /// Reads a query.
    ///
    /// # Errors
    /// When a value is none.
    pub fn from_query(query: &Query) -> Result<Self, BadRequest> {
        let (subscriptions, subscriptions_detail) = query.subscriptions()?;
        Ok(Self { subscriptions, subscriptions_detail })
    }
}

/// What may be asked of `/subsz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct SubszOptions {
    pub offset: i64,
    pub limit: i64,
    pub subscriptions: bool,
    pub account: String,
    /// A subject: only subscriptions that would get a message on it.
    pub test: String,
}

impl SubszOptions {
    /// Reads a query.
    ///
    /// # Errors
    /// When a value is none.
    pub fn from_query(query: &Query) -> Result<Self, BadRequest> {
        let subscriptions = query.bool("subs")?;
        Ok(Self {
            offset: query.int("offset")?,
            limit: query.int("limit")?,
            subscriptions,
            account: query.text("acc").into(),
            test: query.text("test").into(),
        })
    }
}

/// What may be asked of `/healthz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the wire's; see the monitoring page")]
pub struct HealthzOptions {
    pub account: String,
    pub stream: String,
    pub consumer: String,
    pub details: bool,
}

impl HealthzOptions {
    /// Reads a query.
    ///
    /// # Errors
    /// When a value is none.
    pub fn from_query(query: &Query) -> Result<Self, BadRequest> {
        for about_jetstream in ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"] {
            query.bool(about_jetstream)?;
        }
        Ok(Self {
            details: query.bool("details")?,
            account: query.text("account").into(),
            stream: query.text("stream").into(),
            consumer: query.text("consumer").into(),
        })
    }
}

/// What may be asked of `/accstatz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountStatzOptions {
    /// These accounts; all when empty.
    pub accounts: Vec<String>,
    /// Accounts without clients too.
    pub include_unused: bool,
}

/// What may be asked of `/ipqueuesz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpQueueszOptions {
    /// Queues in which nothing waits too.
    pub all: bool,
    /// Queues whose names contain this.
    pub filter: String,
}

/// What may be asked of PROFILEZ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfilezOptions {
    /// `cpu`, `heap` and so on.
    pub name: String,
    /// Of `cpu`, in nanoseconds.
    pub duration: i64,
}

/// A page of a list: `offset` and `limit` as asked, 1024 when there is none.
#[must_use]
pub fn page(offset: i64, limit: i64) -> (usize, usize) {
    const LIMIT: usize = 1024;
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(LIMIT);
    (usize::try_from(offset).unwrap_or(0), limit)
}
