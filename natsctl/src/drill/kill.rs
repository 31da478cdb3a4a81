//! The kill drill: SIGKILL, and what everybody else saw.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::load::{Heard, Load, LoadError};
use super::watch::{Sighting, watch};
use crate::clients::{Login, Move};
use crate::deploy::{DeployError, Service};
use crate::topology::Endpoint;

/// Load before the kill, so that the fault falls into steady traffic.
const BEFORE: Duration = Duration::from_millis(300);
/// Longest wait for the subscriber to come back, beyond the asked duration.
const BACK: Duration = Duration::from_secs(15);
/// Time for the last messages to arrive.
const SETTLE: Duration = Duration::from_millis(300);

/// A node to be killed.
pub struct Victim {
    /// Its name.
    pub node: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its server.
    pub service: Service,
    /// Whether it answers, so that a client can sit there.
    pub answers: bool,
}

/// A kill to be measured.
pub struct Drill {
    /// Who is killed; the subscriber sits at the first that answers.
    pub victims: Vec<Victim>,
    /// Who is not; the publisher sits at the first.
    pub survivors: Vec<(String, Endpoint)>,
    /// What clients must show.
    pub login: Login,
    /// Messages per second.
    pub rate: u32,
    /// How long to go on after the kill.
    pub duration: Duration,
    /// Cancelled, it ends the measurement early; what is known by then is told.
    pub enough: CancellationToken,
}

/// Notes on disk that nodes are about to be killed; the error says why that cannot be.
pub type Record<'r> = dyn Fn() -> Result<(), String> + Sync + 'r;

/// What one survivor saw, in ms after the kill.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survivor {
    /// Who.
    pub node: String,
    /// Of whom.
    pub victim: String,
    /// `/routez` no longer named the victim.
    pub route_gone_ms: Option<f64>,
    /// INFO no longer told clients of the victim.
    pub info_gone_ms: Option<f64>,
}

/// What was measured. Times are in ms after the kill was sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Who was killed.
    pub victims: Vec<String>,
    /// Victims that did not answer before the kill: what a client there would have seen is not
    /// known.
    pub silent: Vec<String>,
    /// Where the subscriber was: at a victim, unless none of them answered.
    pub subscriber: String,
    /// Where the publisher was.
    pub publisher: String,
    /// Messages per second asked for.
    pub rate: u32,
    /// The victims' processes were seen to be gone.
    pub confirmed_ms: f64,
    /// The measurement was ended early.
    pub ended_early_ms: Option<f64>,
    /// The subscriber was cut off.
    pub cut_ms: Option<f64>,
    /// The subscriber was connected again.
    pub back_ms: Option<f64>,
    /// Where.
    pub back_on: Option<String>,
    /// The first message it received there.
    pub first_message_ms: Option<f64>,
    /// Longest time between two messages.
    pub longest_gap_ms: f64,
    /// What became of the messages.
    pub messages: Account,
    /// What every survivor saw of every victim.
    pub survivors: Vec<Survivor>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// No survivor to publish on and to move to.
    #[error("no other node serves: there is nothing to measure")]
    NoSurvivor,
    /// The clients could not be set up; nothing was killed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It could not be noted on disk; nothing was killed.
    #[error("cannot record the kill: {0}")]
    Record(String),
    /// The kill failed.
    #[error("cannot kill {node}")]
    Kill {
        /// Whom.
        node: String,
        /// Why.
        #[source]
        source: DeployError,
    },
    /// The publisher failed, on a node that was to survive.
    #[error("the measurement broke off: {0}")]
    Broken(String),
}

