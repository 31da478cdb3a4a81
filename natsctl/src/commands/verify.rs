//! `natsctl verify`: is it a mesh?

use super::{Cluster, Ended};
use crate::cli::{Global, Output, Verify};
use crate::failure::{Failure, Kind};
use crate::report::{self, stdout_paint};
use crate::verify::Verdict;

pub(super) async fn run(global: &Global, args: &Verify) -> Ended {
    let cluster = Cluster::known(global)?;
    let subjects = cluster.addressed().await?;
    let verdict = Verdict::reach(&subjects, &cluster.login()).await;
    let name = &cluster.topology.name;
    match args.output {
        Output::Text => show(name, &verdict),
        Output::Json | Output::Jsonl => report::print_line(&verdict.to_json(name).to_string()),
    }
    if verdict.pass() {
        return Ok(0);
    }
    let failure = Failure::new(Kind::Verdict, format!("the mesh of cluster {name} is not whole"));
    let failure = verdict.problems().into_iter().fold(failure, Failure::cause);
    Err(failure.hint("natsctl status").hint("natsctl up   (heals)"))
}

fn show(name: &str, verdict: &Verdict) {
    let paint = stdout_paint();
    let word = if verdict.pass() { paint.good("PASS") } else { paint.bad("FAIL") };
    report::print_line(&verdict.matrix());
    report::print_line(&format!("\n{word} cluster {name}: {}", verdict.summary()));
}
