"""From finished sections to a report: its model, and how it is shown as HTML, Markdown, JSON and PDF."""
