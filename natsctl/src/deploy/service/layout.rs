//! Where the server's files are on a machine, and what natsctl writes into them.

use std::path::Path;

use crate::deploy::Wanted;

/// The unit's file.
pub(super) const UNIT: &str = "/etc/systemd/system/natsd.service";
/// Switches automatic restart off while a node is held down; gone after a reboot.
pub(super) const HOLD: &str = "/run/systemd/system/natsd.service.d/natsctl-hold.conf";
/// What the flags are called in an environment file.
pub(super) const FLAGS_NAME: &str = "NATSD_FLAGS=";

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

/// The flags file: an environment file for systemd, bare words for a shell.
pub(super) fn stored_flags(wanted: &Wanted, systemd: bool) -> String {
    let name = if systemd { FLAGS_NAME } else { "" };
    format!("{name}{}\n", wanted.flags.join(" "))
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

    #[test]
    fn the_unit_is_hardened() {
        insta::assert_snapshot!(unit(&Layout::new(None), "NATS server node1 of cluster demo"));
    }
}
