"""What a Docker engine changes in the host's network: noted before it starts, put back after it has gone."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

BRIDGE = "docker0"
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True)
class HostNetwork:
    """The state that an engine of ours found."""

    had_bridge: bool
    forward_policy: str
    """Of iptables: an engine that switches forwarding on sets this to DROP."""
    ip_forward: str

    @classmethod
    def now(cls) -> "HostNetwork":
        """Look at the host as it is."""
        rules = _iptables_rules()
        policy = next((line.split()[1] for line in rules if line.startswith(":FORWARD ")), "ACCEPT")
        return cls(Path("/sys/class/net", BRIDGE).exists(), policy, IP_FORWARD.read_text().strip())

    def restore(self) -> None:
        """Take away bridge and rules, unless another engine had them before us."""
        if self.had_bridge:
            return
        if Path("/sys/class/net", BRIDGE).exists():
            subprocess.run(["ip", "link", "del", BRIDGE], check=False)
        _replace_rules([self._as_before(rule) for rule in _iptables_rules() if "docker" not in rule.lower()])
        IP_FORWARD.write_text(self.ip_forward)

    def _as_before(self, rule: str) -> str:
        return f":FORWARD {self.forward_policy} [0:0]" if rule.startswith(":FORWARD DROP") else rule


def _iptables_rules() -> list[str]:
    try:
        saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return saved.stdout.splitlines()


def _replace_rules(rules: list[str]) -> None:
    if rules:
        text = "\n".join([*rules, ""])
        subprocess.run(["iptables-restore"], input=text, text=True, check=False, capture_output=True)
