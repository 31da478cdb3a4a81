use std::io::{self, IoSlice};
use std::sync::OnceLock;

use tokio::runtime::Handle;

use super::*;
use crate::account::{Answers, Subscription, Target, Unheard};
use crate::config::{Config, PermissionSubject};
use crate::outbound::{Outbound, Sink};
use crate::route::Role;

/// A peer that looks, whenever it is written to, whether others may ask who is a member.
#[derive(Default)]
struct Peer {
    mesh: OnceLock<Arc<Mesh>>,
    heard: Mutex<String>,
    others_waited: AtomicBool,
}

impl Sink for Peer {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut heard = self.heard.lock();
        slices.iter().for_each(|slice| heard.push_str(std::str::from_utf8(slice).unwrap()));
        if self.mesh.get().is_some_and(|mesh| mesh.members.try_lock().is_none()) {
            self.others_waited.store(true, Ordering::Relaxed);
        }
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

fn mesh() -> Arc<Mesh> {
    let node = Node::on_paper(Config::default());
    let workers = Workers::start(Handle::current(), 1).unwrap();
    let bound = "127.0.0.1:6222".parse().unwrap();
    Arc::new(Mesh::new(node, workers, &Cluster::default(), bound))
}

impl Peer {
    fn join(mesh: &Arc<Mesh>, id: &str, publisher: &mut Publisher) -> Arc<Self> {
        let peer = Arc::new(Self::default());
        let sink = Arc::clone(&peer) as Arc<dyn Sink>;
        let admission = Admission {
            outbound: &Arc::new(Outbound::to_peer(mesh.node.next_id(), sink, 1 << 20)),
            peer_address: "127.0.0.1:1".parse().unwrap(),
            role: &Role::Accepted,
            scope: Scope::All,
            info: Info { server_id: id.into(), ..Info::default() },
        };
        let Admitted::Member(_, announcement) = mesh.register(admission, publisher) else {
            panic!("{id} is a second one");
        };
        announcement.finish(publisher);
        publisher.flush();
        peer.heard.lock().clear();
        assert!(peer.mesh.set(Arc::clone(mesh)).is_ok());
        peer
    }
}

#[tokio::test]
async fn others_need_not_wait_while_peers_hear_of_other_terms() {
    let mesh = mesh();
    for pattern in ["a", "b", "c.*"] {
        let target = Target::Answers(Arc::new(Answers::default()));
        let pattern = pattern.as_bytes().into();
        let subscription = Arc::new(Subscription { pattern, queue: None, target });
        mesh.node.accounts.global.subscribe(&subscription, &mut Unheard);
    }
    let mut publisher = Publisher::new(1);
    let peers = ["P1", "P2"].map(|id| Peer::join(&mesh, id, &mut publisher));
    publisher.flush();
    peers.iter().for_each(|peer| peer.heard.lock().clear());
    let deny = vec![PermissionSubject { subject: "b".into(), queue: None }];
    let import = Some(config::SubjectPermission { allow: None, deny });
    let permissions = ClusterPermissions { import, export: None };
    mesh.set_terms(&permissions, &mut publisher);
    for peer in peers {
        let heard = std::mem::take(&mut *peer.heard.lock());
        assert!(heard.starts_with("INFO ") && heard.ends_with("\r\nRS- $G b\r\n"), "{heard}");
        assert!(!peer.others_waited.load(Ordering::Relaxed), "{heard}");
    }
}
