"""The check of figures in free text, measured on tables of filings and on invented ones."""
