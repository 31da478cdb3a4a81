//! `natsctl kill`: break it, measure it, tell it.

use tokio_util::sync::CancellationToken;

use super::{Cluster, Ended, Interrupt, reporter};
use crate::apply::must_be_reached;
use crate::cli::{Global, Kill, Output};
use crate::drill::{Drill, DrillError, Outcome, Victim};
use crate::failure::{Failure, Kind};
use crate::observe::Found;
use crate::report::{self, Event, Report, stdout_paint};
use crate::topology::Endpoint;
use crate::verify::{self, View};

pub(super) async fn run(global: &Global, args: &Kill, interrupt: &Interrupt) -> Ended {
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
    // On disk right before it is done: whatever comes, status will tell why they are down. From
    // then on what is measured is worth telling, so ctrl-c ends the measurement alone.
    let record = || {
        interrupt.answer_by(drill.enough.clone());
        cluster.rest(&nodes, Some("killed")).map_err(|failure| failure.to_string())
    };
    tell_silent(&drill, &report);
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
        Err(error) => Err(failed(&drill, error).await),
    }
}

/// Everything the drill needs, looked up before anything is broken.
async fn prepare(cluster: &Cluster, args: &Kill, found: &[Found]) -> Result<Drill, Failure> {
    let subjects = cluster.addressed().await?;
    let views = verify::views(&subjects).await;
    let answers =
        |node: &str| views.iter().any(|view: &View| view.node == node && view.peers.is_ok());
    let victims = found.iter().map(|found| victim(found, answers(&found.node)));
    let victims: Vec<Victim> = victims.collect::<Result<_, _>>()?;
    let survivors: Vec<(String, Endpoint)> = subjects
        .iter()
        .filter(|subject| found.iter().all(|found| found.node != subject.node))
        .filter(|subject| answers(&subject.node))
        .filter_map(|subject| Some((subject.node.clone(), subject.endpoint?)))
        .collect();
    let (login, enough) = (cluster.login(), CancellationToken::new());
    Ok(Drill { victims, survivors, login, rate: args.rate, duration: args.duration, enough })
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

fn victim(found: &Found, answers: bool) -> Result<Victim, Failure> {
    let node = &found.node;
    let cannot = |why: String| {
        Failure::new(Kind::Remote, format!("cannot kill {node}")).cause(why).hint("natsctl status")
    };
    let reached = must_be_reached(found, "kill {}")
        .map_err(|error| Failure::from(&error).hint("natsctl status"))?;
    if reached.facts.pid.is_none() {
        return Err(cannot("its server is not running".into()));
    }
    let endpoint = found.endpoint.ok_or_else(|| cannot("its address is not known".into()))?;
    Ok(Victim { node: node.clone(), endpoint, service: reached.service.clone(), answers })
}

/// A victim that hangs is killed all the same; no client can sit there.
fn tell_silent(drill: &Drill, report: &Report) {
    for node in drill.names(|victim| !victim.answers) {
        report
            .note(format!("{node} runs and does not answer: it is killed without a client on it"));
    }
}

fn tell_begin(drill: &Drill, report: &Report) {
    if let (Some((subscriber, _)), Some((publisher, _))) = (drill.subscriber(), drill.publisher()) {
        report.stage(format!(
            "killing {} with a subscriber on {subscriber} and a publisher on {publisher} \
             ({} messages/s); measuring for {:?} after it",
            drill.names(|_| true).join(", "),
            drill.rate,
            drill.duration
        ));
    }
}

fn tell(cluster: &Cluster, args: &Kill, outcome: &Outcome, report: &Report) -> Ended {
    if outcome.ended_early_ms.is_some() {
        report.note("interrupted: this is what was measured until then");
    }
    if args.output == Output::Text {
        let paint = stdout_paint();
        let victims = outcome.victims.join(", ");
        let title = format!("killed {victims} of cluster {}", cluster.topology.name);
        report::print(&format!("{}\n\n{}", paint.bold(&title), outcome.show()));
        report.note(cluster.address.in_text(&stays_dead(&outcome.victims)));
    } else {
        let json = serde_json::to_value(outcome);
        let mut result = json.map_err(|error| Failure::of(Kind::Unexpected, &error))?;
        if let Some(result) = result.as_object_mut() {
            result.insert("measured".into(), true.into());
        }
        tell_programs(args.output, result, report);
    }
    if outcome.ended_early_ms.is_some() {
        return Ok(Kind::Interrupted as u8);
    }
    if outcome.pass() {
        return Ok(0);
    }
    let what = if outcome.served() {
        "messages were lost while the subscriber was connected"
    } else {
        "the subscriber did not receive again"
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

async fn failed(drill: &Drill, error: DrillError) -> Failure {
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
    let failure = Failure::of(kind, &error).hint("natsctl status");
    if matches!(error, DrillError::Load(_)) {
        let victims = drill.names(|_| true).join(",");
        return failure
            .hint(format!("natsctl stop {victims}   (takes down without measuring)"))
            .left("all as it was: nothing was killed");
    }
    failure
}
