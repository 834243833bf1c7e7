"""A notifier that writes what it is told into a file."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import BaseNotifier, Context


class Note(BaseNotifier):
    """Appends a line to a file."""

    template_fields = ("text",)

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path = path
        self.text = text

    def notify(self, context: Context) -> None:
        """Write."""
        with Path(self.path).open("a", encoding="utf-8") as file:
            file.write(f"{self.text}\n")
