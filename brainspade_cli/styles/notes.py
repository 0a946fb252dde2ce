"""What a user should know of a style before painting after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StyleNote:
    """One sentence on a style.

    `about` is the scan that it is about, which `text` names by its path, or a channel. `outside`: it tells of a style
    unlike any that the weights saw, as `--strict` refuses them.
    """

    text: str
    about: Path | str
    outside: bool = False

    @property
    def recorded(self) -> str:
        """The sentence for records, where a scan goes by its file's name: folders may name patients."""
        return self.text.replace(str(self.about), self.about.name) if isinstance(self.about, Path) else self.text
