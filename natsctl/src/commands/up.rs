//! `natsctl up`: observe, plan, apply, verify.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Cluster, Ended, plan, reporter};
use crate::apply::{Applied, Apply, Binaries, subjects, take_away};
use crate::cli::{Global, Output, Up};
use crate::failure::{Failure, Kind};
use crate::observe::Found;
use crate::report::{self, Event, Report, show_duration, stderr_paint};
use crate::verify::{self, Subject, Verdict};

pub(super) async fn run(global: &Global, args: &Up) -> Ended {
    if args.dry_run && args.output != Output::Text {
        let what = "up --dry-run tells its plan as text, not as JSON";
        return Err(Failure::new(Kind::Usage, what).hint("natsctl up --dry-run"));
    }
    let cluster = Cluster::wanted(global, &args.source)?;
    if args.dry_run {
        report::print(&plan::make(&cluster).await?.to_string());
        return Ok(0);
    }
    let report = reporter(global, args.output);
    let ended = bring_up(&cluster, args, &report).await;
    report.finish();
    let verdict = ended?;
    let verdict = || verdict.to_json(&cluster.topology.name);
    match args.output {
        Output::Text => {}
        Output::Json => report::print_line(&verdict().to_string()),
        Output::Jsonl => report.tell(&Event::Result { result: verdict() }),
    }
    Ok(0)
}

async fn bring_up(cluster: &Cluster, args: &Up, report: &Report) -> Result<Verdict, Failure> {
    cluster.provider.preflight().await?;
    let _lock = cluster.dir.lock("up")?;
    let found = cluster.look().await?;
    let binaries = Binaries::new(cluster.topology.server.binary.clone());
    check_binary_first(cluster, &binaries)?;
    let plan = plan::compare(cluster, &found, &binaries).await;
    // The record of what runs stands until a server is about to be changed: it may be refused.
    // Where there is none yet, what is made has to be found again.
    let record = Mutex::new(cluster.state.clone().unwrap_or_else(|| cluster.record()));
    if cluster.state.is_none() {
        cluster.dir.save(&record.lock())?;
    }
    let before: Vec<String> = made(&found).map(|found| found.node.clone()).collect();
    let apply = Apply {
        topology: &cluster.topology,
        provider: cluster.provider.as_ref(),
        dir: &cluster.dir,
        state: &record,
        wanted: &cluster.record(),
        report,
        binaries: &binaries,
    };
    let applied = apply.run(&plan, found).await;
    report.stage("verifying the mesh");
    let verdict = judge(cluster, &applied).await;
    report.finish();
    if !applied.failures.is_empty() {
        let failure = failed(cluster, args, &applied);
        return Err(if args.no_keep {
            undo(cluster, &applied, &before, failure).await
        } else {
            failure
        });
    }
    if !verdict.pass() {
        let mut failure = Failure::new(Kind::Verdict, "the mesh is not whole");
        for problem in verdict.problems() {
            failure = failure.cause(problem);
        }
        return Err(failure.hint("natsctl verify").left(left(&applied.found)));
    }
    if args.output != Output::Jsonl {
        let unchanged = plan.is_empty();
        tell_what_next(cluster, &applied, &verdict, unchanged, report);
    }
    Ok(verdict)
}

/// A cluster on this machine needs one binary, known beforehand: missing it should make nothing.
fn check_binary_first(cluster: &Cluster, binaries: &Binaries) -> Result<(), Failure> {
    if cluster.provider.name() != "local" {
        return Ok(());
    }
    let checked = binaries.of(std::env::consts::ARCH);
    checked.map(drop).map_err(|error| {
        let mut failure = Failure::of(Kind::Remote, &error);
        failure = failure.hint("cargo build -p natsd   (the bundled server, built beside natsctl)");
        failure.hint(
            "or set `server.binary` in cluster.yaml, or NATSCTL_NATSD, to a natsd or nats-server",
        )
    })
}

