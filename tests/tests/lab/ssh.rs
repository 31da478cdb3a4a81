//! `Remote` over SSH against a real sshd.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blackbox::lab::Lab;
use natsctl::remote::host_key::{Found, Trust};
use natsctl::remote::ssh::{Login, Ssh};
use natsctl::remote::{Command, Output, Remote, RemoteError, keys};

struct Machine {
    lab: Lab,
    folder: tempfile::TempDir,
    address: IpAddr,
}

fn machine() -> Machine {
    let lab = Lab::enter();
    let folder = tempfile::tempdir().unwrap();
    keys::load_or_make(&folder.path().join("id"), "test").unwrap();
    let address = lab.guest("box", &folder.path().join("id.pub"));
    Machine { lab, folder, address }
}

impl Machine {
    fn login(&self, user: &str) -> Login {
        Login {
            host: self.address.to_string(),
            port: 22,
            user: user.into(),
            key: Arc::new(keys::load(&self.folder.path().join("id")).unwrap()),
            trust: Trust::Known {
                host: self.address.to_string(),
                port: 22,
                user_file: None,
                recorded: self.folder.path().join("known_hosts"),
                learn: true,
            },
            connect_timeout: Duration::from_secs(3),
        }
    }

    fn ssh(&self, user: &str) -> Ssh {
        Ssh::new(self.login(user))
    }
}

fn command(script: &str) -> Command {
    Command { script: script.into(), stdin: vec![], root: false, timeout: Duration::from_secs(10) }
}

