"""Decides which files of a configuration are trusted: files of this user or of root to which no other user can write.

The addresses in a configuration decide where tokens are sent. A user who can change the file could enter an address of
their own. ssh and git refuse such files, too.
"""

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final

from notifier.privileges import owner_of

_ROOT: Final = 0
_PASSED_CREDENTIALS: Final = Path("/run/credentials")
"""The folder of root in which systemd mounts a folder of credentials for each service (systemd.exec(5))."""


def why_untrusted(path: Path) -> str | None:
    """Return why a file or folder of the configuration is not trusted.

    Returns None if it is trusted or does not exist. A trusted file and its folder belong to this process's user or to
    root, and no other user may write to them. Links are followed. Pipes and devices are always trusted, because the
    parent process has opened them.
    """
    real = Path(os.path.realpath(path))
    try:
        found, folder = real.stat(), real.parent.stat()
    except OSError:
        # The code that reads the file reports this problem.
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return None
    if _is_passed_by_systemd(real if stat.S_ISDIR(found.st_mode) else real.parent):
        return None
    return _why_untrusted_file(found, path) or _why_untrusted_folder(folder, real.parent)


def why_untrusted_credentials_folder(folder: Path) -> str | None:
    """Return why a folder of credential files is not trusted; None if it is trusted or does not exist.

    If other users can write to the folder, it must be sticky, like /tmp. In a sticky folder, a user can create files,
    but cannot remove or replace files of other users. `why_untrusted_credential_file` rejects files that other users
    created. Kubernetes needs this rule: it mounts a secret as a tmpfs of root with the mode 1777
    (https://kubernetes.io/docs/concepts/storage/volumes/#secret).
    """
    try:
        is_sticky = stat.S_ISDIR((found := folder.stat()).st_mode) and found.st_mode & stat.S_ISVTX
    except OSError:
        return None
    if not (is_sticky and found.st_uid in (os.geteuid(), _ROOT)):
        return why_untrusted(folder)
    real = Path(os.path.realpath(folder))
    return _why_untrusted_folder(real.parent.stat(), real.parent)


def why_untrusted_credential_file(file: Path) -> str | None:
    """Return why a file in a folder of credentials is not trusted.

    Returns None if the file is trusted or does not exist. In a folder that other users can write to, these users
    could create links to any file of root. Therefore two more rules hold in such a folder: a symbolic link itself must
    belong to this user or to root, and a file must have only one hard link.
    """
    try:
        named, folder = file.lstat(), file.parent.stat()
    except OSError:
        return None
    if _is_writable_by_others(folder):
        if named.st_uid not in (os.geteuid(), _ROOT):
            kind = "a link" if stat.S_ISLNK(named.st_mode) else "a file"
            return f"is {kind} of {owner_of(named)} in a folder that every user can write to: remove it"
        if stat.S_ISREG(named.st_mode) and named.st_nlink > 1:
            return "has a second name, and is in a folder that every user can write to: copy it and remove the original"
    return why_untrusted(file)


def _is_passed_by_systemd(folder: Path) -> bool:
    """Return whether systemd has mounted this folder to pass credentials to a service.

    The path of the folder must not contain links. The folder and its files may belong to the service's user. Even that
    user cannot change them, because the mounted file system is read-only.
    """
    return folder.parent == _PASSED_CREDENTIALS and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _why_untrusted_file(found: os.stat_result, path: Path) -> str | None:
    if found.st_uid not in (os.geteuid(), _ROOT):
        return (
            f"belongs to {owner_of(found)}, not to you or root: change its owner (chown), or run this as"
            f" {owner_of(found)}"
        )
    if _is_writable_by_others(found):
        return f"can be written by other users (mode {_mode(found)}): remove that permission (chmod go-w {path})"
    return None


def _why_untrusted_folder(found: os.stat_result, path: Path) -> str | None:
    # In a sticky folder such as /tmp, users can neither remove nor rename files of others.
    if found.st_uid in (os.geteuid(), _ROOT) and (found.st_mode & stat.S_ISVTX or not _is_writable_by_others(found)):
        return None
    if found.st_uid not in (os.geteuid(), _ROOT):
        return f"is in a folder of {owner_of(found)}, who could replace it: move it into a folder of yours"
    return f"is in a folder that other users can write to (mode {_mode(found)}): chmod go-w {path}"


def is_world_readable(file: Path) -> bool:
    """Return whether all users of the machine can read a file."""
    try:
        found = file.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & stat.S_IROTH)


def is_world_searchable(folder: Path) -> bool:
    """Return whether every user of the machine can reach the files in a folder by their names."""
    try:
        return bool(folder.stat().st_mode & stat.S_IXOTH)
    except OSError:
        return False


def _is_writable_by_others(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWOTH) or (bool(found.st_mode & stat.S_IWGRP) and not _is_private_group(found))


def _is_private_group(found: os.stat_result) -> bool:
    """Return whether a file's group has no member but the file's owner, as is usual on systems with umask 002."""
    try:
        owner, group = pwd.getpwuid(found.st_uid), grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name and set(group.gr_mem) <= {owner.pw_name}


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"
