"""What goes wrong with report jobs.

ReportError
├── JobInvalid        the specification cannot be used; the message names line and field
├── SourceUnusable    a source is missing, too large, damaged, or holds too little to write about
└── PromptUnusable    a prompt template is not allowed, or asks for something that is not there
"""

from pelton.producers.errors import ProducerError


class ReportError(ProducerError):
    """Base of them all; `code` is what a result carries, the message says what to do next."""

    code = "report_failed"


class JobInvalid(ReportError):
    code = "invalid_job"


class SourceUnusable(ReportError):
    code = "source_unusable"


class PromptUnusable(ReportError):
    code = "prompt_unusable"
