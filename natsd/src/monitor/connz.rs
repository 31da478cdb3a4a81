//! Makes `/connz`.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::options::{ConnState, ConnzOptions, page};
use super::query::BadRequest;
use super::subsz::detail_of;
use super::view::{ConnInfo, Connz, ProxyInfo, SubDetail, TlsPeerCert};
use super::{Monitor, age, now, text};
use crate::account::GLOBAL_ACCOUNT;
use crate::registry::{About, ClientEntry, ClosedClient, ClosedSubscription, Traffic, Transport};
use crate::subject;
use crate::tls::{Certificate, Secured};

/// What a sort compares: what the document has, and what it shows in words only.
struct Candidate {
    info: ConnInfo,
    rtt_nanos: u64,
}

impl Monitor {
    /// Client connections, a page of them.
    ///
    /// # Errors
    /// When it is asked for something that makes no sense.
    pub fn connz(&self, options: &ConnzOptions) -> Result<Connz, BadRequest> {
        let sort = Sort::parse(options)?;
        if is_bounded(&options.filter_subject) && options.acc.is_empty() {
            return Err(BadRequest("filter by subject only valid with account filtering".into()));
        }
        let (offset, mut limit) = page(options.offset, options.limit);
        if options.cid > 0 {
            limit = 1;
        }
        let now = now();
        let empty = Connz { now, offset, limit, ..Connz::default() };
        if !options.acc.is_empty() && self.node.accounts.find(options.acc.as_bytes()).is_none() {
            return Ok(empty);
        }
        let (total, mut found) = self.candidates(options, now);
        sort.apply(&mut found, now);
        let connections: Vec<ConnInfo> =
            found.into_iter().skip(offset).take(limit).map(|candidate| candidate.info).collect();
        Ok(Connz {
            server_id: self.server_id(),
            num_connections: connections.len(),
            total,
            connections: Some(connections),
            ..empty
        })
    }

    /// The connections that are asked for, and how many there are before filters other than the
    /// account's.
    fn candidates(&self, options: &ConnzOptions, now: Timestamp) -> (usize, Vec<Candidate>) {
        let of_account = |name: &str| options.acc.is_empty() || options.acc == name;
        let mut total = 0;
        let mut found = Vec::new();
        if options.state != ConnState::Closed {
            for client in self.node.registry.clients() {
                if of_account(&client.account_name()) {
                    total += 1;
                    if wanted(options, client.id, &client.about()) && subscribed(options, &client) {
                        found.push(open(&client, options, now));
                    }
                }
            }
        }
        if options.state != ConnState::Open {
            for client in self.node.registry.closed() {
                if of_account(account_of(&client.about)) {
                    total += 1;
                    if wanted(options, client.id, &client.about) {
                        found.push(closed(&client, options));
                    }
                }
            }
        }
        (total, found)
    }
}

/// Whether a filter is there and lets something out.
fn is_bounded(filter: &str) -> bool {
    !filter.is_empty() && filter != ">"
}

fn account_of(about: &About) -> &str {
    about.account.as_ref().map_or(GLOBAL_ACCOUNT, |account| &account.name)
}

fn wanted(options: &ConnzOptions, id: u64, about: &About) -> bool {
    let id_fits = options.cid == 0 || options.cid == id;
    // natsd has no MQTT clients.
    let user_fits = options.cid > 0 || options.user.is_empty() || options.user == about.user;
    id_fits && user_fits && options.mqtt_client.is_empty()
}

fn subscribed(options: &ConnzOptions, client: &ClientEntry) -> bool {
    let filter = options.filter_subject.as_bytes();
    !is_bounded(&options.filter_subject)
        || client.subscriber.all().iter().any(|held| subject::overlaps(filter, &held.pattern))
}

