"""Of which periods the numbers of tables and sentences are."""
