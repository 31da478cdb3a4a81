//! The server's process on one machine: look, install, start, stop, kill, logs.
//!
//! Where systemd runs the machine it is `natsd.service` under its own user; elsewhere a detached
//! process in a session of its own. A detached process is known by its pid AND the time it was
//! started, so a pid that was given to somebody else is never touched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ports::Listener;
use super::{Binary, DeployError, Wanted, last_words, succeeded};
use crate::remote::{Command, Output, Remote, quote};

/// How long a small script may take.
const SCRIPT: Duration = Duration::from_secs(20);
/// How long a stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(15);
/// How long lame duck mode may take: two minutes by default, and the ten seconds before it.
const LAME_DUCK: Duration = Duration::from_secs(180);

/// Where the server's files are on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The binary.
    pub binary: String,
    /// Its config file.
    pub config: String,
    /// Its flags, one line.
    pub flags: String,
    /// `pid stamp`, for a detached process.
    pub pid: String,
    /// Its log, for a detached process.
    pub log: String,
    /// Whether everything is done as root, for the user `natsd`.
    pub root: bool,
}

impl Layout {
    /// In a folder that is the node's alone; without one, at the usual places of a machine that
    /// is ours as a whole.
    #[must_use]
    pub fn new(home: Option<&Path>) -> Self {
        match home {
            Some(home) => {
                let file = |name: &str| home.join(name).to_string_lossy().into_owned();
                Self {
                    binary: file("natsd"),
                    config: file("natsd.conf"),
                    flags: file("natsd.flags"),
                    pid: file("natsd.pid"),
                    log: file("natsd.log"),
                    root: false,
                }
            }
            None => Self {
                binary: "/usr/local/bin/natsd".into(),
                config: "/etc/natsd/natsd.conf".into(),
                flags: "/etc/natsd/natsd.env".into(),
                pid: "/run/natsd.pid".into(),
                log: "/var/log/natsd.log".into(),
                root: true,
            },
        }
    }
}

const UNIT: &str = "/etc/systemd/system/natsd.service";
/// Switches automatic restart off while a node is held down; gone after a reboot.
const HOLD: &str = "/run/systemd/system/natsd.service.d/natsctl-hold.conf";
const FLAGS_NAME: &str = "NATSD_FLAGS=";

