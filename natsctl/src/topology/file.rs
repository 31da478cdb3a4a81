//! cluster.yaml as written, turned into a [`Topology`], with all problems reported at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::fields::{Check, Fields, NODE_KEYS, SERVER_KEYS, TOP_KEYS, VM_KEYS};
use super::problem::{Problem, Problems};
use super::yaml::{Spot, Tree, Value};
use super::{Host, LogLevel, Node, ProviderKind, Server, Topology, Vm};

/// Most nodes of one cluster. Routes form a full mesh, so connections grow with the square;
/// people run 3 to 9.
pub const NODES_MAX: usize = 100;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Longest name of a machine: it becomes the guest's host name (a DNS label).
const MACHINE_NAME_MAX: usize = 63;

/// Reads and checks a cluster.yaml. `provider` overrides what the file says.
///
/// # Errors
/// All problems, each with its place.
pub fn read(path: &Path, provider: Option<ProviderKind>) -> Result<Topology, Problems> {
    let unreadable = |text: String, help: Option<&str>| Problems {
        file: path.to_owned(),
        lines: Vec::new(),
        list: vec![Problem {
            spot: Spot { line: 1, column: 1, width: 1 },
            text,
            help: help.map(str::to_owned),
        }],
    };
    let size = match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(unreadable("this is a folder; name the file in it".into(), None));
        }
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let help = "`natsctl init` writes an example to start from";
            return Err(unreadable("there is no such file".into(), Some(help)));
        }
        Err(error) => return Err(unreadable(format!("cannot be read: {error}"), None)),
    };
    if size > FILE_BYTES_MAX {
        let help = format!("at most {} MiB", FILE_BYTES_MAX >> 20);
        let text = format!("{size} bytes is too large for a cluster.yaml");
        return Err(unreadable(text, Some(&help)));
    }
    let bytes = std::fs::read(path)
        .map_err(|error| unreadable(format!("cannot be read: {error}"), None))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(unreadable("is not UTF-8 text".into(), None));
    };
    parse(&text, path, provider)
}

