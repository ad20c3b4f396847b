"""How often a model that writes by reference chooses the wrong cell."""