/// What is on a machine now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -m`.
    pub arch: String,
    /// Whether systemd runs the machine.
    pub systemd: bool,
    /// Free space where the binary goes.
    pub free_kib: Option<u64>,
    /// SHA-256 of the binary that is installed.
    pub binary: Option<String>,
    /// The config file that is installed.
    pub config: Option<String>,
    /// The flags that are stored.
    pub flags: Option<String>,
    /// The unit that is installed.
    pub unit: Option<String>,
    /// Our server's process.
    pub pid: Option<u32>,
    /// Listening sockets of the whole machine.
    pub listeners: Vec<Listener>,
}

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
        let script = format!("{}{}", self.prelude(), FACTS);
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
        let output = self.sh(&format!("{}server_pid || :\n", self.prelude()), SCRIPT).await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
    }

    /// Uploads the binary beside the installed one, checks the copy and lets it say its
    /// version. Returns what it said.
    ///
    /// # Errors
    /// The installed one is untouched.
    pub async fn upload(&self, binary: &Binary) -> Result<String, DeployError> {
        let fresh = self.fresh_binary();
        self.remote.upload(&binary.path, &fresh, 0o755).await?;
        let script = format!(
            "{}sum {fresh} || exit 9\n{fresh} --version 2>&1\n",
            self.prelude(),
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
        let mut script = self.prelude();
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
        let mut script = self.prelude();
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
        let mut script = self.prelude();
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
        // 20 looks a second; then it is killed.
        let looks = patience.as_secs() * 20;
        format!(
            "pid=$(server_pid || :)\nif [ -n \"$pid\" ]; then\n  kill -{signal} \"$pid\" || :\n  \
             i=0\n  while server_pid >/dev/null; do\n    i=$((i+1))\n    \
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
        let mut script = self.prelude();
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
        let mut script = self.prelude();
        script.push_str(&self.stop_script(Ending::Stop));
        if self.systemd {
            line(&mut script, "systemctl disable --quiet natsd.service 2>/dev/null");
            line(&mut script, &format!("rm -rf {UNIT} {HOLD} /var/lib/natsd"));
            line(&mut script, "systemctl daemon-reload");
        }
        let Layout { binary, config, flags, pid, log, root } = &self.layout;
        let files = [binary, &self.fresh_binary(), config, flags, pid, log];
        let files: Vec<String> = files.iter().map(|file| quote(file)).collect();
        line(&mut script, &format!("rm -f {}", files.join(" ")));
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

    fn fresh_binary(&self) -> String {
        format!("{}.new", self.layout.binary)
    }

    fn command(&self, script: &str, timeout: Duration) -> Command {
        Command { script: script.to_owned(), stdin: Vec::new(), root: self.layout.root, timeout }
    }

    async fn sh(&self, script: &str, timeout: Duration) -> Result<Output, DeployError> {
        Ok(self.remote.run(&self.command(script, timeout)).await?)
    }

    /// Shell functions every script may use.
    fn prelude(&self) -> String {
        let Layout { binary, config, flags, pid, .. } = &self.layout;
        let mut text = format!(
            "binary={}; config={}; flags={}; pidfile={}\n",
            quote(binary),
            quote(config),
            quote(flags),
            quote(pid)
        );
        let systemd = if self.layout.root { "[ -d /run/systemd/system ]" } else { "false" };
        line(&mut text, &format!("systemd() {{ {systemd}; }}"));
        text.push_str(STAMP);
        text.push_str(PRELUDE);
        text
    }
}

/// `stamp PID` prints what tells this process from any other that ever had its pid; fails when
/// there is none, or only its remains (a zombie).
const STAMP: &str = r#"stamp() {
  if [ -r "/proc/$1/stat" ]; then
    read -r line <"/proc/$1/stat" 2>/dev/null || return 1
    read -r boot </proc/sys/kernel/random/boot_id
    set -- ${line##*) }
    case $1 in Z|X) return 1;; esac
    shift 19
    echo "$boot/$1"
  elif [ -d /proc/self ]; then
    return 1
  else
    set -- $(LC_ALL=C ps -o lstart= -p "$1")
    [ -n "$*" ] && echo "$*" | tr ' ' '-'
  fi
}
"#;

/// `server_pid` prints the pid of our running server, or fails. `place FILE OWNER` writes its
/// input to a file in one step. `sum FILE` prints its SHA-256.
const PRELUDE: &str = r#"server_pid() {
  if systemd; then
    p=$(systemctl show -p MainPID --value natsd.service 2>/dev/null)
    [ "${p:-0}" != 0 ] && stamp "$p" >/dev/null && echo "$p"
    return
  fi
  [ -f "$pidfile" ] || return 1
  read -r p was <"$pidfile" || return 1
  [ -n "$was" ] && [ "$(stamp "$p")" = "$was" ] && echo "$p"
}
place() {
  mkdir -p "$(dirname "$1")"
  (umask 077; cat >"$1.new")
  if [ -n "$2" ]; then chown "$2" "$1.new"; chmod 640 "$1.new"; fi
  mv -f "$1.new" "$1"
}
sum() {
  if command -v sha256sum >/dev/null; then s=$(sha256sum <"$1"); else s=$(shasum -a 256 <"$1"); fi
  echo "${s%% *}"
}
"#;

/// Everything natsctl wants to know, in one go.
const FACTS: &str = r#"
echo "@@ arch"; uname -m
if systemd; then echo "@@ systemd"; fi
d=$(dirname "$binary"); while [ ! -d "$d" ]; do d=$(dirname "$d"); done
echo "@@ free"; df -Pk "$d" | tail -n 1
if [ -f "$binary" ]; then echo "@@ binary"; sum "$binary"; fi
if [ -f "$config" ]; then echo "@@ config"; cat "$config"; fi
if [ -f "$flags" ]; then echo "@@ flags"; cat "$flags"; fi
if systemd && [ -f /etc/systemd/system/natsd.service ]; then
  echo "@@ unit"; cat /etc/systemd/system/natsd.service
fi
echo "@@ pid"; server_pid
echo "@@ listeners"
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep ' 0A '
exit 0
"#;

const MAKE_USER: &str = r#"if ! id natsd >/dev/null 2>&1; then
  useradd --system --no-create-home --home-dir /var/lib/natsd --shell /usr/sbin/nologin natsd \
    2>/dev/null || adduser -S -D -H -h /var/lib/natsd -s /sbin/nologin natsd
  getent group natsd >/dev/null 2>&1 || addgroup -S natsd 2>/dev/null || :
fi
"#;

