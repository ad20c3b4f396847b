"""The reply cache: answers what was asked before. So far only its connection to Redis or Valkey."""
