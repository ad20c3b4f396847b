"""What each technique of serving buys, one added after the other."""
