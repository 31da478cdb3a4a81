//! `natsctl down`: leaves nothing behind.

use std::io::{BufRead as _, IsTerminal as _};

use futures_util::future::join_all;

use super::{Cluster, Ended, aside, reporter};
use crate::apply::{chain, take_away};
use crate::cli::{Down, Global, Output};
use crate::failure::{Failure, Kind};
use crate::observe::{Found, Look};
use crate::report::{self, Report, show_duration};
use crate::state::ClusterDir;
use crate::topology::ProviderKind;

pub(super) async fn run(global: &Global, args: &Down) -> Ended {
    if let Some(name) = &global.cluster
        && !ClusterDir::all()?.iter().any(|dir| dir.name() == name)
    {
        report::say(&format!("there is no cluster {name}: nothing to remove"));
        return Ok(0);
    }
    let Some(cluster) = Cluster::find(global)? else {
        report::say("there is no cluster: nothing to remove");
        return Ok(0);
    };
    let name = cluster.topology.name.clone();
    if cluster.state.is_none() && machines(&cluster).await?.is_empty() {
        report::say(&format!("cluster {name} is not up: nothing to remove"));
        return Ok(0);
    }
    let _lock = cluster.dir.lock("down")?;
    // Looked at under the lock: what is asked about, and removed, is all there is.
    let Some(cluster) = Cluster::find(global)? else {
        report::say("there is no cluster any more: nothing to remove");
        return Ok(0);
    };
    let found = machines(&cluster).await?;
    if !args.yes && !confirmed(&cluster, &found).await? {
        report::say("nothing was removed");
        return Ok(0);
    }
    let report = reporter(global, Output::Text);
    let removed = remove(&cluster, args, &found, &report).await;
    report.finish();
    removed?;
    report.note(format!(
        "cluster {name} is gone: {} removed in {}",
        if found.len() == 1 { "1 node".into() } else { format!("{} nodes", found.len()) },
        show_duration(report.elapsed())
    ));
    Ok(0)
}

async fn machines(cluster: &Cluster) -> Result<Vec<Found>, Failure> {
    // Hosts are there whether they are ours or not. Where the record is lost, those are ours that
    // carry a server of this cluster, and those of which it cannot be told.
    let any = cluster.state.is_some() || cluster.topology.provider != ProviderKind::Hosts;
    let is_ours = |found: &Found| match &found.look {
        _ if any => true,
        Look::Reached(reached) => reached.facts.is_of(&cluster.topology.name),
        Look::Unreachable(_) => cluster.is_lost(),
        Look::Off => false,
    };
    let found = cluster.look().await?.into_values();
    Ok(found.filter(|found| found.machine.is_some() && is_ours(found)).collect())
}

async fn remove(
    cluster: &Cluster,
    args: &Down,
    found: &[Found],
    report: &Report,
) -> Result<(), Failure> {
    let removals = found.iter().map(|found| async {
        report.step(&found.node, "removing");
        let outcome = take_away(cluster.provider.as_ref(), found).await;
        match &outcome {
            Ok(()) => report.done(&found.node, "removed"),
            Err(error) => report.failed(&found.node, chain(error)),
        }
        outcome
    });
    let errors: Vec<_> = join_all(removals).await.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() || args.force {
        return Ok(cluster.dir.remove()?);
    }
    let names: Vec<&str> = errors.iter().map(|error| error.node.as_str()).collect();
    Err(Failure::of_nodes(&errors, errors.len() == found.len())
        .hint("natsctl down   (tries again)")
        .hint("natsctl down --force   (forgets them; clean up by hand)")
        .left(names.join(", ")))
}

/// Asks once, on a terminal; without one nobody could answer.
async fn confirmed(cluster: &Cluster, found: &[Found]) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "down needs --yes when it cannot ask"));
    }
    let names: Vec<&str> = found.iter().map(|found| found.node.as_str()).collect();
    let name = &cluster.topology.name;
    let what = format!("remove cluster {name} ({}) for good? [y/N] ", names.join(", "));
    console::Term::stderr()
        .write_str(&what)
        .map_err(|error| Failure::of(Kind::Unexpected, &error))?;
    let answer = aside(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_bytes| answer)
    });
    let answer = answer.await.map_err(|error| Failure::of(Kind::Unexpected, &error))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}
