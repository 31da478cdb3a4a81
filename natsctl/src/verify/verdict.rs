//! What was seen, and what it amounts to.

use serde_json::{Value, json};

use super::{Delivery, Subject, View, deliver, silent, views};
use crate::clients::Login;
use crate::report::show_millis;

/// The judgement over a mesh, with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Every server's view.
    pub views: Vec<View>,
    /// Every ordered pair, a node to itself included.
    pub deliveries: Vec<Delivery>,
}

impl Verdict {
    /// Looks and judges.
    pub async fn reach(subjects: &[Subject], login: &Login) -> Self {
        let (views, deliveries) = tokio::join!(views(subjects), deliver(subjects, login));
        Self { views, deliveries }
    }

    /// Whether the mesh is whole.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.views.iter().all(View::whole)
            && self.deliveries.iter().all(|delivery| delivery.outcome.is_ok())
    }

    /// All that is wrong, in words; the same cause is told once.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.views.iter().filter_map(View::problem).collect();
        let silent = silent(&self.views);
        let mut causes: Vec<(String, Vec<String>)> = Vec::new();
        for delivery in &self.deliveries {
            let known = |node: &String| silent.contains(&node.as_str());
            let Err(lost) = &delivery.outcome else { continue };
            if known(&delivery.from) || known(&delivery.to) {
                continue;
            }
            let (whom, why) = match &lost.outside {
                Some(node) => (node.clone(), format!("no client gets in: {}", lost.why)),
                None => (format!("{} -> {}", delivery.from, delivery.to), lost.why.clone()),
            };
            match causes.iter_mut().find(|(known, _)| *known == why) {
                Some((_, all)) if all.contains(&whom) => {}
                Some((_, all)) => all.push(whom),
                None => causes.push((why, vec![whom])),
            }
        }
        problems.extend(causes.into_iter().map(|(why, all)| format!("{}: {why}", all.join(", "))));
        problems
    }

    /// One line that says it all.
    #[must_use]
    pub fn summary(&self) -> String {
        let nodes = self.views.len();
        let whole = self.views.iter().filter(|view| view.whole()).count();
        let pairs = self.deliveries.iter().filter(|delivery| delivery.from != delivery.to);
        let (mut good, mut all) = (0, 0);
        for delivery in pairs {
            all += 1;
            good += usize::from(delivery.outcome.is_ok());
        }
        let peers = nodes.saturating_sub(1);
        let routes = if whole == nodes {
            format!(" with {peers} of {peers} routes")
        } else {
            let seen: usize = self.views.iter().map(|view| view.routes(peers)).sum();
            format!(", {seen} of {} routes", nodes * peers)
        };
        format!("{whole} of {nodes} nodes healthy{routes}, {good} of {all} ordered pairs delivered")
    }

    /// Who reached whom, and how fast: senders down, receivers across.
    #[must_use]
    pub fn matrix(&self) -> String {
        let names: Vec<&str> = self.views.iter().map(|view| view.node.as_str()).collect();
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max("from\\to".len());
        let mut text = format!("{:width$}", "from\\to");
        for to in &names {
            text.push_str(&format!("  {to:>width$}", width = to.len().max(8)));
        }
        for from in &names {
            text.push_str(&format!("\n{from:width$}"));
            for to in &names {
                let cell = self.cell(from, to);
                text.push_str(&format!("  {cell:>width$}", width = to.len().max(8)));
            }
        }
        text
    }

    fn cell(&self, from: &str, to: &str) -> String {
        let found = self.deliveries.iter().find(|one| one.from == from && one.to == to);
        match found.map(|delivery| &delivery.outcome) {
            Some(Ok(time)) => show_millis(*time),
            Some(Err(_why)) => "LOST".into(),
            None => "-".into(),
        }
    }

    /// The same for programs.
    #[must_use]
    pub fn to_json(&self, cluster: &str) -> Value {
        let nodes = self.views.iter().map(|view| {
            json!({
                "node": view.node,
                "healthy": view.peers.is_ok() && view.unwell.is_none(),
                "peers": view.peers.as_ref().ok(),
                "missing": view.missing,
                "strangers": view.strangers,
                "problem": view.problem(),
            })
        });
        let deliveries = self.deliveries.iter().map(|delivery| {
            json!({
                "from": delivery.from,
                "to": delivery.to,
                "ms": delivery.outcome.as_ref().ok().map(|time| time.as_secs_f64() * 1e3),
                "error": delivery.outcome.as_ref().err().map(|lost| &lost.why),
            })
        });
        json!({
            "cluster": cluster,
            "verdict": if self.pass() { "pass" } else { "fail" },
            "summary": self.summary(),
            "nodes": nodes.collect::<Vec<_>>(),
            "deliveries": deliveries.collect::<Vec<_>>(),
            "problems": self.problems(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Lost;
    use super::*;

    fn outside(node: &str, why: &str) -> Lost {
        Lost { outside: Some(node.into()), why: why.into() }
    }

    fn verdict() -> Verdict {
        let view = |node: &str, peers: &[&str], missing: &[&str]| View {
            node: node.into(),
            peers: Ok(peers.iter().map(|&peer| peer.into()).collect()),
            missing: missing.iter().map(|&peer| peer.into()).collect(),
            strangers: Vec::new(),
            unwell: None,
        };
        let dead = View {
            peers: Err("monitoring at 127.0.0.13:8222 does not answer".into()),
            ..view("node3", &[], &["node1", "node2"])
        };
        let nodes = ["node1", "node2", "node3"];
        let mut deliveries = Vec::new();
        for from in nodes {
            for to in nodes {
                let dead = from == "node3" || to == "node3";
                let outcome = if dead {
                    Err(outside("node3", "refused"))
                } else {
                    Ok(Duration::from_micros(420))
                };
                deliveries.push(Delivery { from: from.into(), to: to.into(), outcome });
            }
        }
        Verdict {
            views: vec![
                view("node1", &["node2"], &["node3"]),
                view("node2", &["node1"], &["node3"]),
                dead,
            ],
            deliveries,
        }
    }

    #[test]
    fn a_dead_node_fails_the_verdict_with_evidence() {
        let verdict = verdict();
        assert!(!verdict.pass());
        let shown = format!(
            "{}\n\n{}\n\n{}",
            verdict.matrix(),
            verdict.problems().join("\n"),
            verdict.summary()
        );
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn one_cause_is_told_once() {
        let mut verdict = verdict();
        verdict.views.clear();
        for delivery in &mut verdict.deliveries {
            delivery.outcome = Err(outside(&delivery.from, "authorization violation"));
        }
        let all = "node1, node2, node3: no client gets in: authorization violation";
        assert_eq!(verdict.problems(), [all]);
        for delivery in verdict.deliveries.iter_mut().take(2) {
            delivery.outcome = Err(Lost { outside: None, why: "no message within 3s".into() });
        }
        let pairs = "node1 -> node1, node1 -> node2: no message within 3s";
        assert_eq!(verdict.problems(), [pairs, all]);
    }

    #[test]
    fn the_summary_of_a_failed_verdict_counts_the_routes_there_are() {
        let mut verdict = verdict();
        assert!(verdict.summary().starts_with("0 of 3 nodes healthy, 2 of 6 routes, "));
        for view in &mut verdict.views {
            view.peers = Err("does not answer".into());
        }
        assert!(verdict.summary().starts_with("0 of 3 nodes healthy, 0 of 6 routes, "));
    }
}
