"""Lab guests: systemd-nspawn containers on the lab's own bridge, one folder each.

Runs only inside the lab (see `lab`): its network, mount and process namespaces end with it, so
nothing here needs to be cleaned up for the sake of the host. The only thing that outlives the
lab is LAB_DIR: the Debian root, and cgroup folders, which `lab down` removes.

A guest's folder:  guest.json (what it is)   disk/ (tmpfs of the wanted size: overlay's upper and
work)   root/ (the overlay: what the guest sees as /)   console.log   pid (of systemd-nspawn)
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

LAB_DIR = Path(os.environ.get("LAB_DIR", "/var/tmp/natsctl-lab"))
BRIDGE = "br0"
SUBNET = "10.97.0"
ROOT = LAB_DIR / "root"
GUESTS = LAB_DIR / "guests"
CGROUPS = [Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
CGROUP_PREFIX = "natsctl-lab-"
MAKING_SECONDS = 30


class Guest:
    """One guest, alive or not; everything is read from its folder and from /proc."""

    def __init__(self, name):
        self.name = name
        self.dir = GUESTS / name

    # --- what it is ---

    @property
    def exists(self):
        return (self.dir / "guest.json").exists()

    @property
    def facts(self):
        return json.loads((self.dir / "guest.json").read_text())

    def save(self, facts):
        temporary = self.dir / f"guest.json.{os.getpid()}"
        temporary.write_text(json.dumps(facts, indent=1))
        temporary.rename(self.dir / "guest.json")

    @property
    def address(self):
        return self.facts["address"]

    @property
    def link(self):
        return ("vb-" + self.name)[:15] if len(self.name) <= 12 else self._long_link()

    def _long_link(self):
        # systemd shortens long names with a hash; alias knows the whole one.
        for entry in Path("/sys/class/net").iterdir():
            alias = entry / "ifalias"
            if alias.exists() and alias.read_text().strip() == "vb-" + self.name:
                return entry.name
        return "vb-" + self.name[:12]

    # --- life ---

    def make(self, disk_bytes, user_data=None, vendor_data=None, facts=None):
        """Prepares a disk; the guest is off. user_data None = no cloud-init at all."""
        self.dir.mkdir(parents=True)
        for part in ("disk", "root"):
            (self.dir / part).mkdir()
        self.save({"name": self.name, "address": _free_address(), "made": time.time(), **(facts or {})})
        mount("tmpfs", "tmpfs", self.dir / "disk", f"size={disk_bytes},mode=755")
        for part in ("upper", "work"):
            (self.dir / "disk" / part).mkdir()
        mount("overlay", "overlay", self.dir / "root",
              f"lowerdir={ROOT},upperdir={self.dir}/disk/upper,workdir={self.dir}/disk/work")
        self._personalise(user_data, vendor_data)

    def _personalise(self, user_data, vendor_data):
        root = self.dir / "root"
        (root / "etc/hostname").write_text(self.name + "\n")
        (root / "etc/systemd/network/10-lab.network").write_text(
            f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\nGateway={SUBNET}.1\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n")
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        if user_data is None:
            (root / "etc/cloud/cloud-init.disabled").touch()
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            root / "etc/ssh/ssh_host_ed25519_key"], check=True)
            return
        seed = root / "var/lib/cloud/seed/nocloud"
        seed.mkdir(parents=True)
        (seed / "user-data").write_text(user_data)
        (seed / "vendor-data").write_text(vendor_data or "")
        (seed / "meta-data").write_text(f"instance-id: {self.name}\nlocal-hostname: {self.name}\n")

    @property
    def being_made(self):
        """Its first boot is still to come; a maker that died does not count for ever."""
        facts = self.facts
        return "booted" not in facts and time.time() - facts["made"] < MAKING_SECONDS

    def wait_until_made(self):
        while self.being_made:
            time.sleep(0.02)

    def start(self):
        """Boots it; returns at once. Two that boot from one disk would share its address, too."""
        if self.alive:
            raise RuntimeError(f"{self.name} is on already")
        console = open(self.dir / "console.log", "ab")
        groups = [group for group in map(self._cgroup, CGROUPS) if group]

        def enter_cgroup():
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        child = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe",
             "-D", self.dir / "root", f"--network-bridge={BRIDGE}", f"--machine={self.name}"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            preexec_fn=enter_cgroup, start_new_session=True)
        (self.dir / "pid").write_text(str(child.pid))
        self.remember(booted=time.time(), seen_running=False)

    def remember(self, **changes):
        self.save({**self.facts, **changes})

    def _cgroup(self, hierarchy):
        """A control group of its own, else two guests' systemds would manage the same one."""
        if not (hierarchy / "cgroup.procs").exists():
            return None
        group = hierarchy / (CGROUP_PREFIX + self.name)
        group.mkdir(exist_ok=True)
        return group

    @property
    def nspawn_pid(self):
        try:
            pid = int((self.dir / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (OSError, ValueError, IndexError):
            return None
        return pid if b"systemd-nspawn" in command and state != "Z" else None

    @property
    def init_pid(self):
        pid = self.nspawn_pid
        if pid is None:
            return None
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            if children:
                return int(children[0])
        return None

    @property
    def alive(self):
        return self.nspawn_pid is not None

    def answers_ssh(self, seconds=0.3):
        try:
            with socket.create_connection((self.address, 22), timeout=seconds) as connection:
                return connection.recv(4).startswith(b"SSH-")
        except OSError:
            return False

    def wait_for_ssh(self, deadline):
        while time.monotonic() < deadline:
            if not self.alive:
                return False
            if self.answers_ssh():
                return True
            time.sleep(0.05)
        return False

    @property
    def initialised(self):
        """cloud-init came to its end in this boot, well or not: all that Multipass waits for."""
        try:
            finished = (self.dir / "root/var/lib/cloud/instances" / self.name / "boot-finished").stat().st_mtime
        except OSError:
            return False
        return finished > self.facts.get("booted", 0) - 1

    def power_cut(self):
        """No FIN, no RST: the cable is pulled first, then everything inside is gone at once."""
        if not self.alive:
            return
        self.set_link(False)
        init = self.init_pid
        if init:
            os.kill(init, signal.SIGKILL)
        self._wait_until_gone(5)

    def shut_down(self, seconds):
        """Asks the guest's systemd to power off, as the ACPI button does."""
        init = self.init_pid
        if init:
            os.kill(init, signal.SIGRTMIN + 4)
        return self._wait_until_gone(seconds)

    def _wait_until_gone(self, seconds):
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.alive:
            return False
        for hierarchy in CGROUPS:
            remove_cgroup(hierarchy / (CGROUP_PREFIX + self.name))
        return True

    def set_link(self, up):
        subprocess.run(["ip", "link", "set", self.link, "up" if up else "down"], check=True,
                       stderr=subprocess.DEVNULL)

    def remove(self):
        self.power_cut()
        for part in ("root", "disk"):
            subprocess.run(["umount", "--quiet", "--lazy", self.dir / part], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


def all_guests():
    """Every guest that exists, in no order that a caller may rely on."""
    if not GUESTS.exists():
        return []
    return [Guest(entry.name) for entry in GUESTS.iterdir() if (entry / "guest.json").exists()]


def mount(kind, source, target, options):
    subprocess.run(["mount", "-t", kind, "-o", options, source, target], check=True)


def remove_cgroup(group):
    """Removes a control group and those below it; only empty ones can go."""
    if not group.is_dir():
        return
    for path, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            pass


class Lock:
    """One change of the list of guests at a time, as the daemon's single thread does it."""

    def __enter__(self):
        GUESTS.mkdir(parents=True, exist_ok=True)
        self.file = open(LAB_DIR / "lock", "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_):
        self.file.close()


def _free_address():
    """The lowest address no guest has; .1 is the bridge."""
    taken = {guest.facts["address"] for guest in all_guests()}
    for last in range(11, 250):
        if f"{SUBNET}.{last}" not in taken:
            return f"{SUBNET}.{last}"
    raise RuntimeError("the lab is full")
