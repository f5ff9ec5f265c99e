"""A document taken apart into the tables of `schema`, with a mistake told for every value that is wrong by itself.

What is wrong is left out and the rest of its table kept, so that all mistakes come at once: a route's unknown upstream
together with its bad path. Whoever looks at a value asks first whether it is sound.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import attrs
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from wsrelay.config import schema
from wsrelay.config.document import Document, Report
from wsrelay.config.mistakes import KeyPath
from wsrelay.config.units import seen
from wsrelay.config.words import NOT_YET, nearest

_TABLE = TypeVar("_TABLE", bound=schema.Table)

# In place of required keys that are wrong or missing. Nobody sees them: they are not sound.
_STAND_INS: dict[type[schema.Table], dict[str, object]] = {
    schema.ListenTable: {"address": "systemd:-"},
    schema.UpstreamTable: {"name": "-", "servers": ["localhost:1"]},
    schema.RouteTable: {"path": "/"},
}

# Behind a key of the operator's own, as in `sni`, where the key is wrong and not its value.
_OF_A_KEY = "[key]"


@attrs.frozen
class Tables:
    """The tables of a document; those of an array by their index. Nothing unsound is in them but defaults."""

    relay: schema.RelayTable
    timeouts: schema.TimeoutsTable
    limits: schema.LimitsTable
    listen: Mapping[int, schema.ListenTable]
    upstream: Mapping[int, schema.UpstreamTable]
    route: Mapping[int, schema.RouteTable]
    certificates: Mapping[int, Mapping[int, schema.CertificateTable]]
    """Of each listener, also those that stand beside a wrong one."""
    unsound: frozenset[KeyPath]
    """Rows, and keys of rows, that have a mistake, are missing or are unknown."""
    misspelled: frozenset[KeyPath]
    """Rows with a key that is not known, or not yet."""

    def sound(self, array: str, row: int, *keys: str) -> bool:
        """Whether these keys of a row are right, or left out where they may be."""
        return not any((array, row, key) in self.unsound for key in keys)

    def all_sound(self, array: str, *keys: str) -> bool:
        """Whether these keys are right in every row, and every row is a table."""
        return not any(
            path[0] == array and (len(path) < 3 or path[2] in keys or path[:2] in self.misspelled)
            for path in self.unsound
        )

    def spelled(self, array: str, row: int) -> bool:
        """Whether every key of a row is known: otherwise what seems missing may stand there misspelled."""
        return (array, row) not in self.misspelled


def read(document: Document, report: Report) -> Tables:
    """Judge every value by itself."""
    known = [*schema.TABLES, *schema.ARRAYS, "include"]
    for key in document.data:
        if key not in known:
            report.wrong_key(document, (key,), _unknown(key, known))
    judge = _Judge(document, report)
    return Tables(
        relay=judge.single(schema.RelayTable, "relay"),
        timeouts=judge.single(schema.TimeoutsTable, "timeouts"),
        limits=judge.single(schema.LimitsTable, "limits"),
        listen=judge.rows(schema.ListenTable, "listen"),
        upstream=judge.rows(schema.UpstreamTable, "upstream"),
        route=judge.rows(schema.RouteTable, "route"),
        certificates={row: _certificates(table) for row, table in enumerate(document.rows("listen"))},
        unsound=frozenset(judge.unsound),
        misspelled=frozenset(judge.misspelled),
    )


def _certificates(listen: object) -> dict[int, schema.CertificateTable]:
    entries = listen.get("tls") if isinstance(listen, dict) else None
    found = {}
    for position, entry in enumerate(entries if isinstance(entries, list) else []):
        try:
            found[position] = schema.CertificateTable.model_validate(entry)
        except ValidationError:
            continue  # told with its listener
    return found


class _Judge:
    """Lets pydantic judge, tells what it found, and keeps what is right."""

    def __init__(self, document: Document, report: Report) -> None:
        self.unsound: set[KeyPath] = set()
        self.misspelled: set[KeyPath] = set()
        self._document = document
        self._report = report

    def single(self, model: type[_TABLE], key: str) -> _TABLE:
        return self._judged(model, self._document.data.get(key, {}), (key,)) or model()

    def rows(self, model: type[_TABLE], key: str) -> dict[int, _TABLE]:
        value = self._document.data.get(key, [])
        if not isinstance(value, list):
            brackets = ", with two brackets" if isinstance(value, dict) else " tables"
            self._report.wrong_key(self._document, (key,), f"expected [[{key}]]{brackets}, found {seen(value)}")
            self.unsound.add((key,))
            return {}
        judged = ((row, self._judged(model, table, (key, row))) for row, table in enumerate(value))
        return {row: table for row, table in judged if table is not None}

    def _judged(self, model: type[_TABLE], value: object, path: KeyPath) -> _TABLE | None:
        try:
            return model.model_validate(value)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
        for error in errors:
            _tell((*path, *error["loc"]), error, self._document, self._report)
            self.unsound.add((*path, *error["loc"][:1]))
            if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
                self.misspelled.add(path)
        if not isinstance(value, dict):
            return None
        wrong = {error["loc"][0] for error in errors}
        stand_ins = _STAND_INS.get(model, {})
        kept = {key: said for key, said in value.items() if key not in wrong}
        return model.model_validate(kept | {key: stand_ins[key] for key in stand_ins if key in wrong})


def _tell(path: KeyPath, error: ErrorDetails, document: Document, report: Report) -> None:
    if path[-1] == _OF_A_KEY:
        report.wrong_key(document, path[:-1], _expected(path[:-1], error))
    elif error["type"] == "extra_forbidden":
        report.wrong_key(document, path, _refused(path))
    elif error["type"] == "missing":
        expected = _model(path[:-1]).model_fields[str(path[-1])].description
        report.mistake(document, path, f"missing; expected {expected}")
    else:
        # A server's text stands for its table: `servers[0].address` was written as `servers[0]`.
        report.mistake(document, document.known(path), _expected(path, error))


def _expected(path: KeyPath, error: ErrorDetails) -> str:
    """Our own sentence for what pydantic found."""
    context: Mapping[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "list_type":
            return f"expected an array, found {seen(error['input'])}"
        case "dict_type":
            expected = _model(path[:-1]).model_fields[str(path[-1])].description
            return f"expected {expected}, found {seen(error['input'])}"
        case "model_type":
            model = _model(path)
            return f"expected {model.SHORT}a table with {_keys(model.model_fields)}, found {seen(error['input'])}"
        case other:
            raise AssertionError(f"no sentence for {other}")


def _refused(path: KeyPath) -> str:
    key = str(path[-1])
    model = _model(path[:-1])
    if key in model.LATER:
        return NOT_YET
    known = [*model.model_fields, *model.LATER]
    homes = [name for name, table in schema.TABLES.items() if key in table.model_fields]
    if homes and schema.TABLES[homes[0]] is not model:
        return f"unknown key here; it belongs into [{homes[0]}]"
    return _unknown(key, known)


def _unknown(key: str, known: Iterable[str]) -> str:
    near = nearest(key, known)
    return f"unknown key; nearest known key: {near}" if near else f"unknown key; known keys: {_keys(known)}"


def _keys(keys: Iterable[str]) -> str:
    return ", ".join(keys)


def _model(path: KeyPath) -> type[schema.Table]:
    """The model of the table at `path`."""
    names = tuple(part for part in path if isinstance(part, str))
    if len(names) == 1:
        return {**schema.TABLES, **schema.ARRAYS}[names[0]]
    return schema.INNER[names[0], names[1]]
