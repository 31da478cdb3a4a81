//! What is on a machine.

use std::collections::HashMap;

use super::layout::FLAGS_NAME;
use crate::deploy::Wanted;
use crate::deploy::ports::Listener;

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
    /// Whether an uploaded binary waits beside it: what an earlier `up` left.
    pub uploaded: bool,
    /// The config file that is installed.
    pub config: Option<String>,
    /// The flags that are stored.
    pub flags: Option<String>,
    /// The unit that is installed.
    pub unit: Option<String>,
    /// Whether the unit starts with the machine.
    pub enabled: bool,
    /// Our server's process.
    pub pid: Option<u32>,
    /// Listening sockets of the whole machine.
    pub listeners: Vec<Listener>,
}

/// Everything natsctl wants to know, in one go.
pub(super) const FACTS: &str = r#"
echo "@@ arch"; uname -m
if systemd; then echo "@@ systemd"; fi
d=$(dirname "$binary"); while [ ! -d "$d" ]; do d=$(dirname "$d"); done
echo "@@ free"; df -Pk "$d" | tail -n 1
if [ -f "$binary" ]; then echo "@@ binary"; sum "$binary"; fi
if [ -f "$binary.new" ]; then echo "@@ uploaded"; fi
if [ -f "$config" ]; then echo "@@ config"; cat "$config"; fi
if [ -f "$flags" ]; then echo "@@ flags"; cat "$flags"; fi
if systemd && [ -f /etc/systemd/system/natsd.service ]; then
  echo "@@ unit"; cat /etc/systemd/system/natsd.service
  if systemctl is-enabled --quiet natsd.service 2>/dev/null; then echo "@@ enabled"; fi
fi
echo "@@ pid"; server_pid
echo "@@ listeners"
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep ' 0A '
exit 0
"#;

impl Facts {
    /// Reads what the script [`FACTS`] printed.
    pub(super) fn parse(text: &str) -> Self {
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
            uploaded: sections.contains_key("uploaded"),
            config: sections.get("config").cloned(),
            flags: word("flags")
                .map(|flags| flags.strip_prefix(FLAGS_NAME).unwrap_or(&flags).to_owned()),
            unit: sections.get("unit").cloned(),
            enabled: sections.contains_key("enabled"),
            pid: word("pid").and_then(|pid| pid.parse().ok()),
            listeners: listeners
                .into_iter()
                .flat_map(|text| text.lines())
                .filter_map(Listener::parse)
                .collect(),
        }
    }

    /// Whether a server of this cluster is installed, as its config says.
    #[must_use]
    pub fn is_of(&self, cluster: &str) -> bool {
        let line = self.config.as_deref().and_then(|config| config.lines().next());
        line.is_some_and(|line| {
            line.contains(&format!(" of cluster {cluster}, written by natsctl"))
        })
    }

    /// Whether its unit was there and is kept from starting with the machine.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.unit.is_some() && !self.enabled
    }

    /// Whether flags and config are stored exactly so.
    #[must_use]
    pub fn is_stored(&self, wanted: &Wanted) -> bool {
        self.config.as_deref() == Some(&wanted.config)
            && self.flags.as_deref() == Some(&wanted.flags.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_of_the_cluster_that_its_config_names() {
        let config = "# n of cluster demo, written by natsctl: `natsctl up` overwrites it.\n";
        let facts = Facts { config: Some(config.into()), ..Facts::default() };
        assert!(facts.is_of("demo"));
        assert!(!facts.is_of("dem"));
        assert!(!Facts::default().is_of("demo"));
    }

    #[test]
    fn facts_are_read_by_section() {
        let facts = Facts::parse(
            "@@ arch\nx86_64\n@@ systemd\n@@ free\n/dev/sda1 100 40 60 40% /\n@@ binary\nabc\n\
             @@ config\na: 1\n\nb: 2\n@@ flags\nNATSD_FLAGS=-D -p 4222\n@@ pid\n@@ listeners\n",
        );
        assert_eq!(facts.arch, "x86_64");
        assert!(facts.systemd);
        assert_eq!(facts.free_kib, Some(60));
        assert!(!facts.uploaded);
        assert_eq!(facts.config.as_deref(), Some("a: 1\n\nb: 2\n"));
        assert_eq!(facts.flags.as_deref(), Some("-D -p 4222"));
        assert_eq!(facts.pid, None);
        assert_eq!(facts.unit, None);
        assert!(!facts.is_disabled(), "what is not there");
    }

    #[test]
    fn a_unit_is_disabled_unless_systemd_says_that_it_is_enabled() {
        let text = "@@ systemd\n@@ unit\n[Unit]\n";
        assert!(Facts::parse(text).is_disabled());
        assert!(!Facts::parse(&format!("{text}@@ enabled\n@@ pid\n7\n")).is_disabled());
    }
}
