"""Base of all parts of a config."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Part of a config: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def changed(self, **values: Any) -> Self:
        """Returns a copy with other values, which are not checked."""
        return self.model_copy(update=values)