/// Judges the nodes that did not fail; for those that did there is an error already.
async fn judge(cluster: &Cluster, applied: &Applied) -> Verdict {
    let well =
        |subject: &Subject| !applied.failures.iter().any(|failure| failure.node == subject.node);
    let subjects: Vec<Subject> = subjects(&applied.found).into_iter().filter(well).collect();
    // A node that was just removed may linger in the views of the others for a moment.
    let known: Vec<String> = cluster.topology.nodes.iter().map(|node| node.name.clone()).collect();
    drop(verify::wait_for_mesh(&subjects, &known, Duration::from_secs(3)).await);
    Verdict::reach(&subjects, &cluster.login()).await
}

fn made(found: &BTreeMap<String, Found>) -> impl Iterator<Item = &Found> {
    found.values().filter(|found| found.machine.is_some())
}

fn left(found: &BTreeMap<String, Found>) -> String {
    let names: Vec<&str> = made(found).map(|found| found.node.as_str()).collect();
    if names.is_empty() {
        return "nothing".into();
    }
    format!("{} (natsctl down removes them)", names.join(", "))
}

fn failed(cluster: &Cluster, args: &Up, applied: &Applied) -> Failure {
    let all = cluster
        .topology
        .nodes
        .iter()
        .all(|node| applied.failures.iter().any(|failure| failure.node == node.name));
    let mut failure = Failure::of_nodes(&applied.failures, all).left(left(&applied.found));
    let last = failure.stories.last_mut();
    if let Some(story) = last.filter(|_| !args.no_keep) {
        story.hints.push("natsctl up   (goes on from here)".into());
    }
    failure
}

/// `--no-keep`: takes away what this run made.
async fn undo(
    cluster: &Cluster,
    applied: &Applied,
    before: &[String],
    mut failure: Failure,
) -> Failure {
    for found in made(&applied.found).filter(|found| !before.contains(&found.node)) {
        if let Err(error) = take_away(cluster.provider.as_ref(), found).await {
            failure.stories.extend(Failure::from(&error).stories);
        }
    }
    if before.is_empty() && cluster.dir.remove().is_ok() {
        failure.left = Some("nothing (--no-keep)".into());
        // What is gone cannot be asked: of the hints those remain that are about the cause.
        for story in &mut failure.stories {
            story.hints.retain(|hint| !hint.starts_with("natsctl "));
        }
    } else {
        failure.left = Some(format!("{} (what was there before)", before.join(", ")));
    }
    failure
}

fn tell_what_next(
    cluster: &Cluster,
    applied: &Applied,
    verdict: &Verdict,
    unchanged: bool,
    report: &Report,
) {
    let paint = stderr_paint();
    let nodes = &cluster.topology.nodes;
    let endpoints: Vec<_> = nodes
        .iter()
        .filter_map(|node| Some((node, applied.found.get(&node.name)?.endpoint?)))
        .collect();
    let how = if unchanged { "unchanged" } else { "up" };
    let name = &cluster.topology.name;
    let time = show_duration(report.elapsed());
    let mut text = format!(
        "{} in {time}: {}",
        paint.good(&format!("cluster {name} is {how}")),
        verdict.summary()
    );
    if !unchanged {
        let urls: Vec<String> =
            endpoints.iter().map(|(_, endpoint)| format!("nats://{}", endpoint.client())).collect();
        text.push_str(&format!("\n\n  clients     {}", urls.join(",")));
        if let Some((_, first)) = endpoints.first() {
            text.push_str(&format!("\n  monitoring  http://{}", first.monitor()));
            text.push_str(&format!("\n  nats CLI    nats --server {} rtt", urls.join(",")));
        }
        text.push_str("\n\nnext:");
        let (first, last) = (nodes.first(), nodes.last());
        if let (Some(first), Some(last)) = (first, last) {
            text.push_str(&format!("\n  natsctl sub --node {} 'demo.>'", first.name));
            text.push_str(&format!("\n  natsctl pub --node {} demo.hello hi", last.name));
            text.push_str(&format!("\n  natsctl kill {}", first.name));
        }
    }
    report.note(cluster.address.in_text(&text));
}
