//! `natsctl status`: every node as it is now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

use super::{Cluster, Ended};
use crate::apply::{NodeError, Trouble, chain};
use crate::cli::{self, Global, Output};
use crate::deploy::Service;
use crate::failure::{Failure, Kind};
use crate::monitor::{self, Difference};
use crate::provider::{Machine, MachineState};
use crate::report::{self, Paint, show_duration, show_millis, stdout_paint};
use crate::state::Rest;
use crate::topology::{Endpoint, Node};

/// How long reaching a machine for its pid may take: monitoring tells the rest.
const PID_PATIENCE: Duration = Duration::from_secs(5);

/// One node.
#[derive(Debug, Default, Serialize)]
struct Row {
    node: String,
    role: &'static str,
    /// `ok`, or what is wrong.
    health: String,
    healthy: bool,
    /// Why natsctl can do nothing with its machine, though it may serve.
    unreachable: Option<String>,
    /// What to do about that, where it is known.
    unreachable_hint: Option<String>,
    machine: Option<String>,
    machine_state: &'static str,
    address: Option<String>,
    client_url: Option<String>,
    monitor_url: Option<String>,
    pid: Option<u32>,
    server_version: Option<String>,
    server_id: Option<String>,
    uptime: Option<String>,
    routes: usize,
    routes_expected: usize,
    missing: Vec<String>,
    strangers: Vec<Stranger>,
    clients: u64,
    subscriptions: u64,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    slow_consumers: u64,
    memory_bytes: u64,
    rtt_ms: Option<f64>,
    rest: Option<Rest>,
}

/// A server that a node has a route to and that is not of this cluster.
#[derive(Clone, Debug, Serialize)]
struct Stranger {
    name: String,
    address: Option<String>,
}

#[derive(Debug, Serialize)]
struct Sheet {
    cluster: String,
    provider: String,
    /// `up`, `degraded` or `down`.
    state: &'static str,
    nodes: Vec<Row>,
}

pub(super) async fn run(global: &Global, args: &cli::Status) -> Ended {
    let cluster = here(global)?;
    if cluster.is_lost() {
        let what = "its record is lost, so this is what is on disk; natsctl up FILE finds what \
                    exists by looking, natsctl down removes it";
        let text = format!("warning: cluster {}: {what}", cluster.topology.name);
        report::say(&cluster.address.in_text(&text));
    }
    if !args.watch {
        return once(&cluster, args).await;
    }
    loop {
        let cluster = here(global)?;
        if args.output == Output::Text && console::Term::stdout().is_term() {
            report::print("\x1b[H\x1b[2J");
        }
        let code = once(&cluster, args).await?;
        tokio::select! {
            () = tokio::time::sleep(args.interval) => {}
            () = report::reader_left() => return Ok(code),
        }
    }
}

/// The cluster, up or not: a cluster that is not up has a status too.
fn here(global: &Global) -> Result<Cluster, Failure> {
    match Cluster::find(global)? {
        Some(cluster) => Ok(cluster),
        None => Cluster::known(global),
    }
}

async fn once(cluster: &Cluster, args: &cli::Status) -> Ended {
    let sheet = sheet(cluster).await?;
    match args.output {
        Output::Text => {
            let width = console::Term::stdout().size_checked().map(|(_rows, columns)| columns);
            let shown = sheet.show(stdout_paint(), width.map(usize::from));
            report::print(&cluster.address.in_text(&shown));
            for warning in sheet.nodes.iter().filter_map(Row::warning) {
                report::say(&cluster.address.in_text(&warning));
            }
        }
        Output::Json => report::print_line(&pretty(&sheet)),
        Output::Jsonl => report::print_line(&serde_json::to_string(&sheet).unwrap_or_default()),
    }
    if args.exit_code && sheet.state != "up" {
        return Ok(Kind::Verdict as u8);
    }
    Ok(0)
}

fn pretty(sheet: &Sheet) -> String {
    serde_json::to_string_pretty(sheet).unwrap_or_default()
}

