//! Nodes as processes on this machine.
//!
//! Each node gets a loopback address of its own (127.0.0.11, .12, …) and the same ports as on a
//! VM. Where a system has only 127.0.0.1, the nodes share it and their ports are spread. A
//! "machine" is a folder with `machine.json` in it; what runs in it is `deploy`'s business.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::roots::Roots;
use super::{Capabilities, Machine, MachineState, Opened, Power, Progress};
use super::{Provider, ProviderError};
use crate::remote::local::LocalRemote;
use crate::remote::{BoxFuture, Remote};
use crate::state::ClusterDir;
use crate::topology::{Endpoint, Node, Server, Topology, file};

mod roots;

/// Addresses from here on are given out, in blocks.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 0, 0, 11]);
/// Blocks begin at multiples of this.
const BLOCK: usize = 10;
/// How many blocks are looked at before giving up.
const BLOCKS_MAX: usize = 2000;
/// Distance between the ports of two nodes that share 127.0.0.1.
const SPREAD: usize = 10;

/// Processes on loopback addresses of this machine.
#[derive(Debug)]
pub struct Local {
    topology: Topology,
    dir: ClusterDir,
    /// Set where the system has one loopback address only.
    shared_address: bool,
}

/// Where a node is or may be.
type Place = Endpoint;

/// What `machine.json` says. The address is for good; the ports are those of the time, and follow
/// `cluster.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    place: Place,
    /// Distance of the node's ports from those of `cluster.yaml`. Absent in files of old.
    shift: Option<u16>,
}

impl Stored {
    /// The place with the ports that are wanted now.
    fn now(self, server: &Server) -> Place {
        let alone = self.place.address != IpAddr::from(Ipv4Addr::LOCALHOST);
        let shift = self.shift.or_else(|| alone.then_some(0));
        shift.and_then(|shift| at(self.place.address, server, shift)).unwrap_or(self.place)
    }
}

#[derive(Debug, thiserror::Error)]
enum LocalError {
    #[error("{}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the list of state folders, {}", path.display())]
    Roots {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no free block of loopback addresses")]
    NoBlock,
    #[error("a process on this machine has no power switch")]
    NoPower,
}

impl Local {
    /// Opens the local provider for one cluster.
    #[must_use]
    pub fn new(topology: &Topology, dir: &ClusterDir) -> Self {
        let forced = std::env::var_os("NATSCTL_LOOPBACK").is_some_and(|word| word == "single");
        let shared_address = forced || !has_more_loopback();
        Self { topology: topology.clone(), dir: dir.clone(), shared_address }
    }

    /// The cluster whose nodes are on disk while its record is lost: their names, and the ports
    /// they were made with.
    #[must_use]
    pub fn left_behind(dir: &ClusterDir) -> Option<Topology> {
        let folders = fs::read_dir(dir.path().join("nodes")).ok()?.filter_map(Result::ok);
        let mut nodes: Vec<(String, Stored)> = folders
            .filter_map(|folder| {
                let bytes = fs::read(folder.path().join("machine.json")).ok()?;
                let stored = serde_json::from_slice(&bytes).ok()?;
                Some((folder.file_name().into_string().ok()?, stored))
            })
            .collect();
        nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (_, Stored { place, shift }) = nodes.first()?;
        let port = |port: u16| port.saturating_sub(shift.unwrap_or(0));
        let (client, cluster) = (port(place.client_port), port(place.cluster_port));
        let (monitor, name) = (port(place.monitor_port), dir.name());
        let names: String = nodes.iter().map(|(node, _)| format!("  - name: {node:?}\n")).collect();
        let text = format!(
            "version: 1\nname: {name:?}\nprovider: local\nserver: {{client_port: {client}, \
             cluster_port: {cluster}, monitor_port: {monitor}}}\nnodes:\n{names}"
        );
        file::parse(&text, dir.path(), None).ok()
    }

    fn place_file(&self, node: &str) -> PathBuf {
        self.dir.node(node).join("machine.json")
    }

    fn stored(&self, node: &str) -> Option<Stored> {
        serde_json::from_slice(&fs::read(self.place_file(node)).ok()?).ok()
    }

    fn place(&self, node: &str) -> Option<Place> {
        Some(self.stored(node)?.now(&self.topology.server))
    }

    fn machine(&self, node: &str, place: &Place) -> Machine {
        Machine {
            node: node.to_owned(),
            id: format!("{}-{node}", self.topology.name),
            state: MachineState::Running,
            address: Some(place.address),
        }
    }

    fn machines(&self) -> Result<Vec<Machine>, LocalError> {
        let folder = self.dir.path().join("nodes");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(LocalError::File { path: folder, source }),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut machines: Vec<Machine> =
            names.filter_map(|node| Some(self.machine(&node, &self.place(&node)?))).collect();
        machines.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(machines)
    }

