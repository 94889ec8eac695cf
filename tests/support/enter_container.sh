#!/bin/bash
# Becomes a program as it runs in a container: a read-only file system, a user of its own without any privilege, and
# nothing to write to but the state. For the namespaces that `unshare --mount` has made, as root.
#
# Usage: enter_container.sh PYTHON_PREFIX PYTHON SITE_PACKAGES REPOSITORY CONFIGURATION STATE UID GID COMMAND...
# CONFIGURATION is what is at /etc/notifier, STATE what is at /var/lib/notifier; the environment is handed on.
set -euo pipefail
prefix=$1 python=$2 packages=$3 repository=$4 configuration=$5 state=$6 uid=$7 gid=$8
shift 8

mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/opt/notifier/bin /mnt/opt/notifier/lib/"$python"/site-packages /mnt/opt/notifier/src/notifier \
    /mnt/opt/python /mnt/lib/notifier /mnt/empty
cp -a /etc /mnt/etc
rm -rf /mnt/etc/notifier
mkdir /mnt/etc/notifier

# An installation in /opt/notifier, as the image has it, made of the interpreter and the packages that run the tests.
mount --bind "$prefix" /mnt/opt/python
mount --bind "$packages" /mnt/opt/notifier/lib/"$python"/site-packages
mount --bind "$repository/notifier" /mnt/opt/notifier/src/notifier
ln -s /opt/python/bin/"$python" /mnt/opt/notifier/bin/python
printf 'home = /opt/python/bin\n' >/mnt/opt/notifier/pyvenv.cfg
cat >/mnt/opt/notifier/bin/notifier <<'END'
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/notifier/src
exec /opt/notifier/bin/python -m notifier "$@"
END
chmod 0755 /mnt/opt/notifier/bin/notifier

mount --bind "$configuration" /mnt/etc/notifier
mount --bind "$state" /mnt/lib/notifier
mount --rbind /mnt/opt /opt
mount --rbind /mnt/etc /etc
mount --rbind /mnt/lib /var/lib
for folder in /tmp /var/tmp /run /root /home; do
    mount --bind /mnt/empty "$folder"
done
# Last, and without what the kernel provides: everything but the state.
while read -r _ _ _ _ place _; do
    case $place in
        /proc* | /sys* | /dev* | /var/lib/notifier) ;;
        *) mount -o remount,bind,ro "$place" 2>/dev/null || true ;;
    esac
done </proc/self/mountinfo
cd /
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups --inh-caps=-all --ambient-caps=-all --bounding-set=-all \
    --no-new-privs "$@"