async fn sheet(cluster: &Cluster) -> Result<Sheet, Failure> {
    // Each row asks its own machine: one that is away costs one timeout.
    let machines = cluster.provider.known().await?;
    let rows = cluster.topology.nodes.iter().map(|node| {
        let machine = machines.iter().find(|machine| machine.node == node.name);
        row(cluster, node, machine)
    });
    let mut nodes: Vec<Row> = join_all(rows).await;
    judge_routes(&mut nodes);
    let healthy = nodes.iter().filter(|row| row.healthy).count();
    let serving = nodes.iter().filter(|row| row.server_version.is_some()).count();
    let state = match (healthy == nodes.len(), serving) {
        (true, _) => "up",
        (false, 0) => "down",
        (false, _) => "degraded",
    };
    let provider = cluster.topology.provider.to_string();
    Ok(Sheet { cluster: cluster.topology.name.clone(), provider, state, nodes })
}

/// Routes can be judged once all nodes have been asked.
fn judge_routes(nodes: &mut [Row]) {
    let serving: Vec<String> = nodes
        .iter()
        .filter(|row| row.server_version.is_some())
        .map(|row| row.node.clone())
        .collect();
    for row in nodes.iter_mut().filter(|row| row.healthy) {
        if let Some(trouble) = row.route_trouble(&serving) {
            row.health = trouble;
            row.healthy = false;
        }
    }
}

async fn row(cluster: &Cluster, node: &Node, machine: Option<&Machine>) -> Row {
    let record = cluster.state.as_ref().and_then(|state| state.nodes.get(&node.name));
    let mut row = Row {
        node: node.name.clone(),
        role: if node.seed { "seed" } else { "-" },
        routes_expected: cluster.topology.nodes.len().saturating_sub(1),
        machine_state: "none",
        rest: record.and_then(|record| record.rest.clone()),
        ..Row::default()
    };
    let Some(machine) = machine else {
        row.health = "no machine".into();
        return row;
    };
    row.machine = Some(machine.id.clone());
    row.machine_state = machine.state.word();
    row.address = machine.address.map(|address| address.to_string());
    let endpoint = cluster.provider.endpoint(machine, &cluster.topology.server);
    let Some(endpoint) = endpoint.filter(|_| machine.state != MachineState::Stopped) else {
        row.health = format!("machine is {}", row.machine_state);
        return row;
    };
    row.client_url = Some(format!("nats://{}", endpoint.client()));
    row.monitor_url = Some(format!("http://{}", endpoint.monitor()));
    let (pid, seen) = tokio::join!(pid(cluster, machine), ask(&endpoint));
    let pid = pid.map_err(|unreached| {
        (row.unreachable, row.unreachable_hint) = (Some(unreached.why), unreached.hint);
    });
    if machine.state == MachineState::Unknown && row.unreachable.is_none() {
        row.machine_state = MachineState::Running.word();
    }
    row.pid = pid.ok().flatten();
    row.judge(cluster, seen);
    row
}

/// Why natsctl can do nothing with a machine, and what to do about it.
struct Unreached {
    why: String,
    hint: Option<String>,
}

impl Unreached {
    fn of(node: &str, trouble: impl Into<Trouble>) -> Self {
        let error = NodeError::new(node, "reach {}", trouble);
        let hints = Failure::from(&error).stories.into_iter().flat_map(|story| story.hints);
        Self { why: chain(&error.trouble), hint: hints.into_iter().next() }
    }
}

async fn pid(cluster: &Cluster, machine: &Machine) -> Result<Option<u32>, Unreached> {
    let look = async {
        let reached = cluster.provider.reach(machine).await;
        let (machine, remote) = reached.map_err(|error| Unreached::of(&machine.node, error))?;
        let service = Service::new(Arc::from(remote), cluster.provider.home(&machine));
        service.pid().await.map_err(|error| Unreached::of(&machine.node, error))
    };
    tokio::time::timeout(PID_PATIENCE, look).await.unwrap_or_else(|_elapsed| {
        Err(Unreached { why: format!("no answer within {}s", PID_PATIENCE.as_secs()), hint: None })
    })
}

/// What the server says of itself.
struct Seen {
    varz: monitor::Varz,
    routez: monitor::Routez,
    subscriptions: u64,
    unwell: Option<String>,
    rtt: Duration,
}

async fn ask(endpoint: &Endpoint) -> Result<Seen, String> {
    let address = endpoint.monitor();
    let begun = Instant::now();
    let connected =
        tokio::time::timeout(monitor::PATIENCE, tokio::net::TcpStream::connect(address)).await;
    let rtt = begun.elapsed();
    match connected {
        Ok(Ok(_stream)) => {}
        Ok(Err(error)) => return Err(format!("{address}: {error}")),
        Err(_elapsed) => return Err(format!("{address}: no answer")),
    }
    let (varz, routez, connz, healthz) = tokio::join!(
        monitor::varz(address),
        monitor::routez(address),
        monitor::connz(address),
        monitor::healthz(address)
    );
    let subscriptions =
        connz.map(|connz| connz.connections.iter().map(|one| one.subscriptions).sum());
    Ok(Seen {
        varz: varz.map_err(|error| error.to_string())?,
        routez: routez.map_err(|error| error.to_string())?,
        subscriptions: subscriptions.unwrap_or(0),
        unwell: healthz.err().map(|error| error.to_string()),
        rtt,
    })
}

