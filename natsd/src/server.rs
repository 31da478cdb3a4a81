//! The composition of a server: start, serve, lame duck, stop.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::{self, SocketAddr};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use nkeys::{KeyPair, XKey};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use crate::account::Account;
use crate::auth::Authenticator;
use crate::claims::Clerk;
use crate::close::CloseReason;
use crate::config::{Config, Listen, RouteUrl};
use crate::discovery::{Discovery, client_urls, host_port};
use crate::log::{FATAL, Logger};
use crate::monitor::Monitor;
use crate::net::{
    Bound, Listener, Workers, accept_loop, bind, interface_addresses, raise_descriptor_limit,
};
use crate::node::{GIT_COMMIT, Identity, Node, ServerKeys, TOOLCHAIN, VERSION};
use crate::ports_file::{Listening, PortsFile, Secure};
use crate::protocol::info::Info;
use crate::reload::ReloadError;
use crate::resolver::Resolver;
use crate::route::Mesh;
use crate::system::{Order, System};
use crate::tls::TlsError;
use crate::trust::Trust;

mod announce;
mod certificates;
mod clients;
mod memory;
mod signals;
mod websocket;

pub(crate) use certificates::{read_certificates, read_monitoring_certificates};
pub(crate) use websocket::read_certificates as read_websocket_certificates;

use clients::{Gate, accept_clients, announce_tls};
use signals::{Signals, Trapped};

/// How long connections may take to end at shutdown.
const SHUTDOWN_PATIENCE: Duration = Duration::from_millis(500);
/// Requests of the system account to the server as a whole that may wait.
const ORDERS_MAX: usize = 4;
/// Longest pause between two clients that are moved away (nats-server 2.15).
const LAME_DUCK_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be had.
    #[error(
        "Error listening on {what}: {address}, \"listen tcp {address}: bind: {}\"",
        plain(source)
    )]
    Listen {
        /// `port`, `route port` or `http port`.
        what: &'static str,
        /// `host:port` as configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The listener for WebSocket clients cannot be had.
    #[error(
        "Unable to listen for websocket connections: listen tcp {address}: bind: {}",
        plain(source)
    )]
    Websocket {
        /// `host:port` as configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The configuration asks for what this server does not have.
    #[error("{0}")]
    Refused(String),
    /// A file that names process or ports cannot be written.
    #[error("could not write {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Certificates cannot be used.
    #[error("{what}: {source}")]
    Tls {
        /// Which block of the configuration.
        what: &'static str,
        /// Why.
        source: Box<TlsError>,
    },
    /// The system gives no threads or signals.
    #[error("could not start: {0}")]
    System(#[from] io::Error),
}

/// The system's words as Go prints them: lower case, no number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Runs a server to its end, on this thread and as many more as there are cores.
pub async fn run(config: Config, logger: Logger, launch: Launch) -> ExitCode {
    raise_descriptor_limit();
    memory::bound_what_is_kept();
    let reached = Resolver::probe(&config.operators).await.map_err(StartError::Refused);
    let started = reached.and_then(|()| Server::start(config, logger.clone(), launch));
    let code = match started {
        Ok(server) => {
            server.serve().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(target: FATAL, "{error}");
            ExitCode::FAILURE
        }
    };
    logger.flush();
    code
}

/// A running server.
pub(crate) struct Server {
    pub(crate) node: Arc<Node>,
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) logger: Logger,
    pub(crate) listening: Listening,
    /// The command line, for reload.
    launch: Launch,
    signals: Signals,
    pub(crate) system: Option<Arc<System>>,
    /// Keeps accounts as their JWTs say.
    pub(crate) clerk: Arc<Clerk>,
    /// What the system account asks of the server as a whole.
    orders: mpsc::Receiver<Order>,
    /// Listeners for clients of all kinds.
    client_listeners: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    /// The dialers of configured routes, by `host:port`.
    routes: HashMap<String, JoinHandle<()>>,
    ports_file: Option<PortsFile>,
}

/// How the server was called.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Last part of `argv[0]`: the ports file is named after it.
    pub program: String,
    /// The arguments behind it.
    pub args: Vec<OsString>,
}

