// Prints new videos from the topic `youtube.videos`: when published, title, address.

import { readFileSync } from 'node:fs'
import { Consumer } from '@platformatic/kafka'

const env = process.env
const protocol = env.KAFKA_SECURITY_PROTOCOL ?? 'PLAINTEXT'

// The newest known of each video: its `ce_sequence`, and whether it is there.
const newest = new Map()

// Takes a record; whether it brings a video that was not there. A video's events may come again: the highest sequence
// counts, and of equal ones the later. A null value is a removal. Sequences are zero-padded: they compare as text.
function isNew({ key, value, headers }) {
  const sequence = headers.get('ce_sequence')
  if (!sequence) throw new Error('no ce_sequence')
  const known = newest.get(key) ?? { sequence: '', isThere: false }
  if (sequence < known.sequence) return false
  newest.set(key, { sequence, isThere: value !== null })
  return value !== null && !known.isThere
}

// A title is a stranger's text: what could steer a terminal is left out.
function line(value) {
  const { published_at, title, url } = JSON.parse(value)
  return `${published_at}  ${title}  ${url}`.replace(/\p{C}/gu, '')
}

// One that cannot be read is named and does not stop the others.
function show(record) {
  try {
    if (isNew(record)) console.log(line(record.value))
  } catch (error) {
    console.error(`skipped ${record.topic}/${record.partition}/${record.offset}: ${error.message}`)
  }
}

const text = bytes => bytes?.toString() ?? null

const consumer = new Consumer({
  clientId: 'example-node',
  sessionTimeout: 10_000, // after a kill the group waits so long for who is gone
  groupId: env.KAFKA_GROUP ?? 'ext.example.node',
  bootstrapBrokers: (env.KAFKA_BOOTSTRAP_SERVERS ?? '127.0.0.1:9092').split(','),
  deserializers: { key: text, value: text, headerKey: text, headerValue: text },
  tls: protocol.includes('SSL') ? { ca: env.KAFKA_SSL_CAFILE && readFileSync(env.KAFKA_SSL_CAFILE) } : undefined,
  sasl: protocol.startsWith('SASL')
    ? {
        mechanism: env.KAFKA_SASL_MECHANISM ?? 'SCRAM-SHA-512',
        username: env.KAFKA_SASL_USERNAME,
        password: env.KAFKA_SASL_PASSWORD
      }
    : undefined
})

// The client's own commits are of what it has fetched, not of what was shown: so they are off.
const stream = await consumer.consume({
  topics: ['youtube.videos'],
  mode: 'committed',
  fallbackMode: 'earliest',
  autocommit: false
})

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stream.close())

let committed = Promise.resolve()
for await (const record of stream) {
  show(record)
  // Not waited for: the client merges the commits that are asked for while one is under way.
  committed = record.commit().catch(error => console.error(`not committed: ${error.message}`))
}
await committed
await consumer.close()
