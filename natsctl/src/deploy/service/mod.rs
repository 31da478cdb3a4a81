//! The server's process on one machine: look, install, start, stop, kill, logs.
//!
//! Where systemd runs the machine it is `natsd.service` under its own user; elsewhere a detached
//! process in a session of its own. A detached process is known by its pid AND the time it was
//! started, so a pid that was given to somebody else is never touched.

mod facts;
mod layout;
mod shell;
mod trial;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ports::Listener;
use super::{Binary, DeployError, Wanted, last_words, succeeded};
use crate::remote::{Command, Output, Remote, quote};
use facts::FACTS;
pub use facts::Facts;
use layout::{HOLD, UNIT, stored_flags};
pub use layout::{Layout, unit};
use shell::{MAKE_USER, STAMP, hold_script, line, prelude};

/// How long a small script may take.
const SCRIPT: Duration = Duration::from_secs(20);
/// How long a stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(15);
/// How long lame duck mode may take: two minutes by default, and the ten seconds before it.
const LAME_DUCK: Duration = Duration::from_secs(180);

/// How the check of a configuration ends when that could not even be written: no server ends so.
const NOT_WRITTEN: i32 = 90;

/// The server of one node, on one machine.
#[derive(Clone)]
pub struct Service {
    /// Where its files are.
    pub layout: Layout,
    /// Whether systemd runs it.
    pub systemd: bool,
    remote: Arc<dyn Remote>,
}

/// How a server is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM: clients are cut off.
    Stop,
    /// SIGUSR2: lame duck mode, clients are moved away first.
    LameDuck,
}

impl Service {
    /// The service of a node. `home` as [`Layout::new`] takes it.
    #[must_use]
    pub fn new(remote: Arc<dyn Remote>, home: Option<PathBuf>) -> Self {
        Self { layout: Layout::new(home.as_deref()), systemd: false, remote }
    }

    /// Who and where, for error texts.
    #[must_use]
    pub fn label(&self) -> String {
        self.remote.label()
    }

    /// Looks at the machine, and learns how the server is run there.
    ///
    /// # Errors
    /// When the machine cannot be asked.
    pub async fn facts(&mut self) -> Result<Facts, DeployError> {
        let script = format!("{}{}", prelude(&self.layout), FACTS);
        let output = self.sh(&script, SCRIPT).await?;
        let output = succeeded(output, "looking at the machine")?;
        let mut facts = Facts::parse(&String::from_utf8_lossy(&output.stdout));
        // A node that shares its machine is never a unit: units have one name per machine.
        facts.systemd &= self.layout.root;
        self.systemd = facts.systemd;
        Ok(facts)
    }

    /// The server's process, if it runs.
    ///
    /// # Errors
    /// When the machine cannot be asked.
    pub async fn pid(&self) -> Result<Option<u32>, DeployError> {
        let output =
            self.sh(&format!("{}server_pid || :\n", prelude(&self.layout)), SCRIPT).await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
    }

    /// Uploads the binary beside the installed one, checks the copy and lets it say its
    /// version. Returns what it said.
    ///
    /// # Errors
    /// The installed one is untouched, and what does not run does not stay.
    pub async fn upload(&self, binary: &Binary) -> Result<String, DeployError> {
        let fresh = self.fresh_binary();
        self.remote.upload(&binary.path, &fresh, 0o755).await?;
        let script = format!(
            "{}sum {fresh} || exit 9\n{fresh} --version 2>&1 || {{ s=$?; rm -f {fresh}; exit $s; }}\n",
            prelude(&self.layout),
            fresh = quote(&fresh)
        );
        let output = self.sh(&script, SCRIPT).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (seen, version) = text.split_once('\n').unwrap_or((&text, ""));
        if seen.trim() != binary.sha256 {
            return Err(DeployError::Damaged {
                path: binary.path.clone(),
                seen: seen.trim().to_owned(),
                expected: binary.sha256.clone(),
            });
        }
        if output.status != 0 {
            let rest = Output { stdout: version.as_bytes().to_vec(), ..output };
            let path = binary.path.clone();
            return Err(DeployError::DoesNotRun { path, said: last_words(&rest) });
        }
        Ok(version.trim().to_owned())
    }