    fn make(&self, node: &Node) -> Result<Machine, LocalError> {
        if let Some(place) = self.place(&node.name) {
            return Ok(self.machine(&node.name, &place));
        }
        // One natsctl at a time chooses, whatever state folder it works in: loopback addresses
        // are the machine's, and a server that has not started yet cannot be seen.
        let root = self.dir.path().parent().unwrap_or_else(|| self.dir.path());
        let roots =
            Roots::lock(root).map_err(|(path, source)| LocalError::Roots { path, source })?;
        let place = self.choose(&node.name, &roots)?;
        let file = self.place_file(&node.name);
        let failed = |source| LocalError::File { path: file.clone(), source };
        fs::create_dir_all(self.dir.node(&node.name)).map_err(failed)?;
        let shift = place.client_port.checked_sub(self.topology.server.client_port);
        let stored = Stored { place, shift };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|error| failed(error.into()))?;
        fs::write(&file, bytes).map_err(failed)?;
        Ok(self.machine(&node.name, &place))
    }

    /// A place nobody has: neither a node of any cluster nor another program.
    fn choose(&self, node: &str, roots: &Roots) -> Result<Place, LocalError> {
        let server = &self.topology.server;
        let mine: Vec<Place> =
            stored_in(self.dir.path()).into_iter().map(|stored| stored.now(server)).collect();
        let others = self.others(roots);
        let index = self.topology.nodes.iter().position(|other| other.name == node).unwrap_or(0);
        if self.shared_address {
            let ports = |nth| spread(server, nth);
            let nth = (index..BLOCKS_MAX).chain(0..index).find(|nth| {
                ports(*nth).is_some_and(|place| {
                    !mine.iter().chain(&others).any(|taken| clash(taken, &place)) && is_free(&place)
                })
            });
            return nth.and_then(ports).ok_or(LocalError::NoBlock);
        }
        let at = |nth: usize| Place {
            address: nth_address(nth),
            client_port: server.client_port,
            cluster_port: server.cluster_port,
            monitor_port: server.monitor_port,
        };
        let start = match mine.first() {
            Some(place) => block_of(place.address),
            None => self.free_block(&others, &at)?,
        };
        let size = self.topology.nodes.len();
        let taken = |nth: &usize| {
            mine.iter().chain(&others).any(|place| place.address == nth_address(*nth))
        };
        let mut wanted = std::iter::once(start + index).chain(start..start + size + BLOCKS_MAX);
        wanted.find(|nth| !taken(nth)).map(at).ok_or(LocalError::NoBlock)
    }

    /// The first block where neither another cluster nor another program is. A program that
    /// listens on every address is in the way in all of them: then the first block is taken,
    /// and the check before the start will name the program.
    fn free_block(
        &self,
        others: &[Place],
        at: &dyn Fn(usize) -> Place,
    ) -> Result<usize, LocalError> {
        let size = self.topology.nodes.len();
        let probe = Place { address: Ipv4Addr::new(127, 255, 255, 254).into(), ..at(0) };
        let hopeless = !is_free(&probe);
        let free = |start: &usize| {
            (*start..*start + size).all(|nth| {
                let place = at(nth);
                !others.iter().any(|other| other.address == place.address)
                    && (hopeless || is_free(&place))
            })
        };
        (0..BLOCKS_MAX).map(|block| block * BLOCK).find(free).ok_or(LocalError::NoBlock)
    }

    fn others(&self, roots: &Roots) -> Vec<Place> {
        let clusters = roots.clusters();
        clusters
            .iter()
            .filter(|path| *path != self.dir.path())
            .flat_map(|path| stored_in(path))
            .map(|stored| stored.place)
            .collect()
    }

    fn error(attempt: String, node: Option<&str>, cause: LocalError) -> ProviderError {
        let full = match &cause {
            LocalError::File { source, .. } | LocalError::Roots { source, .. } => {
                source.kind() == ErrorKind::StorageFull
            }
            LocalError::NoBlock | LocalError::NoPower => false,
        };
        ProviderError {
            attempt,
            node: node.map(str::to_owned),
            cause: Some(Box::new(cause)),
            hint: full.then(|| "make room there (df -h), then the same command again".into()),
            transient: false,
        }
    }
}

