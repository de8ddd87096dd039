"""What was measured, and how it is shown. `python -m loadtest.report` writes it."""

from loadtest.report.summary import Sample, Summary, document, machine, markdown, show, summarise

__all__ = ["Sample", "Summary", "document", "machine", "markdown", "show", "summarise"]