fn hold_script() -> String {
    format!(
        "mkdir -p \"$(dirname {HOLD})\"\nprintf '[Service]\\nRestart=no\\n' >{HOLD}\n\
         systemctl daemon-reload\n"
    )
}

fn line(script: &mut String, text: &str) {
    script.push_str(text);
    script.push('\n');
}

/// The flags file: an environment file for systemd, bare words for a shell.
fn stored_flags(wanted: &Wanted, systemd: bool) -> String {
    let name = if systemd { FLAGS_NAME } else { "" };
    format!("{name}{}\n", wanted.flags.join(" "))
}

impl Facts {
    fn parse(text: &str) -> Self {
        let mut sections: HashMap<&str, String> = HashMap::new();
        let mut section = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("@@ ") {
                section = name;
                sections.entry(name).or_default();
            } else if let Some(text) = sections.get_mut(section) {
                text.push_str(line);
                text.push('\n');
            }
        }
        let word = |name: &str| {
            let word = sections.get(name)?.trim();
            (!word.is_empty()).then(|| word.to_owned())
        };
        let listeners = sections.get("listeners");
        Self {
            arch: word("arch").unwrap_or_default(),
            systemd: sections.contains_key("systemd"),
            free_kib: word("free").and_then(|df| df.split_whitespace().nth(3)?.parse().ok()),
            binary: word("binary"),
            config: sections.get("config").cloned(),
            flags: word("flags")
                .map(|flags| flags.strip_prefix(FLAGS_NAME).unwrap_or(&flags).to_owned()),
            unit: sections.get("unit").cloned(),
            pid: word("pid").and_then(|pid| pid.parse().ok()),
            listeners: listeners
                .into_iter()
                .flat_map(|text| text.lines())
                .filter_map(Listener::parse)
                .collect(),
        }
    }

    /// Whether flags and config are stored exactly so.
    #[must_use]
    pub fn is_stored(&self, wanted: &Wanted) -> bool {
        self.config.as_deref() == Some(&wanted.config)
            && self.flags.as_deref() == Some(&wanted.flags.join(" "))
    }
}

/// The unit under which the server runs where there is systemd.
#[must_use]
pub fn unit(layout: &Layout, description: &str) -> String {
    format!(
        "\
# Written by natsctl; `natsctl up` writes it again.
[Unit]
Description={description}
Documentation=https://docs.nats.io
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
User=natsd
Group=natsd
EnvironmentFile={flags}
ExecStart={binary} -c {config} $NATSD_FLAGS
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
TimeoutStopSec=10
LimitNOFILE=800000
StateDirectory=natsd
WorkingDirectory=/var/lib/natsd
UMask=0077
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
",
        flags = layout.flags,
        binary = layout.binary,
        config = layout.config,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::local::LocalRemote;

    #[test]
    fn facts_are_read_by_section() {
        let facts = Facts::parse(
            "@@ arch\nx86_64\n@@ systemd\n@@ free\n/dev/sda1 100 40 60 40% /\n@@ binary\nabc\n\
             @@ config\na: 1\n\nb: 2\n@@ flags\nNATSD_FLAGS=-D -p 4222\n@@ pid\n@@ listeners\n",
        );
        assert_eq!(facts.arch, "x86_64");
        assert!(facts.systemd);
        assert_eq!(facts.free_kib, Some(60));
        assert_eq!(facts.config.as_deref(), Some("a: 1\n\nb: 2\n"));
        assert_eq!(facts.flags.as_deref(), Some("-D -p 4222"));
        assert_eq!(facts.pid, None);
        assert_eq!(facts.unit, None);
    }

    #[test]
    fn the_unit_is_hardened() {
        insta::assert_snapshot!(unit(&Layout::new(None), "NATS server node1 of cluster demo"));
    }

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
    async fn a_detached_process_starts_once_and_can_be_killed() {
        let home = tempfile::tempdir().unwrap();
        let mut service = Service::new(Arc::new(LocalRemote), Some(home.path().to_owned()));
        std::fs::write(home.path().join("natsd"), "#!/bin/sh\nexec sleep 60\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.path().join("natsd"), mode).unwrap();
        std::fs::write(home.path().join("natsd.flags"), "").unwrap();
        let pid = service.start().await.unwrap();
        assert_eq!(service.start().await.unwrap(), pid);
        assert_eq!(service.facts().await.unwrap().pid, Some(pid));
        service.kill().await.unwrap();
        assert_eq!(service.pid().await.unwrap(), None);
    }
}
