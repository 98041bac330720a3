"""The guard's Unix socket: where it lies, who may open it, and whether somebody else is there already."""

import os
import pwd
import socket
from pathlib import Path

from powerd.errors import ConfigError
from powerd.guard import journal

# Far more than connect at once: a client that does not wait gets an error when it is full.
_BACKLOG = 128
# Group may read and write, others nothing: on Linux connecting needs write permission (unix(7)).
_UMASK = 0o117


def allowed_uids(client_user: str) -> frozenset[int]:
    """Return who may talk to the guard: root, the guard's own user, and the configured one.

    Raises:
        ConfigError: that user does not exist.
    """
    account = _account(client_user)
    return frozenset({0, os.geteuid()} | ({account.pw_uid} if account else set()))


class Listener:
    """A listening socket at `path`, in the place of one that a dead guard may have left behind.

    Args:
        path: of the socket; missing directories are made.
        client_user: whose group may open it; empty = nobody else.

    Attributes:
        socket: non-blocking.

    Raises:
        ConfigError: another guard listens there, or the socket cannot be made.
    """

    def __init__(self, path: Path, client_user: str) -> None:
        account = _account(client_user)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _clear(path)
            before = os.umask(_UMASK)
            try:
                self.socket.bind(str(path))
            finally:
                os.umask(before)
            self.socket.listen(_BACKLOG)
            self.socket.setblocking(False)
            self._inode = path.stat().st_ino
        except OSError as error:
            self.socket.close()
            raise ConfigError(f"guard.socket: cannot listen on {path}: {error.strerror or error}") from error
        except ConfigError:
            self.socket.close()
            raise
        if account is not None:
            _give_to_group(path, account)

    def close(self) -> None:
        """Stop listening, and delete the file unless another guard has put its own there."""
        self.socket.close()
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            journal.log(journal.WARNING, f"cannot delete {self._path}: {error.strerror}")


def _account(client_user: str) -> pwd.struct_passwd | None:
    if not client_user:
        return None
    try:
        return pwd.getpwnam(client_user)
    except KeyError as error:
        raise ConfigError(f"guard.client_user: there is no user {client_user} on this host") from error


def _clear(path: Path) -> None:
    """Delete a dead socket. Only a refused connection proves that no one listens."""
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_socket():
        raise ConfigError(
            f"guard.socket: {path} exists and is not a socket; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
    raise ConfigError(f"guard.socket: another guard listens on {path}; stop it first")


def _give_to_group(path: Path, account: pwd.struct_passwd) -> None:
    try:
        os.chown(path, -1, account.pw_gid)
    except OSError as error:
        text = f"cannot give {path} to the group of {account.pw_name} ({error.strerror}); it may not get in"
        journal.log(journal.WARNING, text)