fn open(client: &ClientEntry, options: &ConnzOptions, now: Timestamp) -> Candidate {
    let last_activity = age::after(client.vitals.started, client.vitals.activity_millis());
    let rtt_nanos = client.vitals.rtt_nanos();
    let mut info = ConnInfo {
        start: client.vitals.started,
        last_activity,
        uptime: age::since(client.vitals.started, now),
        idle: age::since(last_activity, now),
        pending_bytes: client.subscriber.outbound.delivered().pending_bytes,
        subscriptions: client.subscriber.count(),
        ..described(
            client.id,
            client.peer,
            &client.transport,
            &client.about(),
            client.traffic(),
            rtt_nanos,
        )
    };
    describe_tls(&mut info, client.secured(), options);
    if options.auth {
        let about = client.about();
        describe_user(&mut info, &about);
        info.name_tag = name_tag(&about);
    }
    if options.subscriptions_detail || options.subscriptions {
        let details = client.subscriber.all().iter().map(|held| detail_of(held)).collect();
        list_subscriptions(&mut info, details, options);
    }
    Candidate { info, rtt_nanos }
}

fn closed(client: &ClosedClient, options: &ConnzOptions) -> Candidate {
    let last_activity = age::after(client.started, client.activity_millis);
    let rtt_nanos = client.rtt_nanos;
    let mut info = ConnInfo {
        start: client.started,
        last_activity,
        stop: Some(client.stopped),
        reason: client.reason.to_string(),
        uptime: age::since(client.started, client.stopped),
        idle: age::since(last_activity, client.stopped),
        subscriptions: client.subscription_count,
        ..described(
            client.id,
            client.peer,
            &client.transport,
            &client.about,
            client.traffic,
            rtt_nanos,
        )
    };
    describe_tls(&mut info, client.secured.as_ref(), options);
    // What its JWT said is told unasked once it is gone (observed).
    describe_grant(&mut info, &client.about);
    if options.auth {
        describe_user(&mut info, &client.about);
        if account_of(&client.about) != GLOBAL_ACCOUNT {
            info.name_tag = name_tag(&client.about);
        }
    }
    if options.subscriptions_detail || options.subscriptions {
        let account = account_of(&client.about);
        let tag = name_tag(&client.about);
        let detail = |held| closed_detail(held, client.id, account, &tag);
        list_subscriptions(&mut info, client.subscriptions.iter().map(detail).collect(), options);
    }
    Candidate { info, rtt_nanos }
}

/// What open and closed connections have in common.
fn described(
    id: u64,
    peer: std::net::SocketAddr,
    transport: &Transport,
    about: &About,
    traffic: Traffic,
    rtt_nanos: u64,
) -> ConnInfo {
    ConnInfo {
        cid: id,
        kind: "Client".into(),
        client_type: transport.client_type().into(),
        ip: peer.ip().to_canonical().to_string(),
        port: peer.port(),
        rtt: age::rtt(rtt_nanos),
        in_msgs: traffic.in_messages,
        out_msgs: traffic.out_messages,
        in_bytes: traffic.in_bytes,
        out_bytes: traffic.out_bytes,
        stalls: traffic.stalls,
        name: about.name.clone(),
        lang: about.lang.clone(),
        version: about.version.clone(),
        proxy: about.proxy.as_ref().map(|key| ProxyInfo { key: key.to_string() }),
        ..ConnInfo::default()
    }
}

/// TLS, and the certificates that the peer showed.
fn describe_tls(info: &mut ConnInfo, secured: Option<&Secured>, options: &ConnzOptions) {
    let Some(secured) = secured else { return };
    info.tls_version = secured.version.into();
    info.tls_cipher_suite.clone_from(&secured.cipher);
    info.tls_first = secured.is_first;
    if options.auth {
        let show = |shown: &Certificate| TlsPeerCert {
            subject: shown.subject_text.clone(),
            spki_sha256: shown.key_digest.clone(),
            cert_sha256: shown.digest.clone(),
        };
        info.tls_peer_certs = secured.chain.iter().map(show).collect();
    }
}

/// Whom it turned out to be.
fn describe_user(info: &mut ConnInfo, about: &About) {
    let account = account_of(about);
    info.authorized_user.clone_from(&about.user);
    if account != GLOBAL_ACCOUNT {
        info.account = account.into();
    }
    describe_grant(info, about);
}