impl Server {
    fn start(config: Config, logger: Logger, launch: Launch) -> Result<Self, StartError> {
        let signals = Signals::install()?;
        let client = listen("port", &config.client)?;
        let routes = match &config.cluster {
            Some(cluster) => Some(listen("route port", &cluster.listen)?),
            None => None,
        };
        let http = match &config.monitor {
            Some(monitor) => Some(listen("http port", &monitor.listen)?),
            None => None,
        };
        let websocket = websocket::listen(&config)?;
        let (client_tls, route_tls) = read_certificates(&config)?;
        let websocket_tls = websocket::read_certificates(&config)?;
        let workers = Workers::start(Handle::current(), cores())?;
        let trust = Trust::new(&config).map_err(StartError::Refused)?;
        let resolver = Resolver::open(&config.operators, crate::claims::now());
        let resolver = resolver.map_err(StartError::Refused)?;
        let node = Arc::new(make_node(config, client.address, trust));
        node.set_tls(client_tls, route_tls);
        node.set_websocket_tls(websocket_tls);
        node.set_monitoring_tls(read_monitoring_certificates(&node.config())?);
        let config = node.config();
        announce::start(&node);
        if let Some(text) = config.refusals.first() {
            return Err(StartError::Refused(text.clone()));
        }
        write_pid_file(&config)?;
        let listening = Listening {
            client: client.address,
            cluster: routes.as_ref().map(|bound| bound.address),
            monitor: http.as_ref().map(|bound| bound.address),
            websocket: websocket.as_ref().map(|bound| bound.address),
            secure: secure_listeners(&config),
        };
        let ports_file = write_ports_file(&config, &launch.program, &listening)?;
        let mesh = routes.as_ref().zip(config.cluster.as_ref()).map(|(bound, cluster)| {
            Arc::new(Mesh::new(Arc::clone(&node), workers.clone(), cluster, bound.address))
        });
        let mut others = Vec::new();
        let monitor = Arc::new(Monitor::new(Arc::clone(&node), mesh.clone(), listening));
        if let Some(bound) = http {
            let scheme = if listening.secure.monitor { "https" } else { "http" };
            tracing::info!("Starting {scheme} monitor on {}", bound.address);
            others.push(crate::monitor::serve(bound, Arc::clone(&monitor))?);
        }
        let (orders_in, orders) = mpsc::channel(ORDERS_MAX);
        let told: Arc<OnceLock<Arc<System>>> = Arc::default();
        let clerk = make_clerk(&node, resolver, Arc::clone(&told));
        let complete = clerk.bootstrap().map_err(StartError::Refused)?;
        let system = (!config.no_system_account).then(|| {
            let clerk = Arc::clone(&clerk);
            let (system, task) = System::start(Arc::clone(&monitor), orders_in, clerk);
            others.push(task);
            // The clerk tells of accounts only from now on; those before were joined at start.
            drop(told.set(Arc::clone(&system)));
            system
        });
        if let Some(errands) = node.errands.receive() {
            others.push(tokio::spawn(Arc::clone(&clerk).run(errands)));
        }
        if !complete {
            others.push(tokio::spawn(Arc::clone(&clerk).complete_system_account()));
        }
        others.push(tokio::spawn(memory::give_back(Arc::clone(&node))));
        let mut client_listeners = Vec::new();
        let gate = Gate::new(&config, mesh.as_ref());
        if let Some(bound) = websocket {
            client_listeners.push(websocket::accept(&node, &workers, bound, gate.clone())?);
        }
        tracing::info!("Listening for client connections on {}", client.address);
        announce_tls(&config);
        if let (Some(mesh), Some(bound)) = (&mesh, routes) {
            others.push(accept_routes(mesh, bound)?);
        }
        client_listeners.push(accept_clients(&node, &workers, client, gate, monitor)?);
        let mut server = Self {
            node,
            mesh,
            logger,
            listening,
            launch,
            signals,
            system,
            clerk,
            orders,
            client_listeners,
            others,
            routes: HashMap::new(),
            ports_file,
        };
        for route in config.cluster.iter().flat_map(|cluster| &cluster.routes) {
            server.keep_route(route.clone());
        }
        Ok(server)
    }

    /// Dials a configured route from now on.
    pub(crate) fn keep_route(&mut self, route: RouteUrl) {
        let Some(mesh) = &self.mesh else { return };
        let target = host_port(&route.host, route.port);
        let task = tokio::spawn(Arc::clone(mesh).keep_route(route));
        if let Some(older) = self.routes.insert(target, task) {
            older.abort();
        }
    }

    /// Dials it no more, and closes what serves it.
    pub(crate) fn drop_route(&mut self, target: &str) {
        if let Some(task) = self.routes.remove(target) {
            task.abort();
        }
        if let Some(mesh) = &self.mesh {
            mesh.drop_route(target);
        }
    }

    /// Writes the ports file where a new configuration wants it; the old one is removed.
    pub(crate) fn rewrite_ports_file(&mut self, config: &Config) -> Result<(), StartError> {
        self.ports_file = None;
        self.ports_file = write_ports_file(config, &self.launch.program, &self.listening)?;
        Ok(())
    }

