//! Clusters as chance makes them: so many nodes, of any mix of servers, started in any order,
//! alone or together, with any routes, killed, ended, frozen and started again. In the end there
//! is one whole mesh that keeps every promise: no loop, no duplicate, nothing lost, nothing for
//! whoever unsubscribed.
//!
//! `CHANCE_SEED` repeats a run that failed, `CHANCE_ROUNDS` makes more of them (1).
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests: a failed step is a failed test, told by its seed"
)]

use std::fmt;
use std::time::Duration;

use blackbox::cluster::{Cluster, Routes};
use blackbox::exercise::exercise;
use blackbox::server::Binary;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::time::sleep;

/// What happens to a cluster, in this order.
#[derive(Clone, Copy)]
enum Step {
    /// Nodes that are down are started, so many at the same moment.
    Start(usize),
    /// As a crash.
    Kill(usize),
    /// As an operator, with SIGTERM.
    Stop(usize),
    /// Frozen for a while: nobody is told, nothing is closed.
    Freeze(usize, Duration),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(count) => write!(f, "start {count}"),
            Self::Kill(node) => write!(f, "kill n{}", node + 1),
            Self::Stop(node) => write!(f, "stop n{}", node + 1),
            Self::Freeze(node, pause) => write!(f, "freeze n{} for {pause:?}", node + 1),
        }
    }
}

struct Story {
    mix: String,
    routes: Routes,
    /// In which order nodes that are down are started.
    order: Vec<usize>,
    steps: Vec<Step>,
}

impl Story {
    /// The story of a seed. `kinds` is what nodes may be: `n` under test, `s` stock.
    fn of(seed: u64, nodes: usize, kinds: &[char]) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mix = (0..nodes).map(|_| kinds[random.random_range(0..kinds.len())]).collect();
        let routes = if random.random() { Routes::ToSeed } else { Routes::ToAll };
        let mut order: Vec<usize> = (0..nodes).collect();
        order.shuffle(&mut random);
        let mut steps = Vec::new();
        for _ in 0..nodes + 6 {
            let node = random.random_range(0..nodes);
            steps.push(match random.random_range(0..10) {
                0..5 => Step::Start(random.random_range(1..=nodes)),
                5..7 => Step::Kill(node),
                7..9 => Step::Stop(node),
                _ => Step::Freeze(node, Duration::from_millis(random.random_range(10..300))),
            });
        }
        Self { mix, routes, order, steps }
    }

    async fn play(&self) {
        let binaries: Vec<Binary> = self.mix.chars().map(binary).collect();
        let mut cluster = Cluster::plan(&binaries, self.routes);
        for step in &self.steps {
            self.take(*step, &mut cluster).await;
        }
        self.take(Step::Start(cluster.len()), &mut cluster).await;
        exercise(&cluster).await;
    }

    async fn take(&self, step: Step, cluster: &mut Cluster) {
        let up = cluster.running();
        match step {
            Step::Start(count) => {
                let down = self.order.iter().copied().filter(|node| !up.contains(node));
                let down: Vec<usize> = down.take(count).collect();
                cluster.start_together(&down).await;
            }
            Step::Kill(node) if up.contains(&node) => cluster.kill(node),
            Step::Stop(node) if up.contains(&node) => cluster.stop(node).await,
            Step::Freeze(node, pause) if up.contains(&node) => {
                cluster.node(node).signal(Signal::STOP);
                sleep(pause).await;
                cluster.node(node).signal(Signal::CONT);
            }
            _ => {}
        }
    }
}

fn binary(kind: char) -> Binary {
    if kind == 's' { Binary::stock() } else { Binary::under_test() }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

async fn chance(nodes: usize, kinds: &[char]) {
    for _ in 0..number("CHANCE_ROUNDS").unwrap_or(1) {
        let seed = number("CHANCE_SEED").unwrap_or_else(|| rand::rng().random());
        let story = Story::of(seed, nodes, kinds);
        // Shown when the test fails.
        println!(
            "CHANCE_SEED={seed}: {} by {:?}, in the order {:?}: {:?}",
            story.mix, story.routes, story.order, story.steps
        );
        story.play().await;
    }
}

#[tokio::test]
async fn three_nodes() {
    chance(3, &['n']).await;
}

#[tokio::test]
async fn five_nodes() {
    chance(5, &['n']).await;
}

#[tokio::test]
#[ignore = "takes long on a small machine; run by .ci/run"]
async fn nine_nodes() {
    chance(9, &['n']).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn three_nodes_of_any_mix() {
    chance(3, &['n', 's']).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn five_nodes_of_any_mix() {
    chance(5, &['n', 's']).await;
}

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn nine_nodes_of_any_mix() {
    chance(9, &['n', 's']).await;
}

/// nats-server makes a server known for its pool and for its accounts one by one, so that a peer
/// may be connected for one account only when it is told of the rest.
#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn all_connections_come_up_in_any_mix() {
    for _ in 0..20 * number("CHANCE_ROUNDS").unwrap_or(1) {
        let seed = number("CHANCE_SEED").unwrap_or_else(|| rand::rng().random());
        let story = Story::of(seed, 6, &['n', 's']);
        println!("CHANCE_SEED={seed}: {} in the order {:?}", story.mix, story.order);
        let binaries: Vec<Binary> = story.mix.chars().map(binary).collect();
        let mut cluster = Cluster::plan(&binaries, Routes::ToSeed);
        cluster.start_together(&story.order).await;
        cluster.mesh().await;
        cluster.pools().await;
    }
}