/// Checks the text of a cluster.yaml; paths in it are relative to the folder of `path`.
///
/// # Errors
/// All problems, each with its place.
pub fn parse(
    text: &str,
    path: &Path,
    provider: Option<ProviderKind>,
) -> Result<Topology, Problems> {
    let mut check = Check {
        problems: Vec::new(),
        folder: path.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let topology = match Tree::parse(text) {
        Ok(Some(tree)) if !tree.is_null() => check.topology(&tree, provider),
        Ok(_) => {
            let help = "`natsctl init` writes an example to start from";
            check.add(Spot { line: 1, column: 1, width: 1 }, "the file is empty", Some(help));
            None
        }
        Err(error) => {
            check.syntax(text, error);
            None
        }
    };
    match topology {
        Some(topology) if check.problems.is_empty() => Ok(topology),
        _ => {
            check.problems.sort_by_key(|problem| problem.spot);
            Err(Problems {
                file: path.to_owned(),
                lines: text.lines().map(str::to_owned).collect(),
                list: check.problems,
            })
        }
    }
}

impl Check {
    fn topology(&mut self, tree: &Tree, provider: Option<ProviderKind>) -> Option<Topology> {
        let fields = self.fields(tree, "cluster.yaml", TOP_KEYS)?;
        match fields.value("version") {
            None => self.missing(&fields, "version", "add `version: 1`"),
            Some(tree) if matches!(&tree.value, Value::Scalar { text, .. } if text == "1") => {}
            Some(tree) => {
                let text = format!("this natsctl knows version 1, not {}", tree.kind());
                self.add(tree.spot, text, None);
            }
        }
        let name = match fields.value("name") {
            None => {
                self.missing(&fields, "name", "add `name: demo`");
                None
            }
            Some(name) => self.name(name, "name"),
        };
        let provider = self.provider(&fields, provider);
        let mut vm = default_vm();
        if let Some(tree) = fields.value("vm") {
            self.vm(tree, &mut vm);
        }
        let server = match fields.value("server") {
            Some(tree) => self.server(tree),
            None => default_server(),
        };
        let nodes = self.nodes(&fields, name.as_deref().unwrap_or_default(), &vm, provider);
        Some(Topology { name: name?, provider: provider?, server, nodes: nodes? })
    }

    fn provider(
        &mut self,
        fields: &Fields<'_>,
        overriding: Option<ProviderKind>,
    ) -> Option<ProviderKind> {
        let words = ProviderKind::ALL.map(|kind| (kind.word(), kind));
        let written = fields.value("provider").and_then(|tree| self.word(tree, "provider", &words));
        if fields.value("provider").is_none() && overriding.is_none() {
            self.missing(fields, "provider", "add `provider: local`, `multipass` or `hosts`");
        }
        overriding.or(written)
    }

    /// A name that Multipass, DNS and NATS all accept.
    fn name(&mut self, tree: &Tree, key: &str) -> Option<String> {
        let name = self.text(tree, key)?;
        let (text, help) = if name == "primary" {
            ("`primary` is reserved by Multipass".to_owned(), "choose another name")
        } else if !is_machine_name(&name) {
            let help = "letters, digits and dashes; a letter first, no dash last";
            (format!("bad {key} {}", tree.kind()), help)
        } else if name.len() > MACHINE_NAME_MAX {
            (format!("bad {key}: {} characters", name.len()), "at most 63")
        } else {
            return Some(name);
        };
        self.add(tree.spot, text, Some(help));
        None
    }

    fn vm(&mut self, tree: &Tree, vm: &mut Vm) {
        let Some(fields) = self.fields(tree, "`vm`", VM_KEYS) else { return };
        if let Some(image) = fields.value("image").and_then(|tree| self.image(tree)) {
            vm.image = image;
        }
        if let Some(cpus) = fields.value("cpus").and_then(|tree| self.number(tree, "cpus", 1, 512))
        {
            vm.cpus = cpus;
        }
        let memory = fields.value("memory").and_then(|tree| self.size(tree, "memory", 128 << 20));
        if let Some(memory) = memory {
            vm.memory_bytes = memory;
        }
        if let Some(disk) = fields.value("disk").and_then(|tree| self.size(tree, "disk", 512 << 20))
        {
            vm.disk_bytes = disk;
        }
    }

    fn image(&mut self, tree: &Tree) -> Option<String> {
        let image = self.text(tree, "image")?;
        if image.starts_with('-') || image.contains(char::is_whitespace) {
            let help = "a version such as \"24.04\", or a file:// URL";
            self.add(tree.spot, format!("bad image {}", tree.kind()), Some(help));
            return None;
        }
        Some(image)
    }

    fn server(&mut self, tree: &Tree) -> Server {
        let mut server = default_server();
        let Some(fields) = self.fields(tree, "`server`", SERVER_KEYS) else { return server };
        if let Some(tree) = fields.value("binary") {
            server.binary = self.binary(tree);
        }
        if let Some(tree) = fields.value("log") {
            let words =
                [("info", LogLevel::Info), ("debug", LogLevel::Debug), ("trace", LogLevel::Trace)];
            server.log = self.word(tree, "log", &words).unwrap_or(server.log);
        }
        self.ports(&fields, &mut server);
        if let Some(tree) = fields.value("config") {
            server.config = self.config(tree);
        }
        server
    }

    fn ports(&mut self, fields: &Fields<'_>, server: &mut Server) {
        let places = [
            ("client_port", &mut server.client_port),
            ("cluster_port", &mut server.cluster_port),
            ("monitor_port", &mut server.monitor_port),
        ];
        let mut seen: Vec<(&str, u16)> = Vec::new();
        for (key, place) in places {
            let tree = fields.value(key);
            if let Some(port) = tree.and_then(|tree| self.port(tree, key)) {
                *place = port;
            }
            if let Some((other, _)) = seen.iter().find(|(_, port)| port == place) {
                let spot = tree.or_else(|| fields.value(other)).map_or(fields.spot, |t| t.spot);
                let text = format!("port {} is both `{other}` and `{key}`", *place);
                self.add(spot, text, Some("each needs a port of its own"));
            }
            seen.push((key, *place));
        }
    }

    fn binary(&mut self, tree: &Tree) -> Option<PathBuf> {
        let written = self.text(tree, "binary")?;
        if written == "auto" {
            return None;
        }
        let path = self.path(&written);
        if !path.is_file() {
            let text = format!("`binary`: there is no file {}", path.display());
            self.add(tree.spot, text, Some("`auto`, or a path to natsd or nats-server"));
        }
        Some(path)
    }

    /// A path as written: `~` is home, relative to the folder of cluster.yaml, made absolute.
    fn path(&self, written: &str) -> PathBuf {
        let path = match (written.strip_prefix("~/"), std::env::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(written),
        };
        std::path::absolute(&path).unwrap_or(path)
    }

    fn nodes(
        &mut self,
        fields: &Fields<'_>,
        cluster: &str,
        vm: &Vm,
        provider: Option<ProviderKind>,
    ) -> Option<Vec<Node>> {
        let Some(tree) = fields.value("nodes") else {
            self.missing(fields, "nodes", "add `nodes:` with `- name: node1` under it");
            return None;
        };
        let Value::List(items) = &tree.value else {
            let text = format!("`nodes` must be a list, not {}", tree.kind());
            self.add(tree.spot, text, Some("one `- name: node1` per node"));
            return None;
        };
        if items.is_empty() {
            self.add(tree.spot, "`nodes` is empty", Some("add `- name: node1`"));
        }
        if items.len() > NODES_MAX {
            let text = format!("{} nodes are too many", items.len());
            let help = format!("at most {NODES_MAX}: every node keeps a route to every other");
            self.add(Spot { width: 1, ..tree.spot }, text, Some(&help));
        }
        let mut nodes = Vec::new();
        let mut seen = Seen::default();
        for item in items.iter().take(NODES_MAX) {
            if let Some(node) = self.node(item, cluster, vm, provider, &mut seen) {
                nodes.push(node);
            }
        }
        if seen.seed.is_none()
            && let Some(first) = nodes.first_mut()
        {
            first.seed = true;
        }
        (!nodes.is_empty()).then_some(nodes)
    }

    fn node(
        &mut self,
        tree: &Tree,
        cluster: &str,
        vm: &Vm,
        provider: Option<ProviderKind>,
        seen: &mut Seen,
    ) -> Option<Node> {
        let fields = self.fields(tree, "a node", NODE_KEYS)?;
        let name = self.node_name(&fields, cluster, seen);
        let seed = fields.value("seed").is_some_and(|tree| self.flag(tree, "seed"));
        if seed && let Some(tree) = fields.value("seed") {
            if let Some(line) = seen.seed {
                let text = format!("a second seed; the first is in line {line}");
                self.add(tree.spot, text, Some("one node is the seed"));
            }
            seen.seed = Some(tree.spot.line);
        }
        let mut vm = vm.clone();
        if let Some(tree) = fields.value("vm") {
            self.vm(tree, &mut vm);
        }
        let host = self.host(&fields, provider, seen);
        Some(Node { name: name?, seed, vm, host })
    }

    fn node_name(&mut self, fields: &Fields<'_>, cluster: &str, seen: &mut Seen) -> Option<String> {
        let Some(tree) = fields.value("name") else {
            self.missing(fields, "name", "every node has one: `name: node1`");
            return None;
        };
        let name = self.name(tree, "name")?;
        if ["all", "seed", "random"].contains(&name.as_str()) {
            let text = format!("`{name}` cannot be a node: it selects nodes");
            self.add(tree.spot, text, Some("choose another name"));
        }
        // Host names and some file systems do not tell `Node1` from `node1`.
        if let Some(line) = seen.names.insert(name.to_ascii_lowercase(), tree.spot.line) {
            let text = format!("a second node `{name}`; the first is in line {line}");
            self.add(tree.spot, text, Some("names must differ"));
        }
        let machine = cluster.len() + 1 + name.len();
        if machine > MACHINE_NAME_MAX {
            let text = format!("machine name `{cluster}-{name}` has {machine} characters");
            self.add(tree.spot, text, Some("at most 63"));
        }
        Some(name)
    }

    fn host(
        &mut self,
        fields: &Fields<'_>,
        provider: Option<ProviderKind>,
        seen: &mut Seen,
    ) -> Option<Host> {
        let user = fields.value("user").and_then(|tree| self.text(tree, "user"));
        let port = fields.value("port").and_then(|tree| self.port(tree, "port"));
        let identity = fields.value("identity").and_then(|tree| self.text(tree, "identity"));
        let Some(tree) = fields.value("address") else {
            if provider == Some(ProviderKind::Hosts) {
                self.missing(fields, "address", "provider `hosts` needs it: `address: 10.0.0.5`");
            }
            return None;
        };
        let address = self.text(tree, "address")?;
        if address.starts_with('-') || address.contains(|c: char| c.is_whitespace() || c == '@') {
            let text = format!("bad address {}", tree.kind());
            self.add(
                tree.spot,
                text,
                Some("a host name or IP address; `user` is a key of its own"),
            );
        }
        if provider == Some(ProviderKind::Hosts)
            && let Some(line) = seen.addresses.insert(address.clone(), tree.spot.line)
        {
            let text = format!("address `{address}` is also in line {line}");
            self.add(tree.spot, text, Some("every node needs a machine of its own"));
        }
        Some(Host {
            address,
            user: user.unwrap_or_else(|| "root".into()),
            port: port.unwrap_or(22),
            identity: identity.map(|written| self.path(&written)),
        })
    }
}

/// What earlier nodes took, with the line it was in.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    addresses: HashMap<String, usize>,
    seed: Option<usize>,
}