    async fn serve(mut self) {
        let mut lame_duck: Option<JoinHandle<()>> = None;
        loop {
            let moved_away = async {
                match &mut lame_duck {
                    Some(task) => drop(task.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                trapped = self.signals.next() => match trapped {
                    Trapped::Interrupt => break,
                    Trapped::Terminate if self.node.is_lame_duck() => {}
                    Trapped::Terminate => break,
                    Trapped::Reopen => self.reopen_log(),
                    Trapped::LameDuck => {
                        if self.node.enter_lame_duck() {
                            lame_duck = Some(self.start_lame_duck());
                        }
                    }
                    Trapped::Reload => {
                        let result;
                        (self, result) = self.reload_as_launched().await;
                        if let Err(error) = result {
                            tracing::error!("Failed to reload server configuration: {error}");
                        }
                    }
                },
                Some(Order::Reload(done)) = self.orders.recv() => {
                    let result;
                    (self, result) = self.reload_as_launched().await;
                    // Nobody waits any more when the requester's task is gone.
                    drop(done.send(result.map_err(|error| error.to_string())));
                }
                () = moved_away => break,
            }
        }
        self.stop().await;
    }

    /// Reloads on a thread that serves nobody: a million subscriptions to be judged anew, or to be
    /// taken to other accounts, take seconds.
    async fn reload_as_launched(mut self) -> (Self, Result<(), ReloadError>) {
        let aside = spawn_blocking(move || {
            let args = self.launch.args.clone();
            let result = self.reload(&args);
            (self, result)
        });
        match aside.await {
            Ok(done) => done,
            Err(error) => resume_unwind(error.into_panic()),
        }
    }

    fn reopen_log(&self) {
        match self.logger.reopen() {
            Ok(true) => tracing::info!("File log re-opened"),
            Ok(false) => tracing::info!("File log re-open ignored, not a file logger"),
            Err(error) => tracing::error!("Could not re-open the log file: {error}"),
        }
    }

    /// Stops accepting clients, tells everybody, and moves clients away one by one.
    fn start_lame_duck(&self) -> JoinHandle<()> {
        tracing::info!("Entering lame duck mode, stop accepting new clients");
        self.client_listeners.iter().for_each(JoinHandle::abort);
        if let Some(system) = &self.system {
            system.report_end(true);
        }
        if let Some(mesh) = &self.mesh {
            mesh.tell_members();
        }
        self.node.discovery.enter_lame_duck(&self.node.registry);
        tokio::spawn(move_clients_away(Arc::clone(&self.node)))
    }

    async fn stop(self) {
        tracing::info!("Initiating Shutdown...");
        if let Some(system) = &self.system
            && !self.node.is_lame_duck()
        {
            system.report_end(false);
        }
        self.client_listeners.iter().for_each(JoinHandle::abort);
        self.others.iter().chain(self.routes.values()).for_each(JoinHandle::abort);
        for client in self.node.registry.clients() {
            client.subscriber.outbound.close(CloseReason::ServerShutdown);
        }
        if let Some(mesh) = &self.mesh {
            mesh.stop();
        }
        let gone = async {
            while self.node.registry.count() > 0
                || self.mesh.as_ref().is_some_and(|mesh| !mesh.entries().is_empty())
            {
                sleep(Duration::from_millis(1)).await;
            }
        };
        // Whoever has not ended by then ends with the process.
        drop(timeout(SHUTDOWN_PATIENCE, gone).await);
        tracing::info!("Server Exiting..");
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn listen(what: &'static str, listen: &Listen) -> Result<Bound, StartError> {
    bind(listen).map_err(|source| StartError::Listen {
        what,
        address: host_port(&listen.host, listen.port),
        source,
    })
}

/// The clerk tells the system account of every account that can be used.
fn make_clerk(
    node: &Arc<Node>,
    resolver: Option<Resolver>,
    told: Arc<OnceLock<Arc<System>>>,
) -> Arc<Clerk> {
    let on_account = move |account: &Arc<Account>| {
        if let Some(system) = told.get() {
            system.join(account);
        }
    };
    Clerk::new(Arc::clone(node), resolver, Box::new(on_account))
}

fn make_node(config: Config, bound: SocketAddr, trust: Option<Trust>) -> Node {
    let keys = ServerKeys { sign: KeyPair::new_server(), curve: XKey::new() };
    let id = keys.sign.public_key();
    let name = config.server_name.clone().unwrap_or_else(|| id.clone());
    let identity = Identity { id, name, started: Timestamp::now(), started_at: Instant::now() };
    let own = own_address(&config, bound.port());
    let info = Info {
        server_id: identity.id.clone(),
        server_name: identity.name.clone(),
        version: VERSION.into(),
        proto: 1,
        git_commit: GIT_COMMIT.unwrap_or_default().into(),
        go: TOOLCHAIN.into(),
        host: own.host,
        port: own.port.into(),
        headers: config.headers,
        tls_required: config.tls.is_some() && !config.allow_non_tls,
        tls_available: config.tls.is_some() && config.allow_non_tls,
        tls_verify: config.tls.as_ref().is_some_and(|tls| tls.verify || tls.verify_and_map),
        auth_required: trust.is_some() || Authenticator::new(&config).required(),
        xkey: keys.curve.public_key(),
        max_payload: i64::try_from(config.limits.max_payload).unwrap_or(i64::MAX),
        cluster: config
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.name.clone())
            .unwrap_or_default(),
        api_lvl: API_LEVEL,
        ..Info::default()
    };
    let private = config.cluster.as_ref().is_some_and(|cluster| cluster.no_advertise);
    let mut node = Node::new(identity, config, Discovery::new(info, own.urls, private));
    node.trust = trust;
    node.keys = Some(keys);
    node
}

/// Where clients find this server.
pub(crate) struct OwnAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) urls: Vec<String>,
}

/// Where clients find this server: as advertised, or as it listens.
pub(crate) fn own_address(config: &Config, bound_port: u16) -> OwnAddress {
    match &config.client_advertise {
        Some(address) => OwnAddress {
            host: address.host.clone(),
            port: address.port,
            urls: vec![host_port(&address.host, address.port)],
        },
        None => OwnAddress {
            host: config.client.host.clone(),
            port: bound_port,
            urls: client_urls(&config.client.host, bound_port, interface_addresses),
        },
    }
}

/// The level that nats-server 2.15.1 announces, with or without JetStream.
const API_LEVEL: u64 = 5;

/// Which listeners ask for TLS: what the ports file says of them.
fn secure_listeners(config: &Config) -> Secure {
    Secure {
        client: config.tls.is_some() && !config.allow_non_tls,
        cluster: config.cluster.as_ref().is_some_and(|cluster| cluster.tls.is_some()),
        monitor: config.monitor.as_ref().is_some_and(|monitor| monitor.tls),
        websocket: config.websocket.as_ref().is_some_and(|websocket| websocket.tls.is_some()),
    }
}

pub(crate) fn write_pid_file(config: &Config) -> Result<(), StartError> {
    let Some(path) = &config.pid_file else { return Ok(()) };
    std::fs::write(path, std::process::id().to_string())
        .map_err(|source| StartError::File { path: path.clone(), source })
}

fn write_ports_file(
    config: &Config,
    program: &str,
    listening: &Listening,
) -> Result<Option<PortsFile>, StartError> {
    let Some(folder) = &config.ports_file_dir else { return Ok(None) };
    PortsFile::write(folder, program, listening)
        .map(Some)
        .map_err(|source| StartError::File { path: folder.clone(), source })
}

fn accept_routes(mesh: &Arc<Mesh>, bound: Bound) -> Result<JoinHandle<()>, StartError> {
    let name = mesh.name();
    tracing::info!("Cluster name is {}", name.name);
    if name.dynamic {
        tracing::warn!("Cluster name was dynamically generated, consider setting one");
    }
    mesh.node().discovery.update(|info| info.cluster.clone_from(&name.name));
    tracing::info!("Listening for route connections on {}", bound.address);
    let accepting = Arc::clone(mesh);
    let on_accept = move |stream: net::TcpStream, peer| accepting.accept(stream, peer);
    let listener = Listener::try_from(bound)?;
    Ok(tokio::spawn(accept_loop(listener, Arc::new(on_accept))))
}

/// Closes clients one by one, so that they do not all arrive elsewhere at once.
async fn move_clients_away(node: Arc<Node>) {
    let timing = node.config().lame_duck;
    if node.registry.count() == 0 {
        return;
    }
    sleep(timing.grace).await;
    tracing::info!("Closing existing clients");
    let clients = node.registry.clients();
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX).max(1);
    let pause = (timing.duration.saturating_sub(timing.grace) / count).min(LAME_DUCK_PAUSE_MAX);
    for client in clients {
        client.subscriber.outbound.close(CloseReason::ServerShutdown);
        sleep(pause.mul_f64(0.5 + rand::random::<f64>() * 0.5)).await;
    }
}
