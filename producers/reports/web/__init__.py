"""The web page: jobs, how they get on, and finished reports."""
