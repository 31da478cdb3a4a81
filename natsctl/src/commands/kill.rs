//! `natsctl kill`: break it, measure it, tell it.

use super::{Cluster, Ended, reporter};
use crate::apply::chain;
use crate::cli::{Global, Kill, Output};
use crate::drill::{Drill, DrillError, Outcome, Victim};
use crate::failure::{Failure, Kind};
use crate::observe::{Found, Look};
use crate::report::{self, Event, Report, stdout_paint};
use crate::topology::Endpoint;
use crate::verify::{self, View};

pub(super) async fn run(global: &Global, args: &Kill) -> Ended {
    let cluster = Cluster::known(global)?;
    let nodes = cluster.select_serving(&args.nodes.nodes).await?;
    let report = reporter(global, args.output);
    let _lock = cluster.dir.lock("kill")?;
    let mut found = cluster.look_at(&nodes).await?;
    if args.nodes.nodes.iter().any(|word| word == "all") {
        found = those_that_run(found, &report)?;
    }
    let nodes: Vec<String> = found.iter().map(|found| found.node.clone()).collect();
    let drill = prepare(&cluster, args, &found).await?;
    // On disk right before it is done: whatever comes, status will tell why they are down.
    let record = || cluster.rest(&nodes, Some("killed")).map_err(|failure| failure.to_string());
    let outcome = if drill.survivors.is_empty() {
        report.note("no other node serves, so there is nothing to measure");
        drill.kill(&record).await.map(|_begun| None)
    } else {
        tell_begin(&drill, &report);
        drill.run(&record).await.map(Some)
    };
    match outcome {
        Ok(Some(outcome)) => tell(&cluster, args, &outcome, &report),
        Ok(None) => {
            let stays = cluster.address.in_text(&stays_dead(&nodes));
            report.note(format!("{} killed; {stays}", nodes.join(", ")));
            let result = serde_json::json!({ "victims": nodes, "measured": false });
            tell_programs(args.output, result, &report);
            Ok(0)
        }
        Err(error) => Err(failed(&drill, &error).await),
    }
}

/// Everything the drill needs, looked up before anything is broken.
async fn prepare(cluster: &Cluster, args: &Kill, found: &[Found]) -> Result<Drill, Failure> {
    let victims: Vec<Victim> = found.iter().map(victim).collect::<Result<_, _>>()?;
    let mut others = cluster.addressed().await?;
    others.retain(|subject| found.iter().all(|found| found.node != subject.node));
    let views = verify::views(&others).await;
    let serves =
        |node: &str| views.iter().any(|view: &View| view.node == node && view.peers.is_ok());
    let survivors: Vec<(String, Endpoint)> = others
        .iter()
        .filter(|subject| serves(&subject.node))
        .filter_map(|subject| Some((subject.node.clone(), subject.endpoint?)))
        .collect();
    let login = cluster.login();
    Ok(Drill { victims, survivors, login, rate: args.rate, duration: args.duration })
}

/// `all` means all that run; of the others it is said that they do not.
fn those_that_run(found: Vec<Found>, report: &Report) -> Result<Vec<Found>, Failure> {
    let runs = |found: &Found| found.reached().is_some_and(|seen| seen.facts.pid.is_some());
    let (running, others): (Vec<_>, Vec<_>) = found.into_iter().partition(runs);
    for found in others {
        report.note(format!("{} does not run", found.node));
    }
    if running.is_empty() {
        let failure = Failure::new(Kind::Remote, "no node runs, so there is none to kill");
        return Err(failure.hint("natsctl status"));
    }
    Ok(running)
}

fn victim(found: &Found) -> Result<Victim, Failure> {
    let node = &found.node;
    let cannot = |why: String| {
        Failure::new(Kind::Remote, format!("cannot kill {node}")).cause(why).hint("natsctl status")
    };
    let reached = match &found.look {
        Look::Reached(reached) => reached,
        Look::Off => return Err(cannot("its machine is off".into())),
        Look::Unreachable(error) => return Err(cannot(chain(error.as_ref()))),
    };
    if reached.facts.pid.is_none() {
        return Err(cannot("its server is not running".into()));
    }
    let endpoint = found.endpoint.ok_or_else(|| cannot("its address is not known".into()))?;
    Ok(Victim { node: node.clone(), endpoint, service: reached.service.clone() })
}

fn tell_begin(drill: &Drill, report: &Report) {
    let victims: Vec<&str> = drill.victims.iter().map(|victim| victim.node.as_str()).collect();
    if let (Some(first), Some((publisher, _))) = (victims.first(), drill.survivors.first()) {
        report.stage(format!(
            "killing {} with a subscriber on {first} and a publisher on {publisher} ({} messages/s); \
             measuring for {:?} after it",
            victims.join(", "),
            drill.rate,
            drill.duration
        ));
    }
}

fn tell(cluster: &Cluster, args: &Kill, outcome: &Outcome, report: &Report) -> Ended {
    if args.output == Output::Text {
        let paint = stdout_paint();
        let victims = outcome.victims.join(", ");
        let title = format!("killed {victims} of cluster {}", cluster.topology.name);
        report::print(&format!("{}\n\n{}", paint.bold(&title), outcome.show()));
        report.note(cluster.address.in_text(&stays_dead(&outcome.victims)));
    } else {
        let json = serde_json::to_value(outcome);
        let result = json.map_err(|error| Failure::of(Kind::Unexpected, &error))?;
        tell_programs(args.output, result, report);
    }
    if outcome.pass() {
        return Ok(0);
    }
    let what = match outcome.first_message_ms {
        None => "the subscriber did not receive again",
        Some(_) => "messages were lost while the subscriber was connected",
    };
    Err(Failure::new(Kind::Verdict, what).hint("natsctl status").hint("natsctl logs"))
}

fn tell_programs(output: Output, result: serde_json::Value, report: &Report) {
    match output {
        Output::Text => {}
        Output::Json => report::print_line(&result.to_string()),
        Output::Jsonl => report.tell(&Event::Result { result }),
    }
}

fn stays_dead(nodes: &[String]) -> String {
    let names = nodes.join(",");
    let stay = if nodes.len() == 1 { "stays dead" } else { "stay dead" };
    format!("{names} {stay} until: natsctl start {names}   (or natsctl up)")
}

async fn failed(drill: &Drill, error: &DrillError) -> Failure {
    if matches!(error, DrillError::Record(_)) {
        for victim in &drill.victims {
            // It runs: this only lets systemd look after it again.
            drop(victim.service.start().await);
        }
    }
    let kind = match error {
        DrillError::Load(_) | DrillError::Record(_) | DrillError::Kill { .. } => Kind::Remote,
        DrillError::NoSurvivor | DrillError::Broken(_) => Kind::Verdict,
    };
    Failure::of(kind, error).hint("natsctl status")
}
