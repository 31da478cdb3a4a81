//! What the scripts that natsctl runs on machines are made of.

use super::layout::{HOLD, Layout};
use crate::remote::quote;

/// Shell functions every script may use.
pub(super) fn prelude(layout: &Layout) -> String {
    let Layout { binary, config, flags, pid, .. } = layout;
    let mut text = format!(
        "binary={}; config={}; flags={}; pidfile={}\n",
        quote(binary),
        quote(config),
        quote(flags),
        quote(pid)
    );
    let systemd = if layout.root { "[ -d /run/systemd/system ]" } else { "false" };
    line(&mut text, &format!("systemd() {{ {systemd}; }}"));
    text.push_str(STAMP);
    text.push_str(PRELUDE);
    text
}

/// `stamp PID` prints what tells this process from any other that ever had its pid; fails when
/// there is none, or only its remains (a zombie).
pub(super) const STAMP: &str = r#"stamp() {
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
/// input to a file in one step, or fails and leaves nothing. `sum FILE` prints its SHA-256.
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
  mkdir -p "$(dirname "$1")" && (umask 077; cat >"$1.new") &&
    { [ -z "$2" ] || { chown "$2" "$1.new" && chmod 640 "$1.new"; }; } &&
    mv -f "$1.new" "$1" || { rm -f "$1.new"; return 1; }
}
sum() {
  if command -v sha256sum >/dev/null; then s=$(sha256sum <"$1"); else s=$(shasum -a 256 <"$1"); fi
  echo "${s%% *}"
}
"#;

/// Makes the user `natsd`, unless there is one.
pub(super) const MAKE_USER: &str = r#"if ! id natsd >/dev/null 2>&1; then
  useradd --system --no-create-home --home-dir /var/lib/natsd --shell /usr/sbin/nologin natsd \
    2>/dev/null || adduser -S -D -H -h /var/lib/natsd -s /sbin/nologin natsd
  getent group natsd >/dev/null 2>&1 || addgroup -S natsd 2>/dev/null || :
fi
"#;

/// Switches automatic restart off.
pub(super) fn hold_script() -> String {
    format!(
        "mkdir -p \"$(dirname {HOLD})\"\nprintf '[Service]\\nRestart=no\\n' >{HOLD}\n\
         systemctl daemon-reload\n"
    )
}

/// Adds a line to a script.
pub(super) fn line(script: &mut String, text: &str) {
    script.push_str(text);
    script.push('\n');
}
