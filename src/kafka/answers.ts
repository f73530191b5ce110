import type { Producer, RecordMetadata, TopicMessages } from 'kafkajs';

/**
 * A producer whose sends reject where a partition has not answered: what was sent must then be sent again. The messages
 * know their partitions from the partitioner.
 */
export function answering(producer: Producer): Producer {
  const sendBatch: Producer['sendBatch'] = async (batch) => {
    const answers = await producer.sendBatch(batch);
    expectAll(batch.topicMessages ?? [], answers);
    return answers;
  };
  const send: Producer['send'] = ({ topic, messages, ...rest }) =>
    sendBatch({ ...rest, topicMessages: [{ topic, messages }] });
  return { ...producer, send, sendBatch };
}

/**
 * Throws where a partition has not answered. kafkajs notes by broker, not by partition, what it has sent: where a partition
 * has moved to a broker that has taken its part already, a second try sends it nowhere and succeeds.
 */
export function expectAll(sent: readonly TopicMessages[], answers: readonly RecordMetadata[]): void {
  for (const { topic, messages } of sent) {
    const answered = new Set(answers.filter(({ topicName }) => topicName === topic).map(({ partition }) => partition));
    for (const { partition } of messages)
      if (partition === undefined || !answered.has(partition))
        throw new Error(`partition ${partition} of topic ${topic} has moved; what was sent has to be sent again`);
  }
}
