#!/bin/bash
# Becomes systemd as PID 1 of namespaces that `unshare --pid --fork --mount --mount-proc --uts --ipc` has made.
# What it writes to is a copy or a small file system of its own: /etc, /run, /tmp, /opt, /var/lib, /var/log, its cgroups.
#
# Usage: boot.sh NAME PYTHON_PREFIX PYTHON SITE_PACKAGES REPOSITORY
set -euo pipefail
name=$1 prefix=$2 python=$3 packages=$4 repository=$5

mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/opt/notifier/bin /mnt/opt/notifier/lib/"$python"/site-packages /mnt/opt/notifier/src/notifier \
    /mnt/opt/python /mnt/lib /mnt/units
cp -a /etc /mnt/etc

# An installation in /opt/notifier, as the unit expects it, made of the interpreter and the packages that run the tests.
mount --bind "$prefix" /mnt/opt/python
mount --bind "$packages" /mnt/opt/notifier/lib/"$python"/site-packages
mount --bind "$repository/notifier" /mnt/opt/notifier/src/notifier
ln -s /opt/python/bin/"$python" /mnt/opt/notifier/bin/python
printf 'home = /opt/python/bin\n' >/mnt/opt/notifier/pyvenv.cfg
cat >/mnt/opt/notifier/bin/notifier <<'END'
#!/bin/sh
# The interpreter may have its own library where it came from, which the service does not see.
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH="/opt/notifier/src${PYTHONPATH:+:$PYTHONPATH}"
exec /opt/notifier/bin/python -m notifier "$@"
END
chmod 0755 /mnt/opt/notifier/bin/notifier

rm -rf /mnt/etc/systemd/system /mnt/etc/notifier
mkdir -p /mnt/etc/systemd/system
cp "$repository"/systemd/*.service /mnt/etc/systemd/system/
printf '[Unit]\nDescription=What the tests boot into\n' >/mnt/etc/systemd/system/tests.target

# Of what systemd does at boot, nothing but the journal: the rest would set up the kernel, which is everybody's.
for unit in /lib/systemd/system/{sysinit,local-fs,sockets,timers,basic}.target.wants/*; do
    case ${unit##*/} in
        systemd-journald*) ;;
        *) ln -sf /dev/null /mnt/etc/systemd/system/"${unit##*/}" ;;
    esac
done

mount --rbind /mnt/opt /opt
mount --bind /mnt/lib /var/lib
mount --bind /mnt/etc /etc
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount -t tmpfs -o mode=1777 tmpfs /tmp

# A part of the cgroups for itself: what systemd finds itself in is the root of its own.
while IFS=: read -r _ controllers path; do
    case $controllers in
        name=systemd) tree=/sys/fs/cgroup/systemd ;;
        '') tree=/sys/fs/cgroup; [ -e $tree/cgroup.procs ] || tree=/sys/fs/cgroup/unified ;;
        *) continue ;;
    esac
    [ -e "$tree/cgroup.procs" ] || continue
    mkdir -p "$tree$path/$name"
    echo 0 >"$tree$path/$name/cgroup.procs"
done <<<"$(cat /proc/self/cgroup)"

# systemd hands credentials over through mounts that it makes elsewhere.
mount --make-rshared /
exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=tests.target --log-target=journal --log-level=warning --show-status=no