/// What its JWT says.
fn describe_grant(info: &mut ConnInfo, about: &About) {
    let Some(grant) = about.identity.as_ref().and_then(|held| held.grant.as_ref()) else { return };
    // A bearer's JWT is as good as a password.
    if !grant.bearer {
        info.jwt = grant.jwt.expose().to_owned();
    }
    info.issuer_key.clone_from(&grant.issuer_key);
    info.tags.clone_from(&grant.tags);
    info.name_tag.clone_from(&grant.name);
}

/// What people call the account.
fn name_tag(about: &About) -> String {
    about.account.as_ref().map_or_else(|| GLOBAL_ACCOUNT.to_owned(), |held| held.name_tag())
}

fn list_subscriptions(info: &mut ConnInfo, mut all: Vec<SubDetail>, options: &ConnzOptions) {
    all.sort_by(|a, b| a.sid.len().cmp(&b.sid.len()).then_with(|| a.sid.cmp(&b.sid)));
    if options.subscriptions_detail {
        info.subscriptions_list_detail = all;
    } else {
        info.subscriptions_list = all.into_iter().map(|detail| detail.subject).collect();
    }
}

fn closed_detail(held: &ClosedSubscription, cid: u64, account: &str, tag: &str) -> SubDetail {
    SubDetail {
        account: account.into(),
        account_tag: tag.into(),
        subject: text(&held.pattern),
        qgroup: held.queue.as_deref().map(text).unwrap_or_default(),
        sid: text(&held.sid),
        msgs: held.delivered,
        max: held.max,
        cid,
    }
}

/// By what connections are sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Cid,
    Subscriptions,
    Pending,
    MessagesTo,
    MessagesFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    Rtt,
}

impl Sort {
    fn parse(options: &ConnzOptions) -> Result<Self, BadRequest> {
        let sort = match options.sort.as_str() {
            "" | "cid" | "start" => Self::Cid,
            "subs" => Self::Subscriptions,
            "pending" => Self::Pending,
            "msgs_to" => Self::MessagesTo,
            "msgs_from" => Self::MessagesFrom,
            "bytes_to" => Self::BytesTo,
            "bytes_from" => Self::BytesFrom,
            "last" => Self::Last,
            "idle" => Self::Idle,
            "uptime" => Self::Uptime,
            "stop" => Self::Stop,
            "reason" => Self::Reason,
            "rtt" => Self::Rtt,
            other => return Err(BadRequest(format!("invalid sorting option: {other}"))),
        };
        if matches!(sort, Self::Stop | Self::Reason) && options.state != ConnState::Closed {
            let name = &options.sort;
            return Err(BadRequest(format!("sort by {name} only valid on closed connections")));
        }
        Ok(sort)
    }

    fn apply(self, found: &mut [Candidate], now: Timestamp) {
        found.sort_by_key(|candidate| candidate.info.cid);
        let lifetime = |info: &ConnInfo| info.stop.unwrap_or(now).duration_since(info.start);
        match self {
            Self::Cid => {}
            Self::Subscriptions => found.sort_by_key(|c| Reverse(c.info.subscriptions)),
            Self::Pending => found.sort_by_key(|c| Reverse(c.info.pending_bytes)),
            Self::MessagesTo => found.sort_by_key(|c| Reverse(c.info.out_msgs)),
            Self::MessagesFrom => found.sort_by_key(|c| Reverse(c.info.in_msgs)),
            Self::BytesTo => found.sort_by_key(|c| Reverse(c.info.out_bytes)),
            Self::BytesFrom => found.sort_by_key(|c| Reverse(c.info.in_bytes)),
            Self::Last => found.sort_by_key(|c| Reverse(c.info.last_activity)),
            // Longest idle first.
            Self::Idle => found.sort_by_key(|c| c.info.last_activity),
            Self::Uptime => found.sort_by_key(|c| lifetime(&c.info)),
            Self::Stop => found.sort_by_key(|c| Reverse(c.info.stop)),
            Self::Reason => found.sort_by(|a, b| a.info.reason.cmp(&b.info.reason)),
            Self::Rtt => found.sort_by_key(|c| Reverse(c.rtt_nanos)),
        }
    }
}
