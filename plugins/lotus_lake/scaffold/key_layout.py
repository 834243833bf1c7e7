"""How the objects of a stream are named, by looking at the bucket."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from lotus_lake.bucket.keys import Layout, is_hidden, layout_of
from lotus_lake.bucket.objects import PAGE_KEYS, client_errors, list_objects, s3_client
from lotus_lake.config.path_format import NAMESPACE, STREAM_NAME, name_in_keys
from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import FeederOptions, StreamConfig
from lotus_lake.config.streams import Stream
from lotus_lake.errors import LotusLakeError
from lotus_lake.quantities import counted
from lotus_lake.scaffold.stream_json import NOTHING, KeyWords

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What parts of keys look like, and the placeholders that they came from; the first that fits.
_FOLDERS = (
    (r"year=\d{4}/month=\d{2}/day=\d{2}/", "year=${YEAR}/month=${MONTH}/day=${DAY}/"),
    (r"\d{4}/\d{2}/\d{2}/\d{2}/", "${YEAR}/${MONTH}/${DAY}/${HOUR}/"),
    (r"\d{4}/\d{2}/\d{2}/", "${YEAR}/${MONTH}/${DAY}/"),
    (r"\d{4}/\d{2}/", "${YEAR}/${MONTH}/"),
    (r"(\w+=)?\d{4}-\d{2}-\d{2}/", r"\1${YEAR}-${MONTH}-${DAY}/"),
    (r"(\w+=)?\d{4}_\d{2}_\d{2}/", r"\1${YEAR}_${MONTH}_${DAY}/"),
)
_NAMES = (
    (r"\d{4}_\d{2}_\d{2}_\d{13}_.+", "${YEAR}_${MONTH}_${DAY}_${EPOCH}_"),
    (r"\d{4}_\d{2}_\d{2}_.+", "${YEAR}_${MONTH}_${DAY}_"),
    (r"\d{13}_.+", "${EPOCH}_"),
    (r"\d+_\d{13}_\d+\..+", "{sync_id}_{timestamp}_{part_number}{format_extension}"),
)
_FOLDERS_LOOKED_INTO = 50


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """What was understood of a stream's keys.

    Attributes:
        words: What the stream JSON has to say.
        remark: The same for people, with how many keys it is true of.
    """

    words: KeyWords = NOTHING
    remark: str = ""


def look_at_keys(settings: Settings, source: str, name: str) -> FoundKeys:
    """Find the objects of a stream in the bucket; one that cannot be listed tells nothing.

    A stream that has its JSON already is not looked for.
    """
    if (settings.streams_dir / source / f"{name}.json").exists():
        return FoundKeys()
    try:
        client = s3_client(settings.s3, attempts=1)
        return _look(settings, client, source, name)
    except client_errors(LotusLakeError, OSError) as error:
        said = str(error).partition("\n")[0]
        return FoundKeys(remark=f"the keys are taken to be as configured: {said}")


def _look(settings: Settings, client: S3Client, source: str, name: str) -> FoundKeys:
    best: tuple[int, FoundKeys] | None = None
    for words in _candidates(settings, client, source, name):
        layout = layout_of(settings, _stream(source, name, words))
        keys = _first_keys(settings, client, layout.prefix)
        # A path format that the keys show goes before the one that is configured.
        for tried in (words, replace(words, path_format=_path_format(layout, words, keys))):
            layout = layout_of(settings, _stream(source, name, tried))
            fitting = [key for key in keys if layout.takes(key) and not layout.problem(key)]
            if fitting and (best is None or len(fitting) > best[0]):
                best = len(fitting), FoundKeys(tried, _remark(settings, layout, keys, fitting))
    if best:
        return best[1]
    where = settings.uri(layout_of(settings, _stream(source, name, NOTHING)).prefix)
    return FoundKeys(
        remark=f"no object looks like {source}/{name} below {settings.raw_uri}: the stream will "
        f"be fed from {where}"
    )


def _remark(settings: Settings, layout: Layout, keys: list[str], fitting: list[str]) -> str:
    day = "the day is that of the key" if layout.says_day else "the day is that of writing"
    every = "" if layout.dated else "; every poll lists all of its objects"
    return (
        f"{len(fitting)} of the first {counted(len(keys), 'key')} below "
        f"{settings.uri(layout.prefix)} are of the path format {layout.path_format}; {day}{every}: "
        f"{fitting[0]}"
    )


def _candidates(settings: Settings, client: S3Client, source: str, name: str) -> Iterator[KeyWords]:
    """The names as configured, then folders whose names are alike but for case and signs."""
    yield NOTHING
    top = _folders(settings, client, settings.raw_prefix)
    namespaces = [folder for folder in top if _alike(folder, source)]
    for namespace in dict.fromkeys([*namespaces, *top[:_FOLDERS_LOOKED_INTO]]):
        for folder in _folders(settings, client, f"{settings.raw_prefix}{namespace}/"):
            if _alike(folder, name):
                yield KeyWords(
                    None if namespace == name_in_keys(source) else namespace,
                    None if folder == name else folder,
                )
    for folder in top:
        if _alike(folder, name):
            yield KeyWords("", None if folder == name else folder, f"{STREAM_NAME}/")


def _path_format(layout: Layout, words: KeyWords, keys: Iterable[str]) -> str | None:
    """The path format that most keys show below the stream's folder."""
    shown = Counter(_generalised(key.removeprefix(layout.prefix)) for key in keys)
    if not shown or not layout.has_own_folder:
        return None
    folder = f"{STREAM_NAME}/" if words.namespace == "" else f"{NAMESPACE}/{STREAM_NAME}/"
    return folder + max(shown, key=lambda text: (shown[text], text))


def _generalised(rest: str) -> str:
    for pattern, text in _FOLDERS:
        if match := re.match(pattern, rest):
            return match.expand(text) if match.groups() and match[1] else text.replace(r"\1", "")
    for pattern, text in _NAMES:
        if re.fullmatch(pattern, rest):
            return text
    return ""


def _first_keys(settings: Settings, client: S3Client, prefix: str) -> list[str]:
    objects = islice(list_objects(client, settings.bucket, prefix), PAGE_KEYS)
    return [item.key for item in objects if not is_hidden(item.key)]


def _folders(settings: Settings, client: S3Client, prefix: str) -> list[str]:
    page = client.list_objects_v2(Bucket=settings.bucket, Prefix=prefix, Delimiter="/")
    found = (item.get("Prefix", "") for item in page.get("CommonPrefixes", ()))
    return [folder.removeprefix(prefix).rstrip("/") for folder in found]


def _alike(folder: str, name: str) -> bool:
    one, other = (re.sub("[^a-z0-9]", "", text.lower()) for text in (folder, name))
    return one == other != ""


def _stream(source: str, name: str, words: KeyWords) -> Stream:
    config = StreamConfig.model_construct(
        stream=name,
        namespace=words.namespace,
        stream_name=words.stream_name,
        feeder=FeederOptions(path_format=words.path_format),
    )
    return Stream(source, name, config)
