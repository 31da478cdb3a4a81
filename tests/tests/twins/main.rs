//! Twins: a stock nats-server and natsd with the same configuration are told the same, chance's
//! own stories of clients and peer servers, right and wrong; whatever they answer must be the
//! same, byte for byte, and so must what they count.
//!
//! A story that makes a difference is played again with more patience, so that a slow machine is
//! no difference, then it is shrunk and printed as a golden transcript is written. Where the
//! stock server does not agree with itself, nothing is asked of natsd.
//!
//! `TWINS_SEED` tells other stories, `TWINS_ROUNDS` says how many stories of each scene, `TWINS_SCENE`
//! picks scenes.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests: a failed step is a failed test, told by its seed"
)]

mod config;
mod heard;
mod play;
mod shrink;
mod story;
mod write;

use blackbox::server::{Binary, Server, Setup};
use config::{SCENES, Scene};
use futures_util::future::join_all;
use play::{Outcome, Patience, play};
use story::Step;
use write::Writer;

/// After so many differences a scene is left alone.
const ENOUGH: usize = 4;

#[tokio::test]
#[ignore = "needs a stock nats-server: NATS_SERVER_BIN; run by .ci/run"]
async fn twins_are_told_the_same_and_say_the_same() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let seed: u64 = number("TWINS_SEED", 1);
    let rounds = number("TWINS_ROUNDS", 40);
    let wanted = std::env::var("TWINS_SCENE").unwrap_or_default();
    println!("TWINS_SEED={seed}");
    // Builds natsd, before anybody's deadline runs.
    let _natsd = Binary::natsd();
    let scenes = SCENES.iter().filter(|scene| scene.name.contains(&wanted));
    let runs = join_all(scenes.map(|scene| run(scene, seed, rounds)));
    let (mut steps, mut differences) = (0, Vec::new());
    for (played, found) in runs.await {
        steps += played;
        differences.extend(found);
    }
    println!("{steps} steps, {} differences", differences.len());
    assert!(differences.is_empty(), "TWINS_SEED={seed}\n{}", differences.join("\n\n"));
}

/// Plays the stories of a scene; returns how many steps they had, and the differences.
async fn run(scene: &'static Scene, seed: u64, rounds: u64) -> (usize, Vec<String>) {
    let twins = Twins::start(scene).await;
    let (mut steps, mut differences) = (0, Vec::new());
    for round in 0..rounds {
        let story = Writer::new(scene, seed.wrapping_add(round)).story();
        steps += story.len();
        if twins.differ(&story, 1).await && twins.surely_differ(&story).await {
            let told = twins.tell(scene, story).await;
            println!("{told}\n");
            differences.push(told);
            if differences.len() == ENOUGH {
                break;
            }
        }
    }
    (steps, differences)
}

struct Twins {
    stock: Server,
    natsd: Server,
}

impl Twins {
    async fn start(scene: &Scene) -> Self {
        let start = async |binary| Setup::new(&binary).config(scene.config).start().await;
        Self { stock: start(Binary::stock()).await, natsd: start(Binary::natsd()).await }
    }

    async fn play(&self, story: &[Step], patience: Patience) -> (Outcome, Outcome) {
        tokio::join!(play(&self.stock, story, patience), play(&self.natsd, story, patience))
    }

    async fn differ(&self, story: &[Step], patience: Patience) -> bool {
        let (stock, natsd) = self.play(story, patience).await;
        stock != natsd
    }

    /// Whether they differ each time, however long one waits, and the stock server never does
    /// from itself.
    async fn surely_differ(&self, story: &[Step]) -> bool {
        let mut first = None;
        for patience in [4, 12, 4] {
            let (stock, natsd) = self.play(story, patience).await;
            let same = first.get_or_insert(stock);
            let (again, _) = self.play(story, patience).await;
            if *same == natsd || *same != again {
                return false;
            }
        }
        true
    }

    /// The smallest story with a difference, and what that is.
    async fn tell(&self, scene: &Scene, story: Vec<Step>) -> String {
        let story = shrink::shrink(story, async |story: &[Step]| {
            self.differ(story, 2).await && self.surely_differ(story).await
        })
        .await;
        let (stock, natsd) = self.play(&story, 4).await;
        let lines: Vec<String> = story.iter().map(ToString::to_string).collect();
        format!(
            "---- {}\n{}\n(nats-server first, then natsd) {}",
            scene.name,
            lines.join("\n"),
            stock.difference(&natsd).unwrap_or_else(|| "no difference any more".into())
        )
    }
}
