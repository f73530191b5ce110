"""Writes the lines of its input to a topic, packed as librdkafka packs: usage: produce.py BROKER TOPIC COMPRESSION

Each line is a record's value, its number the key. All in one batch, if they fit.
"""

import sys

from confluent_kafka import Producer

broker, topic, compression = sys.argv[1:]
producer = Producer({"bootstrap.servers": broker, "compression.type": compression, "linger.ms": 1000})
failed = []
for number, line in enumerate(sys.stdin):
    producer.produce(topic, line.rstrip("\n"), str(number), on_delivery=lambda error, _: error and failed.append(error))
producer.flush()
if failed:
    sys.exit(str(failed[0]))