impl Row {
    fn judge(&mut self, cluster: &Cluster, seen: Result<Seen, String>) {
        match seen {
            Ok(seen) => self.fill(cluster, seen),
            Err(why) => {
                self.health = match (&self.rest, self.pid, &self.unreachable) {
                    (Some(rest), None, _) => format!("{} {} ago", rest.how, since(rest.at)),
                    (_, Some(_), _) => format!("not answering: {why}"),
                    (None, None, Some(why)) => format!("unreachable: {why}"),
                    (None, None, None) => "not running".into(),
                }
            }
        }
    }

    /// What health does not say: a node that serves, and whose machine natsctl cannot reach.
    fn warning(&self) -> Option<String> {
        let why = self.unreachable.as_ref().filter(|_| self.server_version.is_some())?;
        let what = "serves, but its machine cannot be reached";
        let hint = self.unreachable_hint.as_deref().unwrap_or("natsctl up says what to do");
        Some(format!("warning: {} {what}: {why}; {hint}", self.node))
    }

    fn fill(&mut self, cluster: &Cluster, seen: Seen) {
        let Seen { varz, routez, subscriptions, unwell, rtt } = seen;
        self.look_at_routes(cluster, &routez);
        self.health = if varz.server_name != self.node {
            format!("a stranger answers: `{}`", varz.server_name)
        } else if let Some(why) = unwell {
            why
        } else {
            self.healthy = true;
            "ok".into()
        };
        self.server_version = Some(varz.version);
        self.server_id = Some(varz.server_id);
        self.uptime = Some(varz.uptime);
        self.clients = varz.connections;
        self.subscriptions = subscriptions;
        (self.in_msgs, self.out_msgs) = (varz.in_msgs, varz.out_msgs);
        (self.in_bytes, self.out_bytes) = (varz.in_bytes, varz.out_bytes);
        self.slow_consumers = varz.slow_consumers;
        self.memory_bytes = varz.mem;
        self.rtt_ms = Some(rtt.as_secs_f64() * 1e3);
    }

    fn look_at_routes(&mut self, cluster: &Cluster, routez: &monitor::Routez) {
        let nodes = cluster.topology.nodes.iter().map(|node| node.name.as_str());
        let expected: Vec<&str> = nodes.filter(|name| *name != self.node).collect();
        let Difference { missing, strangers } = routez.against(&expected);
        self.routes = expected.len().saturating_sub(missing.len());
        self.missing = missing;
        let stranger =
            |name: String| Stranger { address: routez.ip_of(&name).map(str::to_owned), name };
        self.strangers = strangers.into_iter().map(stranger).collect();
    }

    /// What `verify` would say of its routes. A missing one to a node that does not serve is that
    /// node's trouble, not this one's.
    fn route_trouble(&self, serving: &[String]) -> Option<String> {
        if self.missing.iter().any(|node| serving.contains(node)) {
            return Some(format!("no route to {}", self.missing.join(", ")));
        }
        let strangers: Vec<String> = self.strangers.iter().map(Stranger::to_string).collect();
        (!strangers.is_empty()).then(|| format!("route to a stranger: {}", strangers.join(", ")))
    }

