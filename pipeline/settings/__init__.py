"""All settings: a section of the file is a module here; `loading` reads the file and the variables."""