impl Drill {
    /// Kills and measures. `record` is called right before the kill: until then nothing has
    /// happened, and an interruption leaves no trace.
    ///
    /// # Errors
    /// [`DrillError::Load`] and [`DrillError::Record`] before anything is killed; the others after.
    pub async fn run(&self, record: &Record<'_>) -> Result<Outcome, DrillError> {
        let (Some(subscriber), Some(publisher)) = (self.subscriber(), self.publisher()) else {
            return Err(DrillError::NoSurvivor);
        };
        let load = Load::begin(subscriber, publisher, &self.login, self.rate).await?;
        let done = CancellationToken::new();
        let watchers = self.watchers(&done);
        tokio::time::sleep(BEFORE).await;
        let killed = self.kill(record).await;
        let confirmed = Instant::now();
        let ended_early = match killed {
            Ok(begun) => self.linger(&load, begun).await,
            Err(_) => None,
        };
        done.cancel();
        let sightings = join_all(watchers).await;
        let ended = load.end(SETTLE).await;
        let begun = killed?;
        let (sent, heard) = ended.map_err(DrillError::Broken)?;
        let clock = Clock { begun };
        let mut outcome = clock.tell(&sent, &heard, confirmed);
        outcome.victims = self.names(|_| true);
        outcome.silent = self.names(|victim| !victim.answers);
        subscriber.0.clone_into(&mut outcome.subscriber);
        publisher.0.clone_into(&mut outcome.publisher);
        outcome.rate = self.rate;
        outcome.ended_early_ms = ended_early.map(|at| clock.millis(at));
        outcome.survivors = sightings
            .into_iter()
            .filter_map(Result::ok)
            .map(|(node, victim, seen)| clock.survivor(node, victim, &seen))
            .collect();
        Ok(outcome)
    }

    /// Where the subscriber sits: at a victim, if one answers; else at a survivor, another than
    /// the publisher's if there is one.
    #[must_use]
    pub fn subscriber(&self) -> Option<(&str, SocketAddr)> {
        let victim = self.victims.iter().find(|victim| victim.answers);
        let victim = victim.map(|victim| (victim.node.as_str(), victim.endpoint.client()));
        victim.or_else(|| self.survivors.last().map(|(node, at)| (node.as_str(), at.client())))
    }

    /// Where the publisher sits.
    #[must_use]
    pub fn publisher(&self) -> Option<(&str, SocketAddr)> {
        self.survivors.first().map(|(node, at)| (node.as_str(), at.client()))
    }

    /// Names of the victims that are so.
    pub fn names(&self, so: impl Fn(&Victim) -> bool) -> Vec<String> {
        self.victims.iter().filter(|one| so(one)).map(|one| one.node.clone()).collect()
    }

    /// One watcher per survivor and victim.
    fn watchers(
        &self,
        done: &CancellationToken,
    ) -> Vec<tokio::task::JoinHandle<(String, String, Sighting)>> {
        let mut watchers = Vec::new();
        for (node, endpoint) in &self.survivors {
            for victim in &self.victims {
                let (node, endpoint) = (node.clone(), *endpoint);
                let seen = (victim.node.clone(), victim.endpoint);
                let (login, done) = (self.login.clone(), done.clone());
                watchers.push(tokio::spawn(async move {
                    let name = seen.0.clone();
                    (node, name, watch(endpoint, seen, login, done).await)
                }));
            }
        }
        watchers
    }

    /// Kills, and says when.
    ///
    /// # Errors
    /// [`DrillError::Record`] before anything is killed; [`DrillError::Kill`] after.
    pub async fn kill(&self, record: &Record<'_>) -> Result<Instant, DrillError> {
        self.on_each(Service::hold).await?;
        record().map_err(DrillError::Record)?;
        let begun = Instant::now();
        self.on_each(Service::kill).await?;
        Ok(begun)
    }

    async fn on_each(
        &self,
        act: impl AsyncFn(&Service) -> Result<(), DeployError>,
    ) -> Result<(), DrillError> {
        let acts = join_all(self.victims.iter().map(|victim| act(&victim.service))).await;
        for (victim, done) in self.victims.iter().zip(acts) {
            done.map_err(|source| DrillError::Kill { node: victim.node.clone(), source })?;
        }
        Ok(())
    }

