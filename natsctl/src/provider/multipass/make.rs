//! Machines made, and those that are there brought up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::{self, Attempt, Kind};
use super::{ASK_LIMIT, BOOT_LIMIT, Multipass, cloud_init};
use crate::provider::{Machine, MachineState, Progress, ProviderError};
use crate::remote::keys;
use crate::topology::Node;

/// A first launch downloads 500 to 700 MB.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30 * 60);

impl Multipass {
    pub(super) async fn make(
        &self,
        node: &Node,
        progress: &dyn Progress,
    ) -> Result<Machine, ProviderError> {
        let instance = self.instance(&node.name);
        let attempt = Attempt { verb: "create", about: Some((&node.name, &instance)) };
        let found = self.state(&instance).await?;
        if found.is_some() && !self.claim(&node.name).exists() {
            return Err(attempt.error(Kind::Exists, format!("instance {instance} already exists")));
        }
        let fresh = match found {
            None => {
                self.launch(node, progress).await?;
                true
            }
            Some(state) => {
                progress.step(&format!("found {instance} ({})", state.word()));
                self.bring_up(&node.name, state, progress).await?;
                false
            }
        };
        let machine = self.await_ssh(&node.name, fresh, progress).await?;
        self.await_cloud_init(&machine, fresh, progress).await?;
        Ok(machine)
    }

    async fn launch(&self, node: &Node, progress: &dyn Progress) -> Result<(), ProviderError> {
        let instance = self.instance(&node.name);
        let attempt = Attempt { verb: "launch", about: Some((&node.name, &instance)) };
        let user_data = self.user_data(&node.name).map_err(|e| attempt.error(Kind::Other, e))?;
        self.note(&node.name, None)?;
        self.stagger().await;
        let minutes = LAUNCH_LIMIT.as_secs() / 60;
        progress.step(&format!("launching {instance} ({}, at most {minutes} min)", node.vm.image));
        let arguments = launch_arguments(&instance, node);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // Our own deadline is the later one: theirs leaves a clearer answer.
        let limit = LAUNCH_LIMIT + Duration::from_secs(30);
        let answer = self.try_call(attempt, &arguments, Some(user_data), limit).await?;
        if answer.code == Some(0) {
            return Ok(());
        }
        if failure::kind(&answer) == Kind::InitTimeout {
            progress.warn(&format!("{instance}: {}", failure::words(&answer)));
            return Ok(());
        }
        self.forget_unless_there(&node.name, failure::kind(&answer)).await;
        Err(attempt.refused(&answer))
    }

    /// A failed launch leaves its instance behind or not; a claim without one is dropped.
    async fn forget_unless_there(&self, node: &str, kind: Kind) {
        let gone = matches!(self.state(&self.instance(node)).await, Ok(None));
        if gone || kind == Kind::Exists {
            self.claim(node).drop_it();
        }
    }

    fn user_data(&self, node: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let user = keys::load_or_make(&self.dir.join("id_ed25519"), &self.key_comment())?;
        let host = self.claim(node).host_key(&self.instance(node))?;
        Ok(cloud_init::user_data(&user, &host)?)
    }

    pub(super) fn key_comment(&self) -> String {
        format!("natsctl {}", self.cluster)
    }

    async fn stagger(&self) {
        let mut last = self.last_launch.lock().await;
        if let Some(last) = *last {
            sleep(self.stagger.saturating_sub(last.elapsed())).await;
        }
        *last = Some(Instant::now());
    }

    /// Boots, resumes or undeletes a machine of ours, or waits for one that boots already.
    pub(super) async fn bring_up(
        &self,
        node: &str,
        state: MachineState,
        progress: &dyn Progress,
    ) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        match state {
            MachineState::Running => return Ok(()),
            MachineState::Deleted => {
                let attempt = Attempt { verb: "recover", about: Some((node, &instance)) };
                self.call(attempt, &["recover", &instance], ASK_LIMIT).await?;
            }
            MachineState::Starting | MachineState::Unknown => {
                // `Unknown` is what Multipass says for most of a boot.
                if self.await_running(node, BOOT_LIMIT, progress).await? {
                    return Ok(());
                }
                progress.step(&format!("{instance} does not come up, cutting its power"));
                self.cut(node).await?;
            }
            MachineState::Stopped | MachineState::Suspended => {}
        }
        self.start(node, progress).await
    }

    async fn start(&self, node: &str, progress: &dyn Progress) -> Result<(), ProviderError> {
        let instance = self.instance(node);
        let attempt = Attempt { verb: "start", about: Some((node, &instance)) };
        let seconds = BOOT_LIMIT.as_secs().to_string();
        progress.step(&format!("starting {instance} (at most {seconds}s)"));
        let arguments = ["start", &instance, "--timeout", &seconds];
        let started = self.call(attempt, &arguments, BOOT_LIMIT + Duration::from_secs(30)).await;
        // The daemon may have got there after its client gave up.
        match (started, self.state(&instance).await?) {
            (Ok(_), _) | (Err(_), Some(MachineState::Running)) => Ok(()),
            (Err(error), _) => Err(error),
        }
    }

    async fn await_running(
        &self,
        node: &str,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<bool, ProviderError> {
        let instance = self.instance(node);
        progress.step(&format!("waiting for {instance} to boot (at most {}s)", limit.as_secs()));
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match self.state(&instance).await? {
                Some(MachineState::Running) => return Ok(true),
                Some(MachineState::Starting | MachineState::Unknown) => sleep(self.pause).await,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}

/// Sizes are passed as bytes: what every version understands alike.
fn launch_arguments(instance: &str, node: &Node) -> Vec<String> {
    let vm = &node.vm;
    let seconds = LAUNCH_LIMIT.as_secs().to_string();
    let pairs = [
        ("--name", instance.to_owned()),
        ("--cpus", vm.cpus.to_string()),
        ("--memory", vm.memory_bytes.to_string()),
        ("--disk", vm.disk_bytes.to_string()),
        ("--cloud-init", "-".to_owned()),
        ("--timeout", seconds),
    ];
    let mut arguments = vec!["launch".to_owned(), vm.image.clone()];
    for (option, value) in pairs {
        arguments.extend([option.to_owned(), value]);
    }
    arguments
}
