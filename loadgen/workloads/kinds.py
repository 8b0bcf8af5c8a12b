"""Records that come in kinds: one class for each, registered by one call, and read by what `kind` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from base.choices import in_words
from base.records import Record


class KindRecord(Record):
    """A class without a default for `kind` stands for all of them: what it reads is an object of the kind that is named."""

    kinds: ClassVar[dict[str, type[Any]]] = {}  # by name, all of them subclasses

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the workload in tables and folders.")
    kind: str = Field(description="What load is offered.")

    @classmethod
    def known_keys(cls) -> list[str]:
        """The keys of all kinds."""
        return list(dict.fromkeys(name for kind in cls.kinds.values() for name in kind.model_fields))

    @model_validator(mode="before")
    @classmethod
    def _fields_of_its_kind(cls, given: Any) -> Any:
        """Require the kind's own fields; drop fields of other kinds that have no value, as old records write them."""
        if not isinstance(given, Mapping):
            return given
        kind = name_of(cls)
        for name, field in cls.model_fields.items():
            if field.is_required() and name != "name" and given.get(name) is None:
                raise ValueError(f"a {kind} workload needs `{name}`")
        others = [each for each in cls.kinds.values() if each is not cls]
        kept = {}
        for name, value in given.items():
            fields = [each.model_fields[name] for each in others if name in each.model_fields]
            if name in cls.model_fields or not fields:
                kept[name] = value
            elif value is not None and all(value != field.default for field in fields):
                raise ValueError(f"`{name}` does not apply to a {kind} workload")
        return kept

    @classmethod
    def _of_its_kind(cls, given: Any) -> KindRecord:
        """The record as an object of the class that its `kind` names. Raises ValidationError."""
        if isinstance(given, KindRecord):
            return given
        fields = given if isinstance(given, Mapping) else {}
        kind = fields.get("kind")
        if isinstance(kind, str) and kind in cls.kinds:
            found: KindRecord = cls.kinds[kind].model_validate(given)
            return found
        problem = InitErrorDetails(type="missing", loc=("kind",), input=given)
        if "kind" in fields:
            known = {"expected": in_words(list(cls.kinds))}
            problem = InitErrorDetails(type="literal_error", loc=("kind",), input=kind, ctx=known)
        raise ValidationError.from_exception_data("Workload", [problem])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Of a class without a kind, such as `Workload`: an object of the registered class that `kind` names."""
        if cls.__pydantic_fields__["kind"].is_required():
            return core_schema.no_info_plain_validator_function(cls._of_its_kind)
        return handler(source)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Of a class without a kind: one of the registered kinds, distinguished by `kind`."""
        if not cls.model_fields["kind"].is_required():
            found = handler(schema)
            own = handler.resolve_ref_schema(found)
            own["required"].append("kind")  # a file must name it
            own["properties"]["kind"]["description"] = KindRecord.model_fields["kind"].description
            return found
        choices = {name: kind.__pydantic_core_schema__ for name, kind in cls.kinds.items()}
        return handler(core_schema.tagged_union_schema(choices, "kind"))


def register(kind: type[KindRecord]) -> type[KindRecord]:
    """Add a kind: experiment files, recorded trials, the schema and the command line know it from now on."""
    KindRecord.kinds[name_of(kind)] = kind
    return kind


def name_of(kind: type[KindRecord]) -> str:
    """What `kind` says in a record of this class."""
    return str(kind.model_fields["kind"].default)