    /// Goes on for the asked duration, and longer if the subscriber is not back yet. Says when it
    /// was ended early.
    async fn linger(&self, load: &Load, begun: Instant) -> Option<Instant> {
        let must_move = self.victims.iter().any(|victim| victim.answers);
        let to_the_end = async {
            tokio::time::sleep_until(begun + self.duration).await;
            while must_move && !load.is_back() && begun.elapsed() < self.duration + BACK {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = to_the_end => None,
            () = self.enough.cancelled() => Some(Instant::now()),
        }
    }
}

/// Tells times as ms after the kill.
struct Clock {
    begun: Instant,
}

impl Clock {
    /// Negative before the kill.
    fn millis(&self, at: Instant) -> f64 {
        let after = at.saturating_duration_since(self.begun).as_secs_f64();
        let before = self.begun.saturating_duration_since(at).as_secs_f64();
        ((after - before) * 1e6).round() / 1e3
    }

    fn survivor(&self, node: String, victim: String, seen: &Sighting) -> Survivor {
        Survivor {
            node,
            victim,
            route_gone_ms: seen.route_gone.map(|at| self.millis(at)),
            info_gone_ms: seen.info_gone.map(|at| self.millis(at)),
        }
    }

    fn tell(&self, sent: &[Instant], heard: &Heard, confirmed: Instant) -> Outcome {
        let cut = heard.moves.iter().find_map(|happened| match happened {
            Move::Cut(at) => Some(*at),
            _ => None,
        });
        let back = heard.moves.iter().find_map(|happened| match happened {
            Move::Back(at, name) => Some((*at, name.clone())),
            _ => None,
        });
        let first = back
            .as_ref()
            .and_then(|(back, _)| heard.numbers.iter().map(|(_, at)| *at).find(|at| at >= back));
        let times: Vec<Instant> = heard.numbers.iter().map(|(_, at)| *at).collect();
        let gaps = times.iter().zip(times.iter().skip(1));
        let gap = gaps.map(|(a, b)| b.saturating_duration_since(*a)).max().unwrap_or_default();
        let origin = sent.first().copied().unwrap_or(self.begun);
        let since = |at: Instant| at.saturating_duration_since(origin);
        let sent: Vec<Duration> = sent.iter().map(|at| since(*at)).collect();
        let numbers: Vec<u64> = heard.numbers.iter().map(|(number, _)| *number).collect();
        let away = cut.map(|cut| (since(cut), back.as_ref().map(|(back, _)| since(*back))));
        Outcome {
            victims: Vec::new(),
            silent: Vec::new(),
            subscriber: String::new(),
            publisher: String::new(),
            rate: 0,
            confirmed_ms: self.millis(confirmed),
            ended_early_ms: None,
            cut_ms: cut.map(|at| self.millis(at)),
            back_ms: back.as_ref().map(|(at, _)| self.millis(*at)),
            back_on: back.map(|(_, name)| name),
            first_message_ms: first.map(|at| self.millis(at)),
            longest_gap_ms: gap.as_secs_f64() * 1e3,
            messages: Account::settle(&sent, &numbers, since(self.begun), away),
            survivors: Vec::new(),
        }
    }
}

impl Outcome {
    /// Whether the subscriber moved on, if it had to, and nothing was lost that should not be.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.served() && self.messages.lost_unexpected == 0
    }

    /// Whether the subscriber stayed where it was or received again where it moved to.
    #[must_use]
    pub fn served(&self) -> bool {
        let stayed = self.cut_ms.is_none() && !self.victims.contains(&self.subscriber);
        stayed || (self.back_ms.is_some() && self.first_message_ms.is_some())
    }

    /// The report for people.
    #[must_use]
    pub fn show(&self) -> String {
        let mut lines: Vec<(Option<f64>, String)> = vec![
            (Some(0.0), format!("SIGKILL on its way to {}", self.victims.join(", "))),
            (Some(self.confirmed_ms), "process seen to be gone".into()),
            (self.cut_ms, format!("subscriber cut off from {}", self.subscriber)),
            (
                self.back_ms,
                format!("subscriber back on {}", self.back_on.as_deref().unwrap_or("-")),
            ),
            (self.first_message_ms, "first message received there".into()),
            (self.ended_early_ms, "measurement ended by ctrl-c".into()),
        ];
        for seen in &self.survivors {
            let Survivor { node, victim, route_gone_ms, info_gone_ms } = seen;
            lines.push((
                *route_gone_ms,
                format!("{node} has no route to {victim} any more (/routez)"),
            ));
            lines.push((
                *info_gone_ms,
                format!("{node} no longer tells clients of {victim} (INFO)"),
            ));
        }
        lines.retain(|(at, _)| at.is_some());
        lines.sort_by(|a, b| a.0.unwrap_or(0.0).total_cmp(&b.0.unwrap_or(0.0)));
        let mut text = String::from("after the kill\n");
        for (at, what) in lines {
            text.push_str(&format!("{:>10}  {what}\n", show_ms(at.unwrap_or(0.0))));
        }
        text.push('\n');
        text.push_str(&self.show_messages());
        text
    }

