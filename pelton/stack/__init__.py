"""The local stack: a real Kafka broker and a real Valkey server as child processes, without containers.

`stack.LocalStack` starts both; `kafka.KafkaServer` and `valkey.ValkeyServer` can be had one by one.
"""
