#!/usr/bin/env bash
# Prints new videos from the topic `youtube.videos`: when published, title, address. Needs kcat and jq.
set -euo pipefail

options=(-b "${KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:9092}" -X auto.offset.reset=earliest -X session.timeout.ms=10000)
protocol=${KAFKA_SECURITY_PROTOCOL:-PLAINTEXT}
options+=(-X "security.protocol=$protocol")
if [ -n "${KAFKA_SSL_CAFILE:-}" ]; then options+=(-X "ssl.ca.location=$KAFKA_SSL_CAFILE"); fi
if [[ $protocol == SASL* ]]; then
  options+=(-X "sasl.mechanism=${KAFKA_SASL_MECHANISM:-SCRAM-SHA-512}")
  options+=(-X "sasl.username=${KAFKA_SASL_USERNAME}" -X "sasl.password=${KAFKA_SASL_PASSWORD}")
fi

# A video's events may come again: the highest `ce_sequence` counts, and of equal ones the later. Sequences are
# zero-padded, so they compare as text. A null payload is a removal. A title is a stranger's text: what could steer a
# terminal is left out. A record that cannot be read is passed over.
new_videos='
  def header($name): . as $all | [range(0; length; 2) | select($all[.] == $name) | $all[. + 1]] | first;
  foreach (inputs | select(.key and .headers)) as $record ({newest: {}};
    ($record.headers | header("ce_sequence")) as $sequence
    | .newest[$record.key] as $known
    | .line = null
    | if $sequence == null or $sequence < ($known.sequence // "") then . else
        .newest[$record.key] = {$sequence, is_there: ($record.payload != null)}
        | if $record.payload == null or $known.is_there then . else
            .line = try ($record.payload | fromjson | "\(.published_at)  \(.title)  \(.url)" | gsub("\\p{C}"; ""))
                    catch null
          end
      end;
    .line // empty)
'

# This process becomes kcat, so that a signal to stop reaches it; jq ends with its input.
exec kcat "${options[@]}" -q -u -J -G "${KAFKA_GROUP:-ext.example.kcat}" youtube.videos > >(jq --unbuffered -nr "$new_videos")
