"""Ladders over HTTP: what a caller names, and what is told of the climb."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

MethodName = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="One of Expunge's, or a plug-in's."),
]
Value = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str | None


def _also_a_name(schema: dict[str, Any]) -> None:
    """Let the schema say that a name will do."""
    whole = {key: schema.pop(key) for key in list(schema) if key not in ("title", "description")}
    schema["anyOf"] = [whole["properties"]["method"], whole]


class Rung(BaseModel):
    """A method with hyper-parameters; those left out keep their defaults."""

    model_config = ConfigDict(extra="forbid", strict=True)
    method: MethodName
    hyperparameters: dict[Annotated[str, Field(max_length=100)], Value] = Field(
        default={}, max_length=100
    )


class NamedRung(Rung):
    """A rung of an order, where the name alone stands for the method with all its defaults."""

    model_config = ConfigDict(json_schema_extra=_also_a_name)

    @model_validator(mode="wrap")
    @classmethod
    def _from_name(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return handler({"method": data} if isinstance(data, str) else data)

    @property
    def plain(self) -> str | dict[str, Any]:
        """Return the rung as the ledger takes it."""
        return self.model_dump() if self.hyperparameters else self.method


class PassedOver(BaseModel):
    """A rung without a candidate to audit, and why."""

    rung: int
    method: str
    code: str
    detail: str
