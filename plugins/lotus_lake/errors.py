"""Every exception of the library.

LotusLakeError
├── PermanentError            a retry cannot help: a person has to change something
│   ├── SettingsError         a variable or connection is missing or wrong
│   │   └── DbtProjectError   dbt cannot parse its project
│   ├── StreamConfigError     a stream JSON is wrong
│   ├── SchemaMismatchError   a landing table cannot take what the config or a file asks for
│   ├── RegistrationError     the lake has registered other files than the ledger says
│   ├── CatalogMessageError   not the output of a connector's `discover`
│   ├── UpkeepRefusedError    upkeep would delete what may still be needed
│   ├── ScaffoldError         a stream's files cannot be made from what is known of it
│   └── AirbyteError          Airbyte refused a call, or a job of it failed
│       └── AirbyteNotFoundError
└── TransientError            the same call may succeed later
    ├── StorageUnavailableError
    ├── CatalogUnavailableError
    ├── ResourcesExhaustedError   memory or disk ran out
    ├── CommitConflictError   another writer of the same stream won
    ├── AirbyteUnavailableError
    └── AirbyteBusyError      a job of the connection is running already
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_NAMES_SHOWN = 30


class LotusLakeError(Exception):
    """Base of all errors of the library.

    Args:
        message: What was attempted, with which value, and why it failed.
        hint: What the reader can do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.hint = hint


class PermanentError(LotusLakeError):
    """A retry cannot help."""


class SettingsError(PermanentError):
    """A setting is missing, malformed or contradicts another one."""


class DbtProjectError(SettingsError):
    """dbt cannot parse its project.

    Args:
        dbt_dir: Folder of the project.
        output: What dbt said.
    """

    def __init__(self, dbt_dir: Path, output: str) -> None:
        super().__init__(
            f"the dbt project {dbt_dir} does not parse:\n{output}",
            hint=f"cd {dbt_dir} && dbt parse",
        )
        self.output = output


class StreamConfigError(PermanentError):
    """A stream config, or its source schema, is wrong."""


class SchemaMismatchError(PermanentError):
    """A landing table cannot take what the config or a file asks for."""


class RegistrationError(PermanentError):
    """The lake has registered other files than the ledger says."""


class CatalogMessageError(PermanentError):
    """This is not the output of a connector's `discover`, or it lacks a stream."""


class UpkeepRefusedError(PermanentError):
    """Upkeep would delete files that may still be needed: nothing was deleted."""


class ScaffoldError(PermanentError):
    """A stream's files cannot be made from what is known of it."""


class AirbyteError(PermanentError):
    """Airbyte refused a call, or a job of it failed."""


class AirbyteNotFoundError(AirbyteError):
    """Airbyte does not know the id that it was asked for."""


class TransientError(LotusLakeError):
    """The same call may succeed later."""


class StorageUnavailableError(TransientError):
    """The object store did not answer, or refused."""


class CatalogUnavailableError(TransientError):
    """The DuckLake catalog could not be opened or written."""


class ResourcesExhaustedError(TransientError):
    """Memory or disk ran out."""


class CommitConflictError(TransientError):
    """Another writer of the same stream committed first, again and again."""


class AirbyteUnavailableError(TransientError):
    """Airbyte did not answer, broke off, or said that it cannot answer now."""


class AirbyteBusyError(TransientError):
    """A job of the connection is running already, or another call got in the way."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to say about an unknown name: the nearest known one, and which there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    listed = f"known: {', '.join(names[:_NAMES_SHOWN]) or 'none'}{more}"
    return f"did you mean {near[0]}? {listed}" if near else listed