impl Provider for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { creates_machines: false, power_cut: false, parallel_creates: 16 }
    }

    fn preflight(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Machine>, ProviderError>> {
        let found = self.machines();
        let found =
            found.map_err(|error| Self::error("cannot find the local nodes".into(), None, error));
        Box::pin(async move { found })
    }

    fn create<'a>(
        &'a self,
        node: &'a Node,
        _progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(async move {
            self.make(node).map_err(|error| {
                Self::error(
                    format!("cannot make a place for {}", node.name),
                    Some(&node.name),
                    error,
                )
            })
        })
    }

    fn destroy<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let path = self.dir.node(&machine.node);
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    let attempt = format!("cannot remove {}", machine.id);
                    let error = LocalError::File { path, source };
                    Err(Self::error(attempt, Some(&machine.node), error))
                }
                _ => Ok(()),
            }
        })
    }

    fn power<'a>(
        &'a self,
        machine: &'a Machine,
        power: Power,
    ) -> BoxFuture<'a, Result<Machine, ProviderError>> {
        Box::pin(async move {
            match power {
                Power::On => Ok(machine.clone()),
                Power::Off | Power::Cut => {
                    let attempt = format!("cannot switch {} off", machine.id);
                    Err(Self::error(attempt, Some(&machine.node), LocalError::NoPower))
                }
            }
        })
    }

    fn reach<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Opened, ProviderError>> {
        Box::pin(async {
            let remote: Box<dyn Remote> = Box::new(LocalRemote);
            Ok((machine.clone(), remote))
        })
    }

    fn endpoint(&self, machine: &Machine, server: &Server) -> Option<Endpoint> {
        Some(self.stored(&machine.node)?.now(server))
    }

    fn home(&self, machine: &Machine) -> Option<PathBuf> {
        Some(self.dir.node(&machine.node))
    }
}

/// The places of the nodes of the cluster in a folder, as they were stored.
fn stored_in(cluster: &Path) -> Vec<Stored> {
    let names = fs::read_dir(cluster.join("nodes")).into_iter().flatten();
    let mut places: Vec<Stored> = names
        .filter_map(|entry| fs::read(entry.ok()?.path().join("machine.json")).ok())
        .filter_map(|bytes| serde_json::from_slice(&bytes).ok())
        .collect();
    places.sort_by_key(|stored: &Stored| stored.place.client());
    places
}

fn nth_address(nth: usize) -> IpAddr {
    let nth = u32::try_from(nth).unwrap_or(u32::MAX / 2);
    Ipv4Addr::from(FIRST_ADDRESS + nth).into()
}

/// Start of the block an address is in.
fn block_of(address: IpAddr) -> usize {
    let IpAddr::V4(address) = address else { return 0 };
    let nth = u32::from(address).saturating_sub(FIRST_ADDRESS);
    usize::try_from(nth).unwrap_or(0) / BLOCK * BLOCK
}

fn spread(server: &Server, nth: usize) -> Option<Place> {
    at(Ipv4Addr::LOCALHOST.into(), server, u16::try_from(nth * SPREAD).ok()?)
}

fn at(address: IpAddr, server: &Server, shift: u16) -> Option<Place> {
    Some(Place {
        address,
        client_port: server.client_port.checked_add(shift)?,
        cluster_port: server.cluster_port.checked_add(shift)?,
        monitor_port: server.monitor_port.checked_add(shift)?,
    })
}

fn ports(place: &Place) -> [SocketAddr; 3] {
    [place.client(), place.route(), place.monitor()]
}

fn clash(a: &Place, b: &Place) -> bool {
    ports(a).iter().any(|taken| ports(b).contains(taken))
}

fn is_free(place: &Place) -> bool {
    ports(place).iter().all(|address| TcpListener::bind(address).is_ok())
}

fn has_more_loopback() -> bool {
    TcpListener::bind((nth_address(0), 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_count_up_from_eleven() {
        assert_eq!(nth_address(0).to_string(), "127.0.0.11");
        assert_eq!(nth_address(245).to_string(), "127.0.1.0");
        assert_eq!(block_of("127.0.0.23".parse().unwrap()), 10);
    }

    fn server(client_port: u16) -> Server {
        let text = format!(
            "version: 1\nname: demo\nprovider: local\nserver: {{client_port: {client_port}}}\n\
             nodes: [{{name: node1}}]\n"
        );
        file::parse(&text, Path::new("cluster.yaml"), None).unwrap().server
    }

    #[test]
    fn a_node_keeps_its_address_and_follows_the_wanted_ports() {
        let alone = Stored { place: at(nth_address(3), &server(4222), 0).unwrap(), shift: Some(0) };
        assert_eq!(alone.now(&server(4333)), at(nth_address(3), &server(4333), 0).unwrap());
        let third = spread(&server(4222), 2).unwrap();
        let shared = Stored { place: third, shift: Some(20) };
        assert_eq!(shared.now(&server(4333)).client_port, 4353);
    }

    #[test]
    fn a_machine_json_of_old_has_no_shift() {
        let old = |address: &str| -> Stored {
            let text = format!(
                r#"{{"address": "{address}", "client_port": 4232, "cluster_port": 6232,
                "monitor_port": 8232}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(old("127.0.0.12").now(&server(4333)).client_port, 4333);
        // Which of the nodes that share the address it is cannot be told.
        assert_eq!(old("127.0.0.1").now(&server(4333)).client_port, 4232);
    }
}
