//! What a node's server is told: its config file and its flags.
//!
//! Two forms. A node comes in by [`Form::Join`]: the seed knows nobody, the others know the
//! seed (`--routes nats://<seed>:6222`). Once the mesh is proven its stored form is
//! [`Form::Settled`]: the file names all peers, so any node can come back in any order.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

use crate::topology::{Endpoint, LogLevel, Server, Topology};

/// How a node knows its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By `--routes`, through this route; `None` for the first node.
    Join(Option<SocketAddr>),
    /// By the file, which names all peers.
    Settled,
}

/// What a node's server is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The config file.
    pub config: String,
    /// Flags after `-c FILE`.
    pub flags: Vec<String>,
}

impl Wanted {
    /// Decides for one node. `peers` are the routes of the other nodes whose address is known.
    /// `shared` says that the machine is shared with other nodes, so that only the node's own
    /// address may be used.
    #[must_use]
    pub fn new(
        topology: &Topology,
        node: &str,
        own: &Endpoint,
        shared: bool,
        peers: &[SocketAddr],
        form: Form,
    ) -> Self {
        let server = &topology.server;
        let host = if shared { own.address } else { any(own.address) };
        let login = route_login(server);
        // A route login would show in `ps`: then everything goes by the file.
        let by_flags = login.is_none();
        let routes = match form {
            Form::Settled => peers.to_vec(),
            Form::Join(_) if by_flags => Vec::new(),
            Form::Join(via) => via.into_iter().collect(),
        };
        let mut flags = level_flags(server.log);
        flags.extend(["-p".into(), own.client_port.to_string()]);
        if shared {
            flags.extend(["-a".into(), own.address.to_string()]);
        }
        flags.extend(["-m".into(), own.monitor_port.to_string()]);
        if by_flags {
            let listen = SocketAddr::new(host, own.cluster_port);
            flags.extend(["--cluster".into(), format!("nats://{listen}")]);
            if let Form::Join(Some(via)) = form {
                flags.extend(["--routes".into(), format!("nats://{via}")]);
            }
        }
        let config = render(topology, node, own, host, shared, &routes, login.as_deref());
        Self { config, flags }
    }
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn level_flags(level: LogLevel) -> Vec<String> {
    match level {
        LogLevel::Info => Vec::new(),
        LogLevel::Debug => vec!["-D".into()],
        LogLevel::Trace => vec!["-DV".into()],
    }
}

/// `user:password@`, when the passed-through config asks for one on routes.
fn route_login(server: &Server) -> Option<String> {
    let login = server.config.get("cluster")?.get("authorization")?;
    let user = login.get("user").or_else(|| login.get("username"))?.as_str()?;
    let password = login.get("password").or_else(|| login.get("pass"))?.as_str()?;
    Some(format!("{}:{}@", percent(user), percent(password)))
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn render(
    topology: &Topology,
    node: &str,
    own: &Endpoint,
    host: IpAddr,
    shared: bool,
    routes: &[SocketAddr],
    login: Option<&str>,
) -> String {
    let server = &topology.server;
    let mut file = File::default();
    let name = &topology.name;
    file.line(&format!(
        "# {node} of cluster {name}, written by natsctl: `natsctl up` overwrites it."
    ));
    file.line("# Settings of your own belong under `server.config` in cluster.yaml.");
    file.setting("server_name", &node.into());
    file.setting("listen", &SocketAddr::new(host, own.client_port).to_string().into());
    file.setting("http", &SocketAddr::new(host, own.monitor_port).to_string().into());
    if !shared && !server.config.contains_key("client_advertise") {
        file.setting("client_advertise", &own.client().to_string().into());
    }
    file.setting("debug", &(server.log != LogLevel::Info).into());
    file.setting("trace", &(server.log == LogLevel::Trace).into());
    file.setting("logtime_utc", &true.into());
    file.line("cluster {");
    file.indent = 1;
    file.setting("name", &topology.name.as_str().into());
    file.setting("listen", &SocketAddr::new(host, own.cluster_port).to_string().into());
    let cluster = server.config.get("cluster").and_then(Value::as_object);
    if !cluster.is_some_and(|cluster| cluster.contains_key("advertise")) {
        // Without it peers are told the source address of a route, which on loopback is
        // 127.0.0.1 and on a machine with several networks may be the wrong one.
        file.setting("advertise", &own.route().to_string().into());
    }
    if let Some(cluster) = cluster {
        file.settings(cluster);
    }
    file.line(ROUTES_BEGIN);
    for route in routes {
        let url = format!("nats://{}{route}", login.unwrap_or_default());
        file.line(&format!("  {}", Value::from(url)));
    }
    file.line(ROUTES_END);
    file.indent = 0;
    file.line("}");
    for (key, value) in server.config.iter().filter(|(key, _)| *key != "cluster") {
        file.setting(key, value);
    }
    file.text
}

const ROUTES_BEGIN: &str = "routes: [";
const ROUTES_END: &str = "]";

/// A config without its routes, to tell whether a change needs a restart: routes do not.
#[must_use]
pub fn without_routes(config: &str) -> String {
    let mut inside = false;
    let mut kept = String::with_capacity(config.len());
    for line in config.lines() {
        match line.strip_prefix("  ") {
            Some(ROUTES_BEGIN) => inside = true,
            Some(ROUTES_END) if inside => inside = false,
            _ if inside => {}
            _ => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    kept
}

/// How many routes a config names that another one does not, when it names all of that one's in
/// the same order; `None` otherwise.
#[must_use]
pub fn further_routes(config: &str, other: &str) -> Option<usize> {
    let mut further = 0;
    let mut shared = routes(other).peekable();
    for route in routes(config) {
        if shared.next_if_eq(&route).is_none() {
            further += 1;
        }
    }
    shared.peek().is_none().then_some(further)
}

fn routes(config: &str) -> impl Iterator<Item = &str> {
    let lines = config.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
    lines.skip_while(|line| *line != ROUTES_BEGIN).skip(1).take_while(|line| *line != ROUTES_END)
}

/// The ports that a config written here listens on: client, monitoring, cluster.
#[must_use]
pub fn listening_ports(config: &str) -> Vec<u16> {
    let port = |line: &str| {
        let line = line.trim_start();
        let address = line.strip_prefix("listen: ").or_else(|| line.strip_prefix("http: "))?;
        Some(address.trim_matches('"').parse::<SocketAddr>().ok()?.port())
    };
    config.lines().filter_map(port).collect()
}

/// Writes the config grammar of nats-server: close to JSON, but control characters are `\xNN`.
#[derive(Default)]
struct File {
    text: String,
    indent: usize,
}

impl File {
    fn line(&mut self, line: &str) {
        self.text.push_str(&"  ".repeat(self.indent));
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn setting(&mut self, key: &str, value: &Value) {
        self.line(&format!("{}: {}", show_key(key), show(value)));
    }

    fn settings(&mut self, map: &Map<String, Value>) {
        for (key, value) in map {
            self.setting(key, value);
        }
    }
}

fn show_key(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { key.to_owned() } else { show(&key.into()) }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => show_text(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs =
                map.iter().map(|(key, value)| format!("{}: {}", show_key(key), show(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

fn show_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 2);
    shown.push('"');
    for character in text.chars() {
        match character {
            '"' => shown.push_str("\\\""),
            '\\' => shown.push_str("\\\\"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            control if control.is_ascii_control() => {
                shown.push_str(&format!("\\x{:02X}", u32::from(control)));
            }
            other => shown.push(other),
        }
    }
    shown.push('"');
    shown
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::topology::file;

    fn topology(config: &str) -> Topology {
        let text = format!(
            "version: 1\nname: demo\nprovider: local\nserver:\n  log: debug\n  config: {config}\n\
             nodes: [{{name: node1}}, {{name: node2}}, {{name: node3}}]\n"
        );
        file::parse(&text, Path::new("cluster.yaml"), None).unwrap()
    }

    fn endpoint(address: &str) -> Endpoint {
        Endpoint {
            address: address.parse().unwrap(),
            client_port: 4222,
            cluster_port: 6222,
            monitor_port: 8222,
        }
    }

    fn shown(wanted: &Wanted) -> String {
        format!("{}\n{}", wanted.flags.join(" "), wanted.config)
    }

    fn peers() -> [SocketAddr; 2] {
        ["10.0.0.5:6222".parse().unwrap(), "10.0.0.6:6222".parse().unwrap()]
    }

    #[test]
    fn a_node_of_a_vm_joins_through_the_seed() {
        let own = endpoint("10.0.0.5");
        let form = Form::Join(Some("10.0.0.4:6222".parse().unwrap()));
        let wanted = Wanted::new(&topology("{}"), "node2", &own, false, &peers(), form);
        insta::assert_snapshot!(shown(&wanted));
    }

    #[test]
    fn a_settled_local_node_names_all_peers_and_keeps_its_own_settings() {
        let topology = topology(
            "{max_payload: 2MB, cluster: {pool_size: 1}, accounts: {A: {users: \
             [{user: a, password: \"$2a$11$x\"}]}}, \"odd key\": \"tab\\there\"}",
        );
        let own = endpoint("127.0.0.11");
        let wanted = Wanted::new(&topology, "node1", &own, true, &peers(), Form::Settled);
        insta::assert_snapshot!(shown(&wanted));
    }

    #[test]
    fn a_route_login_stays_out_of_the_flags() {
        let topology = topology("{cluster: {authorization: {user: r, password: \"p@ss\"}}}");
        let own = endpoint("10.0.0.5");
        let form = Form::Join(Some("10.0.0.4:6222".parse().unwrap()));
        let wanted = Wanted::new(&topology, "node2", &own, false, &peers(), form);
        insta::assert_snapshot!(shown(&wanted));
    }

    #[test]
    fn a_config_tells_the_ports_it_listens_on() {
        let own = endpoint("10.0.0.4");
        let topology = topology("{websocket: {listen: \"0.0.0.0:8080\"}}");
        let wanted = Wanted::new(&topology, "node1", &own, false, &[], Form::Settled);
        assert_eq!(listening_ports(&wanted.config), [4222, 8222, 6222]);
    }

    #[test]
    fn routes_alone_make_no_difference_without_them() {
        let own = endpoint("10.0.0.4");
        let topology = topology("{}");
        let render = |peers: &[SocketAddr]| {
            Wanted::new(&topology, "node1", &own, false, peers, Form::Settled).config
        };
        assert_ne!(render(&peers()), render(&[]));
        assert_eq!(without_routes(&render(&peers())), without_routes(&render(&[])));
    }
}