    fn cells(&self, shared_ports: bool) -> Vec<String> {
        let dash = || "-".to_owned();
        let serving = self.server_version.is_some();
        let or_dash = |text: String| if serving { text } else { "-".into() };
        let address = match &self.client_url {
            Some(url) if shared_ports => url.trim_start_matches("nats://").to_owned(),
            _ => self.address.clone().unwrap_or_else(dash),
        };
        vec![
            self.node.clone(),
            self.health.clone(),
            self.role.to_owned(),
            self.machine_state.to_owned(),
            address,
            self.server_version.clone().unwrap_or_else(dash),
            self.pid.map_or_else(dash, |pid| pid.to_string()),
            self.uptime.clone().unwrap_or_else(dash),
            or_dash(format!("{}/{}", self.routes, self.routes_expected)),
            or_dash(self.clients.to_string()),
            or_dash(self.subscriptions.to_string()),
            or_dash(format!("{}/{}", count(self.in_msgs), count(self.out_msgs))),
            or_dash(format!("{}/{}", size(self.in_bytes), size(self.out_bytes))),
            self.rtt_ms.map_or_else(dash, |ms| show_millis(Duration::from_secs_f64(ms / 1e3))),
        ]
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{} ({address})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

const HEADINGS: [&str; 14] = [
    "NODE",
    "HEALTH",
    "ROLE",
    "MACHINE",
    "ADDRESS",
    "VERSION",
    "PID",
    "UPTIME",
    "ROUTES",
    "CLIENTS",
    "SUBS",
    "MSGS IN/OUT",
    "BYTES IN/OUT",
    "RTT",
];

/// Place of the routes in [`HEADINGS`].
const ROUTES: usize = 8;

/// What goes first where a terminal is too narrow for everything.
const DISPENSABLE: [&str; 9] = [
    "BYTES IN/OUT",
    "MACHINE",
    "RTT",
    "SUBS",
    "VERSION",
    "MSGS IN/OUT",
    "PID",
    "UPTIME",
    "CLIENTS",
];
/// Blanks between two columns.
const GAP: usize = 2;

impl Sheet {
    /// The table, in a terminal of this width if it is one.
    fn show(&self, paint: Paint, width: Option<usize>) -> String {
        let shared = self.nodes.iter().any(|row| {
            let same = |other: &&Row| other.address.is_some() && other.address == row.address;
            self.nodes.iter().filter(same).count() > 1
        });
        let mut lines = vec![HEADINGS.map(str::to_owned).to_vec()];
        lines.extend(self.nodes.iter().map(|row| row.cells(shared)));
        let widest = |nth: usize| {
            let cells = lines.iter().filter_map(|line: &Vec<String>| line.get(nth));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<Option<usize>> =
            (0..HEADINGS.len()).map(|nth| Some(widest(nth))).collect();
        let left_out = leave_out(&mut widths, width.unwrap_or(usize::MAX));
        let mut text = String::new();
        for (nth, line) in lines.iter().enumerate() {
            let row = nth.checked_sub(1).and_then(|nth| self.nodes.get(nth));
            text.push_str(&show_line(line, &widths, row, paint));
        }
        if !left_out.is_empty() {
            let names = left_out.join(", ").to_lowercase();
            let whole = format!("no room for {names}: see -o json");
            let fits = whole.len() <= width.unwrap_or(usize::MAX);
            let short = || format!("no room for {} columns: see -o json", left_out.len());
            let note = if fits { whole } else { short() };
            text.push_str(&format!("{}\n", paint.dim(&note)));
        }
        text.push_str(&format!("\n{}\n", self.summary(paint)));
        text
    }

    /// Whether `up` can help: a stranger is not ours to end.
    fn heals(&self) -> bool {
        self.nodes.iter().any(|row| !row.healthy && row.strangers.is_empty())
    }

    fn summary(&self, paint: Paint) -> String {
        let healthy = self.nodes.iter().filter(|row| row.healthy).count();
        let word = match self.state {
            "up" => paint.good("up"),
            "degraded" => paint.warn("degraded"),
            _ => paint.bad("down"),
        };
        let hint = match self.state {
            "up" => "",
            _ if self.heals() => "; natsctl up heals",
            _ => "; end the stranger, or give it another cluster name",
        };
        let (name, provider, all) = (&self.cluster, &self.provider, self.nodes.len());
        format!("cluster {name} ({provider}) is {word}: {healthy} of {all} nodes healthy{hint}")
    }
}

/// Takes columns away until the rest fits; says which.
fn leave_out(widths: &mut [Option<usize>], room: usize) -> Vec<&'static str> {
    let mut left_out = Vec::new();
    let mut dispensable = DISPENSABLE.iter();
    loop {
        let needed: usize = widths.iter().flatten().map(|width| width + GAP).sum();
        if needed.saturating_sub(GAP) <= room {
            return left_out;
        }
        let Some(name) = dispensable.next() else { return left_out };
        let place = HEADINGS.iter().position(|heading| heading == name);
        if let Some(width) = place.and_then(|nth| widths.get_mut(nth)) {
            *width = None;
            left_out.push(*name);
        }
    }
}

fn show_line(
    cells: &[String],
    widths: &[Option<usize>],
    row: Option<&Row>,
    paint: Paint,
) -> String {
    let mut line = String::new();
    for (nth, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let Some(width) = width else { continue };
        let padded = format!("{cell:<width$}");
        let shown = match (row, nth) {
            (None, _) => paint.dim(&padded),
            (Some(_), 0) => paint.bold(&padded),
            (Some(row), 1) if row.healthy => paint.good(&padded),
            (Some(row), 1) if row.server_version.is_some() => paint.warn(&padded),
            (Some(_), 1) => paint.bad(&padded),
            (Some(row), ROUTES) if !row.missing.is_empty() => paint.warn(&padded),
            _ => padded,
        };
        line.push_str(&shown);
        line.push_str("  ");
    }
    format!("{}\n", line.trim_end())
}

/// Time since a moment in seconds since 1970.
fn since(at: i64) -> String {
    let seconds = jiff::Timestamp::now().as_second().saturating_sub(at);
    let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    if time < Duration::from_secs(10) {
        format!("{}s", time.as_secs())
    } else {
        show_duration(time)
    }
}

/// `999`, `12.3k`, `4.5M`.
fn count(number: u64) -> String {
    scaled(number, 1000.0, ["", "k", "M", "G", "T"])
}

/// `999B`, `12.3K`, `4.5M`, in binary steps.
fn size(bytes: u64) -> String {
    scaled(bytes, 1024.0, ["B", "K", "M", "G", "T"])
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn scaled(number: u64, step: f64, units: [&str; 5]) -> String {
    let mut rest = number as f64;
    let mut unit = "";
    for (nth, name) in units.iter().enumerate() {
        unit = name;
        if rest < step {
            return if nth == 0 { format!("{number}{unit}") } else { format!("{rest:.1}{unit}") };
        }
        if nth + 1 < units.len() {
            rest /= step;
        }
    }
    format!("{rest:.1}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let well = |node: &str, role| Row {
            node: node.into(),
            role,
            health: "ok".into(),
            healthy: true,
            machine_state: "running",
            address: Some(format!("127.0.0.1{node}").replace("node", "")),
            pid: Some(4242),
            server_version: Some("2.15.1".into()),
            uptime: Some("12s".into()),
            routes: 2,
            routes_expected: 2,
            clients: 3,
            subscriptions: 4,
            in_msgs: 12_345,
            out_msgs: 7,
            in_bytes: 1_234_567,
            out_bytes: 12,
            rtt_ms: Some(0.12),
            ..Row::default()
        };
        let dead = Row {
            node: "node3".into(),
            role: "-",
            health: "killed 3s ago".into(),
            machine_state: "running",
            address: Some("127.0.0.13".into()),
            routes_expected: 2,
            ..Row::default()
        };
        Sheet {
            cluster: "demo".into(),
            provider: "local".into(),
            state: "degraded",
            nodes: vec![well("node1", "seed"), well("node2", "-"), dead],
        }
    }

    #[test]
    fn the_table_reads_well() {
        Paint::decide(Some(false));
        insta::assert_snapshot!(sheet().show(stdout_paint(), None));
        insta::assert_snapshot!(sheet().show(stdout_paint(), Some(80)));
        let narrow = sheet().show(stdout_paint(), Some(60));
        assert!(narrow.contains("\nno room for 8 columns: see -o json\n"), "{narrow}");
    }

    #[test]
    fn a_route_is_missed_where_the_other_serves_and_a_stranger_is_told_of_else() {
        let eve = Stranger { name: "eve".into(), address: Some("10.0.0.9".into()) };
        let mut nodes = sheet().nodes;
        nodes[0].missing = vec!["node2".into()];
        nodes[1].missing = vec!["node3".into()];
        for row in &mut nodes[..2] {
            row.strangers = vec![eve.clone()];
        }
        judge_routes(&mut nodes);
        let told: Vec<&str> = nodes.iter().map(|row| row.health.as_str()).collect();
        let stranger = "route to a stranger: eve (10.0.0.9)";
        assert_eq!(told, ["no route to node2", stranger, "killed 3s ago"]);
        assert!(nodes.iter().all(|row| !row.healthy));
    }

    #[test]
    fn numbers_are_scaled() {
        assert_eq!([0, 999, 1000, 12_345_678].map(count), ["0", "999", "1.0k", "12.3M"]);
        assert_eq!([0, 1023, 1536].map(size), ["0B", "1023B", "1.5K"]);
    }
}
