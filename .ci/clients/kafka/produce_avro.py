"""Writes JSON lines to a topic as Avro, with Confluent's own serializer: usage: produce_avro.py BROKER REGISTRY TOPIC SCHEMA

Each line is a record of the schema (JSON), which is registered as the topic's.
"""

import json
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

broker, registry, topic, schema = sys.argv[1:]
serializer = AvroSerializer(SchemaRegistryClient({"url": registry}), schema)
producer = Producer({"bootstrap.servers": broker})
failed = []
for line in sys.stdin:
    value = serializer(json.loads(line), SerializationContext(topic, MessageField.VALUE))
    producer.produce(topic, value, on_delivery=lambda error, _: error and failed.append(error))
producer.flush()
if failed:
    sys.exit(str(failed[0]))
