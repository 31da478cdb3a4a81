//! Makes `/routez`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::options::RoutezOptions;
use super::view::{RouteInfo, Routez, SubDetail};
use super::{Monitor, age, now, text};
use crate::account::{Account, Subscription, Target};
use crate::route::{RouteEntry, permission_of};

impl Monitor {
    /// Connections to other servers of the cluster.
    #[must_use]
    pub fn routez(&self, options: &RoutezOptions) -> Routez {
        let now = now();
        let entries = self.routes();
        let mut listed = if options.subscriptions || options.subscriptions_detail {
            self.interest_of_peers()
        } else {
            HashMap::new()
        };
        let mut routes = Vec::with_capacity(entries.len());
        for entry in &entries {
            let mut info = route_info(entry, now);
            let details = listed.remove(&entry.id).unwrap_or_default();
            if options.subscriptions_detail {
                info.subscriptions_list_detail = details;
            } else {
                info.subscriptions_list = details.into_iter().map(|held| held.subject).collect();
            }
            routes.push(info);
        }
        let config = self.node.config();
        let permissions = config.cluster.as_ref().map(|cluster| &cluster.permissions);
        Routez {
            server_id: self.server_id(),
            server_name: self.node.identity.name.clone(),
            now,
            import: permissions.and_then(|held| permission_of(held.import.as_ref())),
            export: permissions.and_then(|held| permission_of(held.export.as_ref())),
            num_routes: routes.len(),
            routes,
        }
    }

    /// What peers subscribe to, by connection.
    fn interest_of_peers(&self) -> HashMap<u64, Vec<SubDetail>> {
        let mut listed: HashMap<u64, Vec<SubDetail>> = HashMap::new();
        for account in self.node.accounts.all() {
            // Meanwhile nobody subscribes: the texts are made afterwards.
            let mut all = Vec::new();
            account.for_each(|held| {
                if !held.is_local() {
                    all.push(Arc::clone(held));
                }
            });
            for held in &all {
                if let Target::Peer(peer) = &held.target {
                    let rid = peer.link.outbound.id;
                    let account = (!peer.link.is_dedicated()).then_some(&*account);
                    listed.entry(rid).or_default().push(detail_of(held, account, rid));
                }
            }
        }
        listed.values_mut().for_each(|list| list.sort_by(|a, b| a.sid.cmp(&b.sid)));
        listed
    }
}

fn route_info(entry: &RouteEntry, now: Timestamp) -> RouteInfo {
    let remote = entry.remote();
    let traffic = entry.traffic();
    let last_activity = age::after(entry.vitals.started, entry.vitals.activity_millis());
    RouteInfo {
        rid: entry.id,
        remote_id: remote.id,
        remote_name: remote.name,
        did_solicit: entry.dialed,
        is_configured: entry.configured.is_some(),
        ip: entry.peer.ip().to_canonical().to_string(),
        port: entry.peer.port(),
        start: entry.vitals.started,
        last_activity,
        rtt: age::rtt(entry.vitals.rtt_nanos()),
        uptime: age::since(entry.vitals.started, now),
        idle: age::since(last_activity, now),
        pending_size: entry.outbound.delivered().pending_bytes,
        in_msgs: traffic.in_messages,
        out_msgs: traffic.out_messages,
        in_bytes: traffic.in_bytes,
        out_bytes: traffic.out_bytes,
        subscriptions: entry.subscriptions.load(std::sync::atomic::Ordering::Relaxed),
        account: remote.account,
        compression: remote.compression.into(),
        import: remote.import,
        export: remote.export,
        ..RouteInfo::default()
    }
}

/// The sid is the key under which the reference holds a peer's interest; connections that are
/// dedicated to an account do not name it.
fn detail_of(held: &Subscription, account: Option<&Account>, rid: u64) -> SubDetail {
    let (subject, qgroup) =
        (text(&held.pattern), held.queue.as_deref().map(text).unwrap_or_default());
    let mut sid = match account {
        Some(account) => format!("R {} {subject}", account.name),
        None => format!("R {subject}"),
    };
    if !qgroup.is_empty() {
        sid.push_str(&format!(" {qgroup}"));
    }
    SubDetail { subject, qgroup, sid, cid: rid, ..SubDetail::default() }
}
