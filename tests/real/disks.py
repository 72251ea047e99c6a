"""File systems of their own for data directories: filled, frozen, failing, unmounted. Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.real.waiting import wait_until


def _run(*argv: str | Path) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise OSError(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


class Disk:
    """An ext4 file system in a file, mounted through a loop device; an error makes it read-only, as on servers."""

    def __init__(self, image: Path, at: Path, mib: int = 256) -> None:
        self.image, self.at = image, at
        with image.open("wb") as file:
            file.truncate(mib * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", image)
        at.mkdir()
        self.device = _run("losetup", "--find", "--show", image)
        self.mount()

    @property
    def _ballast(self) -> Path:
        return self.at / "ballast"

    def mount(self) -> None:
        """Mount it, also beside a lazily unmounted instance of the same device."""
        _run("mount", "-o", "errors=remount-ro", self.device, self.at)

    def own(self, user: str) -> None:
        """Give its top directory to a user."""
        shutil.chown(self.at, user)

    def fill(self, leave: int) -> None:
        """Leave so many bytes free, though others write to it meanwhile."""
        wait_until(lambda: self._filled(leave), "a full disk", 10)

    def _filled(self, leave: int) -> bool:
        """Try it, OSError when somebody took room between the look and the deed."""
        with self._ballast.open("wb") as file:
            found = os.statvfs(self.at)
            os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - leave))
        return True

    def empty(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Let every write hang in the kernel from now on; reads go on."""
        _run("fsfreeze", "-f", self.at)

    def thaw(self) -> None:
        """Let them go on."""
        with contextlib.suppress(OSError):
            _run("fsfreeze", "-u", self.at)

    def fail(self) -> None:
        """Report an error of the device: the file system becomes read-only at once."""
        trigger = Path(f"/sys/fs/ext4/{Path(self.device).name}/trigger_fs_error")
        trigger.write_text("broken by a test")

    def repair(self) -> None:
        """Unmount, check and mount it; whoever uses it must be gone."""
        wait_until(self.unmount, "an unmounted disk", 10)
        subprocess.run(["e2fsck", "-p", "-f", self.device], capture_output=True, timeout=30)
        self.mount()

    def unmount(self) -> bool:
        """Unmount it, OSError while it is in use."""
        _run("umount", self.at)
        return True

    def pull(self) -> None:
        """Take it away under whoever uses it: their open files live on, the path is bare."""
        _run("umount", "-l", self.at)

    def end(self) -> None:
        """Unmount it for good."""
        self.thaw()
        for _ in range(2):
            with contextlib.suppress(OSError):
                _run("umount", "-l", self.at)
        with contextlib.suppress(OSError):
            _run("losetup", "-d", self.device)


@contextlib.contextmanager
def disks(home: Path, names: list[str], user: str = "postgres") -> Iterator[dict[str, Disk]]:
    """A disk for each name, below a directory."""
    made: dict[str, Disk] = {}
    try:
        for name in names:
            made[name] = Disk(home / f"{name}.img", home / f"{name}-disk")
            made[name].own(user)
        yield made
    finally:
        for disk in made.values():
            disk.end()