async fn run(ssh: &Ssh, script: &str) -> Output {
    ssh.run(&command(script)).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_command_has_its_status_its_streams_and_its_input() {
    let machine = machine();
    let ssh = machine.ssh("ubuntu");
    let output = run(&ssh, "echo 'out it''s'; echo err >&2; exit 7").await;
    assert_eq!(
        (output.status, text(&output.stdout), text(&output.stderr)),
        (7, "out its\n", "err\n")
    );
    assert_eq!(run(&ssh, "kill -9 $$").await.status, 137);
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let echo = Command { stdin: large.clone(), ..command("cat") };
    assert_eq!(ssh.run(&echo).await.unwrap().stdout, large);
    let as_root = Command { root: true, ..command("id -u") };
    assert_eq!(text(&ssh.run(&as_root).await.unwrap().stdout), "0\n");
    assert_eq!(text(&machine.ssh("root").run(&as_root).await.unwrap().stdout), "0\n");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_command_that_takes_too_long_is_ended_on_the_machine_too() {
    let machine = machine();
    let ssh = machine.ssh("ubuntu");
    let slow = Command { timeout: Duration::from_secs(1), ..command("sleep 987654 & wait") };
    let error = ssh.run(&slow).await.unwrap_err();
    assert!(matches!(&error, RemoteError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("`sleep 987654 & wait` on ubuntu@"), "{error}");
    await_none(&ssh, "sleep 98765[4]").await;
}

async fn await_none(ssh: &Ssh, pattern: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let output = run(ssh, &format!("pgrep -f '{pattern}'")).await;
        if output.status == 1 {
            return;
        }
        assert!(Instant::now() < deadline, "still there: {}", text(&output.stdout));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_followed_command_ends_with_its_follower() {
    let machine = machine();
    let ssh = machine.ssh("ubuntu");
    let mut seen = Vec::new();
    let follow = command("seq 1 3; tail -f /dev/null");
    let mut three = |line: &str| {
        seen.push(line.to_owned());
        seen.len() < 3
    };
    ssh.follow(&follow, &mut three).await.unwrap();
    assert_eq!(seen, ["1", "2", "3"]);
    await_none(&ssh, "tail -[f] /dev/null").await;
    let mut last = String::new();
    ssh.follow(&command("seq 1 50000; printf end"), &mut |line: &str| {
        line.clone_into(&mut last);
        true
    })
    .await
    .unwrap();
    assert_eq!(last, "end");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn an_upload_takes_its_place_whole_and_with_its_mode() {
    let machine = machine();
    let ssh = machine.ssh("ubuntu");
    let file = machine.folder.path().join("binary");
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    std::fs::write(&file, &bytes).unwrap();
    let begin = Instant::now();
    ssh.upload(&file, "/usr/local/bin/it's", 0o755).await.unwrap();
    eprintln!("20 MB in {:?}", begin.elapsed());
    let look = run(&ssh, "stat -c '%a %s %U' \"/usr/local/bin/it's\"; ls /usr/local/bin").await;
    assert_eq!(text(&look.stdout), "755 20000000 root\nit's\n");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn an_upload_to_a_full_disk_leaves_the_old_file_and_says_so_in_the_guests_words() {
    let machine = machine();
    let ssh = machine.ssh("ubuntu");
    let file = machine.folder.path().join("binary");
    std::fs::write(&file, "old").unwrap();
    ssh.upload(&file, "/opt/natsd", 0o755).await.unwrap();
    let fill = "fallocate -l $(($(df --output=avail -k / | tail -1) - 1000))K /fill";
    let filled = ssh.run(&Command { root: true, ..command(fill) }).await.unwrap();
    assert_eq!(filled.status, 0, "{}", text(&filled.stderr));
    std::fs::write(&file, vec![1; 8_000_000]).unwrap();
    let error = ssh.upload(&file, "/opt/natsd", 0o755).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("No space left on device"), "{error}: {cause}");
    let look = run(&ssh, "ls /opt; cat /opt/natsd").await;
    assert_eq!(text(&look.stdout), "natsd\nold");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_host_key_is_recorded_once_and_a_changed_one_refused() {
    let machine = machine();
    let first = machine.ssh("ubuntu").connect().await.unwrap();
    assert!(matches!(first, Found::Recorded { .. }), "{first:?}");
    let ssh = machine.ssh("ubuntu");
    assert_eq!(ssh.connect().await.unwrap(), Found::Expected);
    let change = "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; \
                  systemctl restart ssh";
    ssh.run(&Command { root: true, ..command(change) }).await.unwrap();
    let error = machine.ssh("ubuntu").connect().await.unwrap_err();
    let RemoteError::HostKey { seen, expected, .. } = &error else { panic!("{error}") };
    assert!(seen.starts_with("SHA256:") && expected.starts_with("SHA256:") && seen != expected);
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_key_that_is_not_ours_is_refused_and_named() {
    let machine = machine();
    let other = keys::load_or_make(&machine.folder.path().join("other"), "other").unwrap();
    let fingerprint = keys::fingerprint(other.public_key());
    let login = Login { key: Arc::new(other), ..machine.login("ubuntu") };
    let error = Ssh::new(login).connect().await.unwrap_err();
    assert!(matches!(&error, RemoteError::Refused { key, .. } if *key == fingerprint), "{error}");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn a_machine_that_was_cut_off_costs_one_timeout_and_is_used_again_when_it_is_back() {
    let machine = machine();
    let ssh = machine.ssh("ubuntu");
    run(&ssh, "true").await;
    machine.lab.script(&["cut", "box"]);
    let begin = Instant::now();
    let error = machine.ssh("ubuntu").run(&command("true")).await.unwrap_err();
    assert!(matches!(error, RemoteError::Connect { .. } | RemoteError::Timeout { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    machine.lab.script(&["boot", "box"]);
    // The same object, whose connection is dead without ever having been told.
    assert_eq!(text(&run(&ssh, "echo again").await.stdout), "again\n");
}

#[tokio::test]
#[ignore = "needs root and the lab: tests/lab/run"]
async fn sudo_that_wants_a_password_is_told_as_such() {
    let machine = machine();
    let ssh = machine.ssh("ubuntu");
    let lock =
        Command { root: true, ..command("echo 'ubuntu ALL=(ALL) ALL' > /etc/sudoers.d/ubuntu") };
    assert_eq!(ssh.run(&lock).await.unwrap().status, 0);
    let error = ssh.run(&Command { root: true, ..command("id -u") }).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().starts_with("becoming root on ubuntu@"), "{error}");
    assert!(cause.contains("password"), "{cause}");
}