    fn show_messages(&self) -> String {
        let Account { sent, received, lost, duplicated, reordered, .. } = self.messages;
        let mut text = format!(
            "messages  {sent} sent on {} at {}/s, {received} received by the subscriber, {lost} lost, \
             {duplicated} twice, {reordered} out of order\n",
            self.publisher, self.rate
        );
        for range in &self.messages.lost_ranges {
            let numbers = if range.first == range.last {
                format!("#{}", range.first)
            } else {
                format!("#{} to #{}", range.first, range.last)
            };
            let why = if range.expected {
                "while the subscriber was away"
            } else {
                "while the subscriber was connected: NOT expected"
            };
            text.push_str(&format!(
                "lost      {numbers}, sent {} to {} after the kill, {why}\n",
                show_ms(range.sent_from_ms),
                show_ms(range.sent_to_ms)
            ));
        }
        text.push_str(&format!(
            "silence   {} at most, between two messages\n",
            show_ms(self.longest_gap_ms)
        ));
        let away = match (self.cut_ms, self.back_ms) {
            (Some(cut), Some(back)) => format!("{} without a connection", show_ms(back - cut)),
            (Some(_), None) if self.ended_early_ms.is_some() => "it was not back by then".into(),
            (Some(_), None) => "it never came back".into(),
            (None, _) => "it was never cut off".into(),
        };
        text.push_str(&format!("client    {away}\n"));
        for node in &self.silent {
            text.push_str(&format!(
                "unknown   what a client of {node} sees: it did not answer before the kill\n"
            ));
        }
        text
    }
}

fn show_ms(ms: f64) -> String {
    match ms.abs() {
        ..10.0 => format!("{ms:.2} ms"),
        ..100.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::Range;
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            victims: vec!["node1".into()],
            silent: Vec::new(),
            subscriber: "node1".into(),
            publisher: "node2".into(),
            rate: 1000,
            confirmed_ms: 3.1,
            ended_early_ms: None,
            cut_ms: Some(1.21),
            back_ms: Some(2.43),
            back_on: Some("node2".into()),
            first_message_ms: Some(3.05),
            longest_gap_ms: 3.2,
            messages: Account {
                sent: 2300,
                received: 2297,
                lost: 3,
                lost_ranges: vec![Range {
                    first: 301,
                    last: 303,
                    sent_from_ms: 0.4,
                    sent_to_ms: 2.4,
                    expected: true,
                }],
                ..Account::default()
            },
            survivors: vec![Survivor {
                node: "node2".into(),
                victim: "node1".into(),
                route_gone_ms: Some(2.0),
                info_gone_ms: None,
            }],
        }
    }

    #[test]
    fn the_report_reads_well() {
        assert!(outcome().pass());
        insta::assert_snapshot!(outcome().show());
    }

    #[test]
    fn a_subscriber_beside_a_silent_victim_has_to_stay_and_the_report_says_what_is_unknown() {
        let beside = Outcome {
            silent: vec!["node1".into()],
            subscriber: "node3".into(),
            cut_ms: None,
            back_ms: None,
            back_on: None,
            first_message_ms: None,
            ended_early_ms: Some(1500.0),
            ..outcome()
        };
        assert!(beside.pass());
        insta::assert_snapshot!(beside.show());
        assert!(!Outcome { cut_ms: Some(1.0), ..beside.clone() }.pass(), "cut off for good");
        assert!(!Outcome { subscriber: "node1".into(), ..beside }.pass(), "its node was killed");
    }
}