    /// Removes an uploaded binary that is not wanted any more: the next
    /// [`install`](Self::install) would take it.
    ///
    /// # Errors
    /// When the machine cannot be asked.
    pub async fn forget_upload(&self) -> Result<(), DeployError> {
        let output = self.sh(&format!("rm -f {}\n", quote(&self.fresh_binary())), SCRIPT).await?;
        succeeded(output, "removing an old upload").map(drop)
    }

    /// Lets the binary that is to run (the uploaded one, else the installed one) read what it is
    /// to be told, by `-t`.
    ///
    /// # Errors
    /// With its words when it refuses. Nothing has changed in either case.
    pub async fn check(&self, wanted: &Wanted) -> Result<(), DeployError> {
        let trial = quote(&self.trial_config());
        let flags: Vec<String> = wanted.flags.iter().map(|flag| quote(flag)).collect();
        let mut script = prelude(&self.layout);
        line(&mut script, &format!("trial={trial}; trap 'rm -f \"$trial\"' EXIT"));
        line(&mut script, &format!("fresh={}", quote(&self.fresh_binary())));
        line(&mut script, "if [ -f \"$fresh\" ]; then binary=$fresh; fi");
        let write = format!("printf %s {} | place \"$trial\" ''", quote(&wanted.config));
        line(&mut script, &format!("{write} || exit {NOT_WRITTEN}"));
        line(&mut script, &format!("\"$binary\" -t -c \"$trial\" {} 2>&1", flags.join(" ")));
        let output = self.sh(&script, SCRIPT).await?;
        if output.status == 0 {
            return Ok(());
        }
        if output.status == NOT_WRITTEN {
            return succeeded(output, "writing the new configuration").map(drop);
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        let printed = printed.replace(&self.trial_config(), &self.layout.config);
        match trial::refusal(&printed) {
            Some(said) => Err(DeployError::ConfigRefused { said }),
            None => Ok(()),
        }
    }

    /// Puts config, flags and unit in place, and the uploaded binary if there is one. A running
    /// server is stopped first when `replace` says so: what is installed is then what runs.
    ///
    /// # Errors
    /// The server may be stopped then; nothing is half written.
    pub async fn install(
        &self,
        wanted: &Wanted,
        description: &str,
        replace: bool,
    ) -> Result<(), DeployError> {
        let mut script = prelude(&self.layout);
        script.push_str("set -e\n");
        if replace {
            script.push_str(&self.stop_script(Ending::Stop));
        }
        let fresh = quote(&self.fresh_binary());
        let binary = quote(&self.layout.binary);
        if self.layout.root {
            script.push_str(MAKE_USER);
        }
        line(&mut script, &format!("if [ -f {fresh} ]; then mv -f {fresh} {binary}; fi"));
        let owner = if self.layout.root { "root:natsd" } else { "" };
        let place = |path: &str, text: &str| {
            let path = quote(path);
            format!("printf %s {} | place {path} {}", quote(text), quote(owner))
        };
        line(&mut script, &place(&self.layout.config, &wanted.config));
        line(&mut script, &place(&self.layout.flags, &stored_flags(wanted, self.systemd)));
        if self.systemd {
            line(&mut script, &place(UNIT, &unit(&self.layout, description)));
            line(&mut script, "systemctl daemon-reload\nsystemctl enable --quiet natsd.service");
        }
        let output = self.sh(&script, SCRIPT + STOP).await?;
        succeeded(output, "installing the server").map(drop)
    }

    /// Starts the server, unless it runs. Returns its pid.
    ///
    /// # Errors
    /// With the server's last words when it ended at once.
    pub async fn start(&self) -> Result<u32, DeployError> {
        let output = self.sh(&self.start_script(), SCRIPT).await?;
        if output.status != 0 {
            let said = self.last_log_lines().await.unwrap_or_else(|_| last_words(&output));
            return Err(DeployError::Died { said });
        }
        match String::from_utf8_lossy(&output.stdout).trim().parse() {
            Ok(pid) => Ok(pid),
            Err(_not_a_pid) => Err(DeployError::Died { said: self.last_log_lines().await? }),
        }
    }

    fn start_script(&self) -> String {
        let mut script = prelude(&self.layout);
        if self.systemd {
            line(&mut script, &format!("if [ -f {HOLD} ]; then rm -f {HOLD}"));
            line(&mut script, "systemctl daemon-reload; fi");
            line(&mut script, "systemctl reset-failed natsd.service 2>/dev/null");
            line(&mut script, "systemctl start natsd.service || exit 1");
            line(&mut script, "server_pid");
            return script;
        }
        line(&mut script, "server_pid && exit 0");
        let (binary, config) = (quote(&self.layout.binary), quote(&self.layout.config));
        let (log, pid) = (quote(&self.layout.log), quote(&self.layout.pid));
        let mut inner = STAMP.to_owned();
        line(&mut inner, "trap '' HUP");
        line(
            &mut inner,
            &format!(
                "$AS {binary} -c {config} $(cat {flags}) </dev/null >>{log} 2>&1 &",
                flags = quote(&self.layout.flags)
            ),
        );
        line(&mut inner, &format!("echo \"$! $(stamp $!)\" >{pid}"));
        if self.layout.root {
            line(&mut script, &format!("touch {log}; chown natsd {log}"));
            let drop_root = "setpriv --reuid=natsd --regid=natsd --clear-groups";
            line(
                &mut script,
                &format!("AS=; if command -v setpriv >/dev/null; then AS='{drop_root}'; fi"),
            );
            line(&mut script, "export AS");
        }
        line(&mut script, "cd /");
        line(&mut script, "own=; if command -v setsid >/dev/null; then own=setsid; fi");
        line(&mut script, &format!("$own sh -c {} || exit 1", quote(&inner)));
        line(&mut script, "server_pid");
        script
    }

    /// Ends the server and waits until it is gone. Not running is well.
    ///
    /// # Errors
    /// When it is still there afterwards.
    pub async fn stop(&self, ending: Ending) -> Result<(), DeployError> {
        let mut script = prelude(&self.layout);
        if self.systemd {
            // A stop by us is no failure, and systemd must not bring it back.
            line(&mut script, &hold_script());
        }
        script.push_str(&self.stop_script(ending));
        let patience = if ending == Ending::LameDuck { LAME_DUCK } else { STOP };
        let output = self.sh(&script, patience + SCRIPT).await?;
        succeeded(output, "stopping the server").map(drop)
    }

    fn stop_script(&self, ending: Ending) -> String {
        let (signal, patience) = match ending {
            Ending::Stop => ("TERM", STOP),
            Ending::LameDuck => ("USR2", LAME_DUCK),
        };
        if self.systemd && ending == Ending::Stop {
            return "systemctl stop natsd.service 2>/dev/null || :\n".into();
        }
        // SIGCONT: a stopped process takes no other signal (systemd sends it, too). 20 looks a
        // second; then it is killed.
        let looks = patience.as_secs() * 20;
        format!(
            "pid=$(server_pid || :)\nif [ -n \"$pid\" ]; then\n  kill -{signal} \"$pid\" || :\n  \
             kill -CONT \"$pid\" || :\n  i=0\n  while server_pid >/dev/null; do\n    i=$((i+1))\n    \
             if [ $i -gt {looks} ]; then kill -KILL \"$pid\"; fi\n    \
             if [ $i -gt {given_up} ]; then echo \"pid $pid does not end\" >&2; exit 1; fi\n    \
             sleep 0.05\n  done\nfi\n",
            given_up = looks + 100,
        )
    }

    /// Makes sure that nothing brings the server back after a kill. Separate from the kill, so
    /// that the kill itself is one short command.
    ///
    /// # Errors
    /// When the machine cannot be told.
    pub async fn hold(&self) -> Result<(), DeployError> {
        if !self.systemd {
            return Ok(());
        }
        let output = self.sh(&hold_script(), SCRIPT).await?;
        succeeded(output, "switching automatic restart off").map(drop)
    }

    /// SIGKILL for a server whose pid was just seen. Returns once the process is gone.
    ///
    /// # Errors
    /// When it was not there, or is still there.
    pub async fn kill(&self) -> Result<(), DeployError> {
        let mut script = prelude(&self.layout);
        line(&mut script, "pid=$(server_pid) || { echo 'it is not running' >&2; exit 3; }");
        if self.systemd {
            line(&mut script, "systemctl kill -s KILL natsd.service || exit 1");
        } else {
            line(&mut script, "kill -KILL \"$pid\" || exit 1");
        }
        line(&mut script, "i=0; while server_pid >/dev/null; do i=$((i+1))");
        line(
            &mut script,
            "  if [ $i -gt 500 ]; then echo \"pid $pid is still there\" >&2; exit 1; fi",
        );
        line(&mut script, "  if [ $i -gt 20 ]; then sleep 0.01; fi; done");
        let output = self.sh(&script, SCRIPT).await?;
        succeeded(output, "killing the server").map(drop)
    }

    /// Stops the server and takes everything away that [`install`](Self::install) put there.
    ///
    /// # Errors
    /// When something is left.
    pub async fn uninstall(&self) -> Result<(), DeployError> {
        let mut script = prelude(&self.layout);
        script.push_str(&self.stop_script(Ending::Stop));
        if self.systemd {
            line(&mut script, "systemctl disable --quiet natsd.service 2>/dev/null");
            line(&mut script, &format!("rm -rf {UNIT} {HOLD} /var/lib/natsd"));
            line(&mut script, &format!("rmdir \"$(dirname {HOLD})\" 2>/dev/null"));
            line(&mut script, "systemctl daemon-reload");
        }
        let Layout { binary, config, flags, pid, log, root } = &self.layout;
        let files = [binary, &self.fresh_binary(), &self.trial_config(), config, flags, pid, log];
        let files: Vec<String> = files.iter().map(|file| quote(file)).collect();
        // An upload that was cut off leaves a name of its own.
        let uploads = format!("{}.*.upload", quote(&self.fresh_binary()));
        line(&mut script, &format!("rm -f {} {uploads}", files.join(" ")));
        if *root {
            line(&mut script, "rmdir /etc/natsd 2>/dev/null");
            line(
                &mut script,
                "if id natsd >/dev/null 2>&1; then userdel natsd 2>/dev/null || deluser natsd; fi",
            );
        }
        line(&mut script, "exit 0");
        let output = self.sh(&script, SCRIPT + STOP).await?;
        succeeded(output, "removing the server").map(drop)
    }

    /// The last lines of the log, at most `lines`.
    ///
    /// # Errors
    /// When the machine cannot be asked.
    pub async fn log(&self, lines: usize) -> Result<Vec<String>, DeployError> {
        let script = self.log_script(lines, false);
        let output = succeeded(self.sh(&script, SCRIPT).await?, "reading the log")?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Hands over new lines of the log as they come, until `on_line` returns false.
    ///
    /// # Errors
    /// When the machine cannot be asked any longer.
    pub async fn follow_log(
        &self,
        lines: usize,
        on_line: &mut (dyn FnMut(&str) -> bool + Send),
    ) -> Result<(), DeployError> {
        let script = self.log_script(lines, true);
        let command = self.command(&script, Duration::from_secs(365 * 86400));
        Ok(self.remote.follow(&command, on_line).await?)
    }

    fn log_script(&self, lines: usize, follow: bool) -> String {
        if self.systemd {
            let follow = if follow { "-f" } else { "" };
            return format!(
                "exec journalctl -u natsd.service -o cat --no-pager -n {lines} {follow}\n"
            );
        }
        let log = quote(&self.layout.log);
        let follow = if follow { "-F" } else { "" };
        format!("[ -e {log} ] || exit 0\nexec tail -n {lines} {follow} {log} 2>/dev/null\n")
    }

    /// The last lines that say why it ended.
    pub(super) async fn last_log_lines(&self) -> Result<String, DeployError> {
        let lines = self.log(40).await?;
        let serious = lines.iter().rev().find(|line| {
            line.contains("[FTL]") || line.contains("[ERR]") || line.starts_with("nats")
        });
        let said = serious.or_else(|| lines.last()).map(|line| {
            let from = line.find("[FTL]").or_else(|| line.find("[ERR]")).unwrap_or(0);
            line.get(from..).unwrap_or(line).trim().to_owned()
        });
        Ok(said.unwrap_or_else(|| "its log is empty".into()))
    }

    /// The program that owns one of the machine's listening sockets: ` by nats-server (pid 7)`.
    pub async fn owner_of(&self, listener: &Listener) -> String {
        let script = format!(
            "for fd in /proc/[0-9]*/fd/*; do\n  if [ \"$(readlink \"$fd\" 2>/dev/null)\" = \
             'socket:[{}]' ]; then\n    p=${{fd#/proc/}}; p=${{p%%/*}}\n    \
             echo \" by $(cat /proc/$p/comm) (pid $p)\"; exit 0\n  fi\ndone\n",
            listener.inode
        );
        match self.sh(&script, SCRIPT).await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
            Err(_unknown) => String::new(),
        }
    }

    fn trial_config(&self) -> String {
        format!("{}.trial", self.layout.config)
    }

    fn fresh_binary(&self) -> String {
        format!("{}.new", self.layout.binary)
    }

    fn command(&self, script: &str, timeout: Duration) -> Command {
        Command { script: script.to_owned(), stdin: Vec::new(), root: self.layout.root, timeout }
    }

    async fn sh(&self, script: &str, timeout: Duration) -> Result<Output, DeployError> {
        Ok(self.remote.run(&self.command(script, timeout)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::local::LocalRemote;

    #[tokio::test]
    async fn a_reused_pid_is_not_our_server() {
        let home = tempfile::tempdir().unwrap();
        let service = Service::new(Arc::new(LocalRemote), Some(home.path().to_owned()));
        let own = std::process::id();
        std::fs::write(home.path().join("natsd.pid"), format!("{own} another-boot/1\n")).unwrap();
        assert_eq!(service.pid().await.unwrap(), None);
        // Were it taken for ours, this test would end here.
        service.stop(Ending::Stop).await.unwrap();
        assert!(service.kill().await.is_err());
    }

    #[tokio::test]
    async fn a_check_asks_the_uploaded_binary_first_and_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let service = Service::new(Arc::new(LocalRemote), Some(home.path().to_owned()));
        let program = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = home.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let wanted = Wanted { config: "a: 1\n".into(), flags: vec!["-p".into(), "1".into()] };
        program("natsd", "#!/bin/sh\n[ \"$1 $2 $4 $5\" = '-t -c -p 1' ] && grep -q 'a: 1' $3\n");
        service.check(&wanted).await.unwrap();
        program("natsd.new", "#!/bin/sh\necho \"$3:1: no\"; exit 1\n");
        let refused = service.check(&wanted).await.unwrap_err().to_string();
        let place = home.path().join("natsd.conf:1: no").display().to_string();
        assert!(refused.ends_with(&place), "{refused}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_config_that_cannot_be_written_is_not_blamed_on_its_text() {
        let home = tempfile::tempdir().unwrap();
        let service = Service::new(Arc::new(LocalRemote), Some(home.path().to_owned()));
        // Where the text goes before it takes its place.
        std::fs::create_dir(home.path().join("natsd.conf.trial.new")).unwrap();
        let wanted = Wanted { config: "a: 1\n".into(), flags: Vec::new() };
        let error = service.check(&wanted).await.unwrap_err();
        let DeployError::Step { attempt, said, .. } = error else { panic!("{error}") };
        assert_eq!(attempt, "writing the new configuration");
        assert!(said.contains("natsd.conf.trial.new"), "{said}");
    }

    /// A service whose server sleeps, in a folder of its own.
    fn sleeper() -> (tempfile::TempDir, Service) {
        let home = tempfile::tempdir().unwrap();
        let service = Service::new(Arc::new(LocalRemote), Some(home.path().to_owned()));
        std::fs::write(home.path().join("natsd"), "#!/bin/sh\nexec sleep 60\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.path().join("natsd"), mode).unwrap();
        std::fs::write(home.path().join("natsd.flags"), "").unwrap();
        (home, service)
    }

    #[tokio::test]
    async fn a_process_that_was_stopped_is_ended_at_once() {
        use rustix::process::{Pid, Signal, kill_process};
        let (_home, service) = sleeper();
        let pid = service.start().await.unwrap();
        let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        let begun = tokio::time::Instant::now();
        service.stop(Ending::Stop).await.unwrap();
        assert!(begun.elapsed() < STOP, "it had to be killed");
        assert_eq!(service.pid().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_detached_process_starts_once_and_can_be_killed() {
        let (_home, mut service) = sleeper();
        let pid = service.start().await.unwrap();
        assert_eq!(service.start().await.unwrap(), pid);
        assert_eq!(service.facts().await.unwrap().pid, Some(pid));
        service.kill().await.unwrap();
        assert_eq!(service.pid().await.unwrap(), None);
    }
}
