"""A Ceph of one machine: a real S3 server, of Debian's packages, on loopback and for any user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.connections import S3Access
from tests.processes import START_SECONDS, answers, free_port, run_process, wait_for
from tests.servers import KEY_ID, ROLE_KEYS, SECRET, S3Server

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
Store = Literal["memstore", "bluestore"]

# One copy of everything, nobody to log in but S3's clients, no waiting for others to agree.
_CONFIG = """\
[global]
fsid = {cluster}
mon host = [v2:127.0.0.1:{port}]
public network = 127.0.0.0/8
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms client mode = crc
run dir = {folder}
log file = {folder}/$name.log
log to stderr = false
admin socket = {folder}/$name.asok
pid file =
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = {store}
memstore device bytes = 4294967296
bluestore block size = 8589934592
bluestore fsck on mkfs = false
osd memory target = 939524096
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon osd min in ratio = 0
mon data avail crit = 1
mon warn on pool no redundancy = false
paxos propose interval = 0.05
paxos min wait = 0.01
rgw num rados handles = 1
rgw thread pool size = 32
rgw enable usage log = false
rgw run sync thread = false
rgw override bucket index max shards = 1
rgw dynamic resharding = false
"""


def is_wanted() -> bool:
    """Whether the environment asks for Ceph in place of rclone."""
    wanted = os.environ.get("S3_SERVER", "rclone")
    if wanted not in ("rclone", "ceph"):
        raise RuntimeError(f"S3_SERVER is rclone or ceph, not {wanted!r}")
    return wanted == "ceph"


def missing_programs() -> list[str]:
    """The programs of Ceph that this machine lacks; `make test-s3` installs them."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass(slots=True)
class Ceph:
    """A running Ceph.

    Attributes:
        s3: The server that clients see.
    """

    s3: S3Server
    _folder: Path
    _port: int
    _stack: ExitStack
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def kill(self) -> None:
        """Kill gateway and store at once."""
        for name in ("radosgw", "ceph-osd"):
            self._running[name].kill()
            self._running[name].wait(START_SECONDS)

    def start(self) -> None:
        """Start store and gateway on what is on the disk."""
        self._daemon("ceph-osd", "-i", "0")
        gateway = self._daemon(
            "radosgw", "-n", "client.rgw.a",
            # Without tcp_nodelay each answer waits for 40 ms.
            "--rgw-frontends", f"beast endpoint=127.0.0.1:{self._port} tcp_nodelay=1",
        )  # fmt: skip
        wait_for(gateway, lambda: answers(self._port))

    def make(self, store: Store) -> None:
        """Make the cluster and a user who owns all keys, and start everything."""
        port, cluster, disk = free_port(), uuid.uuid4(), uuid.uuid4()
        (self._folder / "mon").mkdir()
        (self._folder / "osd").mkdir()
        (self._folder / "ceph.conf").write_text(
            _CONFIG.format(cluster=cluster, port=port, folder=self._folder, store=store)
        )
        monitors = str(self._folder / "monitors")
        self._run(
            "monmaptool", "--create", "--fsid", str(cluster), "--addv", "a",
            f"[v2:127.0.0.1:{port}]", monitors,
        )  # fmt: skip
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monitors)
        self._daemon("ceph-mon", "-i", "a")
        self._run("ceph", "--connect-timeout", "30", "osd", "new", str(disk))
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", str(disk))
        self.start()
        self._run("radosgw-admin", "user", "create", "--uid=lake", "--display-name=lake",
                  f"--access-key={KEY_ID}", f"--secret-key={SECRET}")  # fmt: skip
        for key in ROLE_KEYS:
            self._run("radosgw-admin", "key", "create", "--uid=lake", "--key-type=s3",
                      f"--access-key={key}", f"--secret-key={SECRET}")  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "CEPH_CONF": str(self._folder / "ceph.conf")}

    def _daemon(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [program, "-f", *arguments]
        log = self._folder / f"{program}.out"
        # Nobody needs its data any more: it need not be written to the disk at the end.
        running = run_process(command, log, self._environment(), stop=signal.SIGKILL)
        self._running[program] = self._stack.enter_context(running)
        return self._running[program]

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, env=self._environment(), cwd="/", capture_output=True, text=True,
            timeout=2 * START_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")


@contextmanager
def run_ceph(store: Store = "memstore") -> Iterator[Ceph]:
    """Run a Ceph without any buckets.

    Args:
        store: Where it keeps objects: in memory, or on a disk, from where it takes them up again
            after a restart.
    """
    port = free_port()
    access = S3Access(f"http://127.0.0.1:{port}", "us-east-1", KEY_ID, SecretStr(SECRET))
    # Not pytest's own folder: its path is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="lotus-ceph-", dir="/tmp") as folder, ExitStack() as s:
        ceph = Ceph(S3Server(access, partial(_put_objects, access)), Path(folder), port, s)
        ceph.make(store)
        yield ceph


def _put_objects(access: S3Access, bucket: str, keys: Iterable[str], content: bytes) -> None:
    with closing(s3_client(access)) as client, ThreadPoolExecutor(8) as pool:

        def put(key: str) -> None:
            client.put_object(Bucket=bucket, Key=key, Body=content)

        list(pool.map(put, keys))