fn is_machine_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.ends_with('-')
}

fn default_vm() -> Vm {
    Vm { image: "24.04".into(), cpus: 1, memory_bytes: 1 << 30, disk_bytes: 5 << 30 }
}

fn default_server() -> Server {
    Server {
        binary: None,
        client_port: 4222,
        cluster_port: 6222,
        monitor_port: 8222,
        log: LogLevel::Info,
        config: serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../cluster.yaml.example");

    fn parse_text(text: &str) -> Result<Topology, Problems> {
        parse(text, Path::new("cluster.yaml"), None)
    }

    fn problems(text: &str) -> String {
        // Relative paths are told as they were looked for, from the folder of the test.
        let here = std::env::current_dir().unwrap().display().to_string();
        parse_text(text).unwrap_err().to_string().replace(&here, "[here]")
    }

    #[test]
    fn the_example_is_valid_and_its_first_node_is_the_seed() {
        let topology = parse_text(EXAMPLE).unwrap();
        assert_eq!(topology.name, "demo");
        assert_eq!(topology.provider, ProviderKind::Multipass);
        let seeds: Vec<bool> = topology.nodes.iter().map(|node| node.seed).collect();
        assert_eq!(seeds, [true, false, false]);
        assert_eq!(topology.nodes[0].vm, default_vm());
    }

    #[test]
    fn the_provider_can_be_overridden() {
        let topology =
            parse(EXAMPLE, Path::new("x/cluster.yaml"), Some(ProviderKind::Local)).unwrap();
        assert_eq!(topology.provider, ProviderKind::Local);
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        insta::assert_snapshot!(problems(
            "version: 2\nname: -demo\nprovidr: local\nprovider: docker\ncpus: 2\n\
             vm:\n  cpus: none\n  memory: 12\n  disk: big\n\
             server:\n  binary: ./no/such\n  client_port: 99999\n  cluster_port: 8222\n  \
             log: loud\n  config:\n    port: 1\n    cluster:\n      routes: []\n\
             nodes:\n  - name: node1\n    sed: true\n  - name: Node1\n  - name: primary\n  \
             - node4\n  - name: 'a b'\n    seed: yes\n  - {}\n  - name: all\n"
        ));
    }

    #[test]
    fn what_is_missing_is_named() {
        insta::assert_snapshot!(problems("name: demo\n"));
        insta::assert_snapshot!(problems("# only a comment\n"));
        insta::assert_snapshot!(problems("- a\n- b\n"));
    }

    #[test]
    fn tabs_are_named_as_such() {
        insta::assert_snapshot!(problems(
            "version: 1\nname: demo\nvm:\n\tcpus: 1\n\tmemory: 1G\nprovider: local\n"
        ));
    }

    #[test]
    fn broken_yaml_is_shown_where_it_breaks() {
        insta::assert_snapshot!(problems("version: 1\nname: [demo\nnodes: 3\n"));
    }

    #[test]
    fn a_second_document_is_yaml_but_not_ours() {
        let text = problems("version: 1\n---\nversion: 1\n");
        assert!(text.starts_with("cluster.yaml:2:1: a second document begins here"), "{text}");
    }

    #[test]
    fn a_file_too_large_is_told_the_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(FILE_BYTES_MAX + 1).unwrap();
        let text = read(file.path(), None).unwrap_err().to_string();
        assert!(text.contains("4194305 bytes is too large"), "{text}");
        assert!(text.contains("at most 4 MiB"), "{text}");
    }

    #[test]
    fn ten_thousand_nodes_are_refused_fast_and_once() {
        let mut text = String::from("version: 1\nname: demo\nprovider: local\nnodes:\n");
        for nth in 0..10_000 {
            text.push_str(&format!("  - name: node{nth}\n"));
        }
        insta::assert_snapshot!(problems(&text));
    }

    #[test]
    fn hosts_need_addresses_of_their_own() {
        insta::assert_snapshot!(problems(
            "version: 1\nname: demo\nprovider: hosts\nnodes:\n  - name: a\n  \
             - {name: b, address: 10.0.0.1}\n  - {name: c, address: 10.0.0.1, port: 0}\n"
        ));
    }
}
