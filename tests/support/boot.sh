#!/bin/bash
# boot.sh FOLDER SHARED PATH...: systemd as process 1, over a copy-on-write view of this host, in which SHARED and each
# PATH are the host's own. Run in new namespaces (mount, pid, cgroup, uts, ipc). It knows no units but those below
# FOLDER/units. What is mounted below SHARED, which must be a mount point, and nothing else is seen by the host.
set -euo pipefail
folder=$1 root=$1/root
while read -r _ _ _ _ target _; do
  [ "$target" = "$2" ] || mount --make-private "$target" 2>/dev/null || true
done < /proc/self/mountinfo
mkdir -p "$folder/upper" "$folder/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -o bind,ro /proc/sys "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --rbind /dev "$root/dev"  # loop devices come as they are asked for; the rest of it stays as it is
mount -o remount,bind,ro "$root/dev"
mount --bind "$folder/units" "$root/etc/systemd/system"
for path in "${@:2}"; do
  mount --bind "$path" "$root$path"
done
# `container` keeps it from what belongs to the host's own: devices, clocks, kernel settings.
exec env -i container=test NOTIFY_SOCKET="$NOTIFY_SOCKET" PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system chroot "$root" /lib/systemd/systemd
