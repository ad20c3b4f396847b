"""`pelton ab`: requests dealt to models, and what came of it."""
