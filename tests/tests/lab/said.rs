//! What the provider tests share: a small topology, and what a provider said along the way.

use natsctl::provider::{Progress, ProviderError};
use natsctl::topology::{LogLevel, Node, ProviderKind, Server, Topology, Vm};
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Said {
    warnings: Mutex<Vec<String>>,
}

impl Said {
    pub(crate) fn warnings(&self) -> String {
        self.warnings.lock().join("\n")
    }
}

impl Progress for Said {
    fn step(&self, text: &str) {
        eprintln!("  {text}");
    }
    fn warn(&self, text: &str) {
        eprintln!("  warning: {text}");
        self.warnings.lock().push(text.to_owned());
    }
}

pub(crate) fn node(name: &str) -> Node {
    let vm = Vm { image: "24.04".into(), cpus: 1, memory_bytes: 1 << 30, disk_bytes: 5 << 30 };
    Node { name: name.into(), seed: name == "node1", vm, host: None }
}

pub(crate) fn topology() -> Topology {
    Topology {
        name: "demo".into(),
        provider: ProviderKind::Multipass,
        server: Server {
            binary: None,
            client_port: 4222,
            cluster_port: 6222,
            monitor_port: 8222,
            log: LogLevel::Info,
            config: serde_json::Map::new(),
        },
        nodes: ["node1", "node2", "node3"].map(node).into(),
    }
}

pub(crate) fn told(error: &ProviderError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!("\ncause: {inner}"));
        cause = inner.source();
    }
    format!("{text}\nhint: {}", error.hint.as_deref().unwrap_or("-"))
}
