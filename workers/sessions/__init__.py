"""The order of requests within sessions, and the turns that they leave."""
