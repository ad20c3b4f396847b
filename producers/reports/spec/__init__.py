"""The job specification: its model, how it is read from files, and the report templates that jobs are made from."""
